"""`functional_optim.tree` is compared with `optax.tree`, or with NumPy if optax loses digits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

A = {"w": np.array([[1.0, -2.0], [0.5, 3.0]]), "b": [np.array(4.0), None, np.array([])]}
B = jax.tree.map(lambda x: 0.3 * x + 1.0, A)
KEY = 7

SAME = {
    "add": (A, B, A),
    "sub": (A, B),
    "mul": (A, B),
    "div": (A, B),
    "scale": (0.7, A),
    "add_scale": (A, 0.7, B),
    "clip": (A, -1.0, 2.0),
    "where": (True, A, B),
    "conj": (jax.tree.map(lambda x: x + 1j, A),),
    "real": (jax.tree.map(lambda x: x + 1j, A),),
    "sum": (A,),
    "vdot": (A, B),
    "max": (A,),
    "min": (A,),
    "size": (A,),
    "norm": (A,),
    "zeros_like": (A,),
    "ones_like": (A,),
    "full_like": (A, 2.0),
    "batch_shape": (A, (3,)),
    "cast": (A, "float32"),
    "cast_like": (A, jax.tree.map(np.float32, A)),
    "allclose": (A, A),
    "update_moment": (A, B, 0.9, 2),
    "update_moment_per_elem_norm": (A, B, 0.9, 2),
    "update_infinity_moment": (A, B, 0.9, 1e-8),
    "bias_correction": (A, 0.9, 3),
}


def arrays(args):
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, args)


@pytest.mark.parametrize("name", sorted(SAME))
def test_values_equal_those_of_optax(name, x64):
    ours = getattr(fo.tree, name)(*arrays(SAME[name]))
    with jax.numpy_dtype_promotion("standard"):
        theirs = getattr(optax.tree, name)(*arrays(SAME[name]))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
        assert jnp.result_type(a) == jnp.result_type(b)


OWN_TESTS = {
    "dtype",
    "get",
    "get_all_with_path",
    "map_params",
    "random_like",
    "set",
    "split_key_like",
    "unwrap_random_key_data",
}


def test_every_function_of_optax_exists_and_is_tested():
    theirs = {
        k for k in dir(optax.tree) if not k.startswith("_") and callable(getattr(optax.tree, k))
    }
    assert set(fo.tree.__all__) == set(SAME) | OWN_TESTS == theirs


@pytest.mark.parametrize("order", [1, 2, "inf"])
def test_norms_of_narrow_leaves_keep_their_digits(order):
    tree = [jnp.full(1000, 1.0, jnp.bfloat16)] * 200
    exact = {1: 2e5, 2: 2e5**0.5, "inf": 1.0}[order]
    np.testing.assert_allclose(fo.tree.norm(tree, order), exact, rtol=1e-5)
    np.testing.assert_allclose(fo.tree.norm(tree, order, squared=True), exact**2, rtol=1e-5)


def test_sums_of_narrow_leaves_keep_their_digits():
    tree = [jnp.full(1000, 0.5, jnp.float16)] * 200
    assert fo.tree.sum(tree) == 1e5
    assert fo.tree.vdot(tree, tree) == 5e4


@pytest.mark.parametrize("name", ["sum", "norm", "max", "min", "size"])
def test_reductions_of_trees_without_elements_are_neutral_elements(name):
    expected = {"max": -np.inf, "min": np.inf}.get(name, 0)
    for tree in ({}, None, {"a": jnp.zeros(0)}):
        assert getattr(fo.tree, name)(tree) == expected


def test_dtypes_of_a_mixed_tree():
    tree = {"a": jnp.bfloat16(1), "b": jnp.float16(1), "c": jnp.float32(1)}
    assert fo.tree.dtype(tree["c"]) == jnp.float32
    assert fo.tree.dtype(tree, "promote") == jnp.float32
    assert fo.tree.dtype(tree, "highest") == jnp.float32
    assert fo.tree.dtype({"a": tree["a"], "c": tree["c"]}, "lowest") == jnp.bfloat16
    with pytest.raises(ValueError, match="the leaves are of bfloat16, float16, float32"):
        fo.tree.dtype(tree)
    with pytest.raises(ValueError, match="got 'widest'"):
        fo.tree.dtype(tree, "widest")


@pytest.mark.parametrize("handler", ["highest", "lowest"])
def test_dtypes_without_an_order_have_no_highest_and_no_lowest(handler):
    tree = [jnp.ones(1, jnp.bfloat16), jnp.ones(1, jnp.float16)]
    assert fo.tree.dtype(tree, "promote") == jnp.float32
    with pytest.raises(ValueError, match=f"dtype: none of bfloat16, float16 is the {handler}"):
        fo.tree.dtype(tree, handler)


def test_integers_are_lower_than_floats():
    tree = [jnp.ones(1, jnp.bfloat16), jnp.ones(1, jnp.int8)]
    assert fo.tree.dtype(tree, "lowest") == jnp.int8
    assert fo.tree.dtype(tree, "highest") == fo.tree.dtype(tree, "promote") == jnp.bfloat16


def test_get_returns_a_measure_and_not_the_state_of_its_function():
    tx = fo.chain(fo.monitor({"size": fo.measure_with_ema(fo.tree.norm, 0.5)}), fo.scale(1.0))
    _, state = tx.update({"w": jnp.array(2.0)}, tx.init({"w": jnp.array(0.0)}))
    assert fo.tree.get(state, "size") == 2.0


def test_random_leaves_differ_and_are_reproducible():
    like = {"a": jnp.zeros(3), "b": jnp.zeros(3, jnp.bfloat16)}
    made = fo.tree.random_like(jax.random.key(KEY), like)
    again = fo.tree.random_like(jax.random.key(KEY), like, dtype=jnp.float32)
    assert made["b"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(made["a"], again["a"])
    assert not np.allclose(again["a"], again["b"])


def test_the_links_of_a_chain_share_one_count():
    tx = fo.chain(fo.trace(0.9), fo.adam(1e-3))
    params = {"w": jnp.ones(2)}
    _, state = tx.update(params, tx.init(params), params)
    assert fo.tree.get(state, "count") == 1
    with pytest.raises(KeyError, match=r"'count' is the name of partition\.a\.trace\.count, "):
        fo.tree.get(fo.chain(fo.partition({"a": tx, "b": tx}, {"w": "a"})).init(params), "count")


def test_a_name_of_a_link_and_of_its_field_means_the_field():
    state = fo.sgd(0.1, momentum=0.9).init({"w": jnp.ones(2)})
    assert fo.tree.get(state, "trace") is state.trace.trace
    assert fo.tree.set(state, trace=3).trace == state.trace._replace(trace=3)
    assert fo.tree.get(fo.chain(fo.clip(1.0)).init({"w": jnp.ones(2)}), "clip").hyperparams


def test_a_number_takes_the_dtype_of_the_array_in_whose_place_it_is_set():
    state = {"rate": jnp.bfloat16(1), "count": jnp.int32(1), "key": jax.random.key(0), "text": "a"}
    made = fo.tree.set(state, rate=0.5, count=2, text=3)
    assert (made["rate"].dtype, made["count"].dtype, made["text"]) == (jnp.bfloat16, jnp.int32, 3)
    assert (made["rate"], made["count"]) == (0.5, 2)
    other = fo.tree.set(state, rate=jnp.float32(2), count=0.5, key=7)
    assert (other["rate"].dtype, other["count"], other["key"]) == (jnp.float32, 0.5, 7)


def test_a_longer_name_selects_one_of_several_fields():
    state = fo.chain(fo.trace(0.9), fo.scale_by_adam()).init({"count": jnp.ones(2)})
    assert fo.tree.get(state, "mu")["count"].shape == (2,)
    with pytest.raises(KeyError, match=r"'count' is the name of trace\.count, "):
        fo.tree.get(state, "count")
    assert fo.tree.get(state, "scale_by_adam.count") == 0
    assert fo.tree.get(state, "nothing", default=3) == 3
    wide = lambda path, x: hasattr(x, "shape") and x.ndim  # noqa: E731
    assert len(fo.tree.get_all_with_path(state, "count", wide)) == 3  # trace, mu and nu have one


def test_states_of_optax_are_found_by_class():
    state = optax.adam(1e-3).init({"w": jnp.ones(2)})
    assert fo.tree.get(state, "ScaleByAdamState").mu["w"].shape == (2,)


@pytest.mark.parametrize(
    "around", [lambda tx: tx, lambda tx: fo.chain(fo.clip(1.0), tx)], ids=["alone", "chain"]
)
def test_an_injected_hyperparameter_is_found(around):
    tx = around(fo.inject_hyperparams(fo.adam)(fo.linear_schedule(1.0, 0.0, 2)))
    params = {"w": jnp.ones(2)}
    state = tx.init(params)
    for expected in (1.0, 0.5):
        _, state = tx.update(params, state, params)
        assert fo.tree.get(state, "learning_rate") == expected
    assert fo.tree.get(state, "hyperparams.b2") == np.float32(0.999)


def test_a_field_is_replaced_and_nothing_else():
    tx = fo.adam(1e-3)
    state = tx.init({"w": jnp.ones(2)})
    mu = {"w": jnp.full(2, 5.0)}
    changed = fo.tree.set(state, **{"scale_by_adam.mu": mu})
    assert changed.scale_by_adam.mu is mu
    assert changed.scale_by_adam.nu["w"] is state.scale_by_adam.nu["w"]
    assert jax.tree.structure(changed) == jax.tree.structure(state)
    with pytest.raises(KeyError, match="the tree has no value with the name 'mo'"):
        fo.tree.set(state, mo=1)


def test_random_keys_are_unwrapped_to_integers():
    tree = {"key": jax.random.key(KEY), "x": jnp.ones(2)}
    plain = fo.tree.unwrap_random_key_data(tree)
    assert plain["key"].dtype == jnp.uint32
    assert plain["x"] is tree["x"]
    assert jax.tree.structure(fo.tree.split_key_like(tree["key"], tree)) == jax.tree.structure(tree)


def test_moments_of_leaves_without_updates_are_none():
    full, missing = {"a": jnp.ones(2), "b": jnp.ones(3)}, {"a": jnp.ones(2), "b": None}
    for found in (
        fo.tree.add_scale(missing, 0.5, full),
        fo.tree.update_moment(missing, full, 0.5, 2),
        fo.tree.update_moment_per_elem_norm(missing, full, 0.5, 2),
        fo.tree.update_infinity_moment(missing, full, 0.5, 0.0),
    ):
        assert found["b"] is None
        assert found["a"].shape == (2,)


def test_python_integers_are_promoted_to_floats():
    assert fo.tree.add_scale({"a": 3}, 0.5, {"a": 1}) == {"a": 3.5}
