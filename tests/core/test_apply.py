import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo


def test_adds_leaf_by_leaf():
    params = {"w": jnp.array([1.0, 2.0]), "b": [jnp.array(3.0)]}
    out = fo.apply_updates(params, jax.tree.map(jnp.ones_like, params))
    assert out["w"].tolist() == [2.0, 3.0]
    assert out["b"][0] == 4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64"])
@pytest.mark.parametrize("update", ["float16", "bfloat16", "float32", "complex64"])
def test_the_parameter_keeps_its_dtype(dtype, update):
    if update == "complex64" != dtype:
        pytest.skip("a complex update of a real parameter is an error")
    out = fo.apply_updates(jnp.ones(2, dtype), jnp.ones(2, update))
    assert out.dtype == jnp.dtype(dtype)
    assert not out.weak_type
    assert out.tolist() == [2.0, 2.0]


def test_a_float32_update_of_a_bfloat16_parameter_is_added_in_float32_and_cast_once():
    p = jnp.array(1.0, jnp.bfloat16)
    wanted = jnp.array(1.0078125, jnp.bfloat16)  # the next number of bfloat16
    difference = wanted.astype(jnp.float32) - p.astype(jnp.float32)
    assert fo.apply_updates(p, difference) == wanted
    # Just above half of the way: cast first, it would be half, which rounds to even.
    assert fo.apply_updates(p, 0.501 * difference) == wanted


@pytest.mark.parametrize("nothing", [None, fo.MaskedNode(), ()], ids=repr)
def test_a_parameter_without_an_update_is_the_same_object(nothing):
    params = {"w": jnp.ones(2), "b": jnp.ones(3)}
    out = fo.apply_updates(params, {"w": jnp.ones(2), "b": nothing})
    assert out["b"] is params["b"]
    assert out["w"].tolist() == [2.0, 2.0]


def test_integers_take_gradients_of_no_dtype_and_updates_of_their_own():
    params = {"n": jnp.array([1, 2]), "w": jnp.ones(2)}
    _, grads = jax.value_and_grad(lambda p: p["w"].sum(), allow_int=True)(params)
    out = fo.apply_updates(params, grads)
    assert out["n"].tolist() == [1, 2]
    assert out["w"].tolist() == [2.0, 2.0]
    assert fo.apply_updates(jnp.array([1, 2]), jnp.array([1, 1])).tolist() == [2, 3]


def test_numpy_arrays_and_python_numbers_are_parameters():
    assert fo.apply_updates({"a": 1.0}, {"a": 0.5})["a"] == 1.5
    assert fo.apply_updates(np.ones(2, np.float32), np.ones(2, np.float32)).tolist() == [2, 2]


def test_a_complex_update_of_a_real_parameter_is_refused():
    with pytest.raises(TypeError, match=r"apply_updates: .*complex"):
        fo.apply_updates({"w": jnp.ones(2)}, {"w": jnp.ones(2, jnp.complex64)})


NODES = {"enc": {"w": jnp.ones(2), "b": jnp.ones(1)}, "head": jnp.ones(3)}
WHOLE, EACH = (
    {"enc": nothing, "head": jnp.full(3, 0.5)} for nothing in (None, {"w": None, "b": None})
)


@pytest.mark.parametrize(
    "tx",
    [
        fo.sgd(0.1),
        fo.adam(0.1),
        fo.packed(fo.adam(0.1)),
        fo.masked(fo.adam(0.1), {"enc": True, "head": True}),
        fo.partition({"a": fo.adam(0.1)}, "a"),
        fo.MultiSteps(fo.per_leaf_counts(fo.adam(0.1)), 2),
        fo.chain(fo.clip_by_global_norm(1.0), fo.params_ema(0.9)),
        fo.scale_by_lbfgs(),
    ],
    ids=repr,
)
def test_none_in_place_of_a_node_is_none_for_each_of_its_leaves(tx):
    def run(grads):
        params, state = NODES, tx.init(NODES)
        for _ in range(2):
            updates, state = tx.update(grads, state, params)
            params = fo.apply_updates(params, updates)
        return params, state

    for x, y in zip(jax.tree.leaves(run(WHOLE)), jax.tree.leaves(run(EACH)), strict=True):
        np.testing.assert_array_equal(x, y)


def test_none_in_place_of_a_node_leaves_its_parameters_the_same_objects():
    out = fo.apply_updates(NODES, WHOLE)
    assert out["enc"]["w"] is NODES["enc"]["w"]
    assert out["head"].tolist() == [1.5, 1.5, 1.5]
