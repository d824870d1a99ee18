"""Complex parameters as pairs of real ones."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

X, Y = jnp.array([[0.1, 0.2], [-0.1, -0.2]]), jnp.array([[0.5, -0.5], [0.1, 0.3]])
PARAMS = {"z": jax.lax.complex(X, Y), "r": jnp.array([1.0, 2.0])}
GRADS = {"z": jax.lax.complex(Y, X), "r": jnp.array([0.5, -1.0])}


def in_parts(tree):
    return {"x": jnp.real(tree["z"]), "y": jnp.imag(tree["z"]), "r": tree["r"]}


@pytest.mark.parametrize(
    "inner",
    [fo.scale_by_adam(), fo.scale_by_param_block_norm(), fo.lamb(0.1), optax.sgd(0.1, 0.9)],
    ids=["adam", "block_norm", "lamb", "optax"],
)
def test_the_parts_are_two_parameters(inner):
    tx, params, parts = fo.split_real_and_imaginary(inner), PARAMS, in_parts(PARAMS)
    state, real = tx.init(params), inner.init(in_parts(PARAMS))
    for _ in range(3):
        updates, state = jax.jit(tx.update)(GRADS, state, params)
        expected, real = inner.update(in_parts(GRADS), real, parts)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), in_parts(updates), expected
        )
        params, parts = (fo.apply_updates(*pair) for pair in ((params, updates), (parts, expected)))


def test_absent_gradients_stay_absent():
    tx = fo.split_real_and_imaginary(fo.sgd(0.1))
    updates, _ = tx.update({**GRADS, "z": None}, tx.init(PARAMS), PARAMS)
    assert updates["z"] is None
    np.testing.assert_allclose(updates["r"], -0.1 * GRADS["r"])


def test_functions_and_trees_among_extra_arguments_are_of_the_parts():
    def value_fn(params):
        return jnp.sum(jnp.abs(params["z"]) ** 2) + jnp.sum(params["r"] ** 2)

    tx = fo.split_real_and_imaginary(fo.chain(fo.sgd(1.0), fo.scale_by_backtracking_linesearch(9)))
    value, grad = jax.value_and_grad(value_fn)(PARAMS)
    grad = jax.tree.map(jnp.conj, grad)
    updates, _ = tx.update(grad, tx.init(PARAMS), PARAMS, value=value, grad=grad, value_fn=value_fn)
    assert value_fn(fo.apply_updates(PARAMS, updates)) < value
