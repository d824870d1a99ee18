"""One step is the update, added."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from ..sparse import draw

TRANSFORMATIONS = {
    "sgd": fo.sgd(0.1),
    "nesterov": fo.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": fo.adam(0.1),
    "adamw": fo.adamw(0.1, weight_decay=0.1, mask=lambda p: jax.tree.map(lambda x: x.ndim > 0, p)),
    "lion": fo.lion(fo.linear_schedule(0.1, 0.01, 10)),
    "rmsprop": fo.rmsprop(0.1, momentum=0.9),
    "by label": fo.adam(fo.by_label({"a": 0.1, "b": 0.2}, fo.path_labels({"w": "a"}, default="b"))),
    "noise": fo.chain(fo.sgd(0.1), fo.add_noise(0.1, 0.55, 0)),
    "norm last": fo.chain(fo.adam(0.1), fo.clip_by_global_norm(0.01)),
    "exact": fo.chain(fo.sgd(0.1), fo.master_weights()),
    "constraint": fo.chain(fo.sgd(1.0), fo.keep_params_nonnegative()),
    "one rule": fo.scale(-0.1),
    "empty": fo.chain(),
    "whole tree": fo.lbfgs(0.1, linesearch=None),
    "wrapper": fo.masked(fo.adam(0.1), {"b": True, "h": False, "i": False, "n": True, "w": True}),
    "wrapper last": fo.chain(fo.sgd(0.1), fo.apply_if_finite(fo.scale(0.5), 2)),
    "optax": optax.sgd(0.1, momentum=0.9),
    "optax last": fo.chain(fo.sgd(0.1), optax.scale(0.5)),
}


def tree(seed):
    """Draws leaves of several kinds; one of integers, and one that will have no gradient."""
    rng = np.random.default_rng(seed)

    def leaf(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    return {
        "b": leaf(3),
        "h": leaf(4, 3).astype(jnp.bfloat16),
        "i": None if seed else jnp.arange(3),
        "n": None if seed else leaf(2),
        "w": leaf(5, 3),
    }


def in_two(tx, grads, state, params):
    updates, state = tx.update(grads, state, params)
    return fo.apply_updates(params, updates), state


def run(tx, step, params, grads):
    state = tx.init(params)
    program = jax.jit(lambda *arguments: step(tx, *arguments))
    for g in grads:
        params, state = program(g, state, params)
    return params, state


def assert_same_bits(tx, params, grads):
    two, one = (run(tx, step, params, grads) for step in (in_two, fo.apply_gradients))
    assert jax.tree.structure(two) == jax.tree.structure(one)
    for a, b in zip(jax.tree.leaves(two), jax.tree.leaves(one), strict=True):
        assert (a.dtype, a.weak_type) == (b.dtype, b.weak_type)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_it_gives_the_bits_of_update_and_apply_updates(name):
    params = {**tree(0), "i": None}
    assert_same_bits(TRANSFORMATIONS[name], params, [tree(1), tree(2)])


def test_leaves_without_a_gradient_are_the_same_objects(eager):
    params, tx = tree(0), fo.sgd(0.1)
    new, _ = fo.apply_gradients(tx, tree(1), tx.init({**params, "i": None}), params)
    assert new["i"] is params["i"]
    assert new["n"] is params["n"]


@pytest.mark.parametrize("tx", [fo.sgd(0.1), fo.adagrad(0.1)], ids=["sgd", "adagrad"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_and_complex_leaves(tx, dtype):
    rows, z = draw(0), jnp.array([1 + 2j, 3.0], jnp.complex64)
    params = {"rows": jnp.ones(rows.shape, dtype), "z": z}
    assert_same_bits(tx, params, [{"rows": rows.sparse, "z": 1j * z}])


def test_parameters_and_gradients_of_different_dtypes():
    params = {"w": jnp.ones(3, jnp.float32), "h": jnp.ones(3, jnp.bfloat16)}
    grads = {"w": jnp.full(3, 0.3, jnp.float16), "h": jnp.full(3, 0.3, jnp.float32)}
    assert_same_bits(fo.adamw(0.1), params, [grads])


def test_extra_arguments_are_passed_to_the_links():
    tx, params = fo.polyak_sgd(), {"w": jnp.ones(2)}
    new, _ = fo.apply_gradients(tx, params, tx.init(params), params, value=1.0, unknown=None)
    np.testing.assert_allclose(new["w"], 0.5, rtol=1e-6)


def test_updates_are_not_arrays_of_the_program(eager):
    tx, params = fo.adam(0.1), {"w": jnp.ones(2)}
    state = tx.init(params)
    with jax.disable_jit(False):
        jaxpr = jax.make_jaxpr(lambda *a: fo.apply_gradients(tx, *a))(params, state, params)
    whole = [e for e in jaxpr.eqns if any(v.aval.shape == (2,) for v in e.outvars)]
    assert [len(e.outvars) for e in whole if e.primitive.name == "jit"] == [3]
    assert not [e for e in whole if e.primitive.name == "add"]


@pytest.mark.parametrize(
    ("params", "grads", "error"),
    [
        ({"w": jnp.ones(2)}, {"w": jnp.ones(3)}, r"'w'.*shape \(3,\)"),
        ({"w": jnp.ones(2), "b": None}, {"w": jnp.ones(2), "b": jnp.ones(2)}, "'b'"),
        ({"w": jnp.ones(2), "n": jnp.arange(2)}, {"w": jnp.ones(2), "n": jnp.ones(2)}, "'n'"),
    ],
    ids=["shape", "no parameter", "integers"],
)
def test_errors_are_those_of_the_two(params, grads, error):
    tx = fo.scale(-0.1)
    state = tx.init({"w": jnp.ones(2)})
    for step in (in_two, fo.apply_gradients):
        with pytest.raises((ValueError, TypeError), match=error) as caught:
            step(tx, grads, state, params)
        assert "'" in str(caught.value) or caught.value.__notes__


def test_an_argument_that_is_not_a_pair_is_refused():
    with pytest.raises(TypeError, match=r"apply_gradients: tx must be a pair .* got float"):
        fo.apply_gradients(0.1, {}, (), {})
