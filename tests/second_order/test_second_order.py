"""Second derivatives against a Hessian that is written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.second_order import (
    fisher_diag,
    hessian_diag,
    hutchinson_diag,
    hutchinson_estimator_diag_hessian,
    hvp,
)

from ..trees import assert_close, assert_same

MATRIX = np.random.default_rng(0).standard_normal((5, 5))
MATRIX = MATRIX + MATRIX.T
PARAMS = {"b": jnp.float32(0.5), "w": jnp.arange(4.0).reshape(2, 2) / 4}
FLAT = np.concatenate([np.ravel(PARAMS[k]) for k in "bw"]).astype(float)


def loss(params, scale):
    """Computes a quadratic form and fourth powers, whose Hessian is MATRIX + 12 diag(p^2)."""
    p = jnp.concatenate([params["b"][None], params["w"].reshape(-1)])
    return scale * (p @ jnp.asarray(MATRIX, p.dtype) @ p / 2 + jnp.sum(p**4))


HESSIAN = 2.0 * (MATRIX + 12 * np.diag(FLAT**2))


def tree(flat):
    return {"b": flat[0], "w": np.reshape(flat[1:], (2, 2))}


@pytest.mark.parametrize("flat", [True, False])
def test_products_are_those_of_the_matrix(flat):
    v = np.random.default_rng(1).standard_normal(5)
    given = jnp.asarray(v, jnp.float32) if flat else tree(jnp.asarray(v, jnp.float32))
    found = jax.jit(lambda given: hvp(loss, given, PARAMS, scale=2.0))(given)
    assert_close(found, tree(HESSIAN @ v), rtol=1e-5)


def test_the_diagonal_is_exact():
    found = jax.jit(lambda p: hessian_diag(loss, p, 2.0))(PARAMS)
    assert_close(found, tree(np.diag(HESSIAN)), rtol=1e-5)


def test_more_elements_than_are_computed_at_once():
    p = jnp.linspace(-1.0, 1.0, 150)
    assert_close(hessian_diag(lambda p: jnp.sum(p**4), p), 12 * p**2, rtol=1e-5)


def test_the_estimate_has_the_mean_and_the_variance_of_its_definition():
    keys = jax.random.split(jax.random.key(0), 4000)
    each = jax.jit(jax.vmap(lambda key: hutchinson_diag(loss, PARAMS, 2.0, key=key)))(keys)
    rows = np.concatenate([np.reshape(each[k], (4000, -1)) for k in "bw"], 1)
    deviation = np.sqrt((HESSIAN**2).sum(1) - np.diag(HESSIAN) ** 2)
    np.testing.assert_allclose(rows.mean(0), np.diag(HESSIAN), atol=5 * deviation.max() / 4000**0.5)
    np.testing.assert_allclose(rows.std(0), deviation, rtol=0.05)
    many = hutchinson_diag(loss, PARAMS, 2.0, key=jax.random.key(1), samples=400)
    assert_close(many, tree(np.diag(HESSIAN)), atol=5 * deviation.max() / 400**0.5)


def test_the_link_estimates_with_new_signs_at_each_update():
    tx = hutchinson_estimator_diag_hessian(3)
    state, obj_fn, found = tx.init(PARAMS), lambda p: loss(p, 2.0), []
    for _ in range(2):
        u, state = tx.update(PARAMS, state, PARAMS, obj_fn=obj_fn, other=1)
        found.append(u)
    assert not np.allclose(found[0]["w"], found[1]["w"])
    again, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS, obj_fn=obj_fn)
    assert_same(again, found[0])
    assert tx == hutchinson_estimator_diag_hessian(3)
    chained = fo.chain(tx, fo.scale(0.0))
    assert chained.init(PARAMS)._fields == ("hutchinson_estimator_diag_hessian", "scale")


@pytest.mark.parametrize("size", [None, 2, 3])
def test_the_fisher_matrix_is_the_mean_over_examples(size):
    x, y = np.random.default_rng(2).standard_normal((2, 5))

    def nll(params, x, y):
        return jnp.mean((x * params["w"] + params["b"] - y) ** 2) / 2

    params = {"w": jnp.float32(0.3), "b": jnp.float32(-0.2)}
    batches = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    found = jax.jit(lambda p, *b: fisher_diag(nll, p, *b, microbatch_size=size))(params, *batches)
    error = 0.3 * x - 0.2 - y
    assert_close(found, {"w": np.mean((error * x) ** 2), "b": np.mean(error**2)}, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: hvp(loss, jnp.ones(4), PARAMS, 1.0), ValueError, "hvp: v"),
        (lambda: hvp(loss, {"b": jnp.ones(())}, PARAMS, 1.0), ValueError, "v has no leaf at 'w'"),
        (
            lambda: hvp(loss, {**PARAMS, "w": jnp.ones(3)}, PARAMS, 1.0),
            ValueError,
            r"hvp: v has an array of shape \(3,\) for a parameter of shape \(2, 2\)",
        ),
        (
            lambda: hutchinson_diag(loss, PARAMS, 1.0, key=jax.random.key(0), samples=0),
            ValueError,
            "samples must be at least 1, got 0",
        ),
        (lambda: hutchinson_estimator_diag_hessian("a"), TypeError, "random_seed must be an inte"),
        (
            lambda: hutchinson_estimator_diag_hessian().update(PARAMS, None, PARAMS),
            ValueError,
            "update needs params and obj_fn",
        ),
    ],
)
def test_misuse(call, error, text):
    with pytest.raises(error, match=text):
        call()
