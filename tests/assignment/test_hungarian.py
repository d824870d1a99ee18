"""The least sum of costs, against that of all assignments."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from functional_optim import assignment

each = pytest.mark.parametrize(
    "assign", [assignment.hungarian_algorithm, assignment.base_hungarian_algorithm]
)

KINDS = {
    "normal": lambda rng, shape: rng.standard_normal(shape).astype(np.float32),
    "ties": lambda rng, shape: rng.integers(-2, 3, shape),
    "large": lambda rng, shape: (1e6 * rng.random(shape)).astype(np.float32),
}

SHAPES = [(0, 0), (0, 3), (1, 0), (1, 1), (2, 5), (3, 1), (3, 3), (4, 3), (5, 3), (5, 5)]
"""Compiling for one takes longer than assigning, so several matrices have each shape."""


def least(costs):
    """Returns the least sum over all assignments."""
    if costs.shape[0] > costs.shape[1]:
        costs = costs.T
    n, m = costs.shape
    columns = itertools.permutations(range(m), n)
    return min(sum(costs[i, j] for i, j in enumerate(chosen)) for chosen in columns)


@each
@pytest.mark.parametrize("kind", KINDS)
def test_no_assignment_costs_less(assign, kind):
    rng, found = np.random.default_rng(0), jax.jit(assign)
    for shape in 4 * SHAPES:
        costs = KINDS[kind](rng, shape)
        i, j = map(np.asarray, found(jnp.asarray(costs)))
        assert i.shape == j.shape == (min(shape),)
        assert i.dtype == j.dtype == np.int32
        assert (np.diff(i) > 0).all()
        assert len(set(j)) == len(j)
        np.testing.assert_allclose(costs[i, j].sum(), least(costs), rtol=1e-6)


@each
def test_costs_of_large_matrices_equal_those_of_optax(assign):
    costs = jax.random.normal(jax.random.key(0), (40, 60))
    for matrix in (costs, costs.T):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            expected = matrix[optax.assignment.hungarian_algorithm(matrix)].sum()
        np.testing.assert_allclose(matrix[assign(matrix)].sum(), expected, rtol=1e-5)


@each
def test_a_batch_is_assigned_by_vmap(assign):
    costs = jax.random.normal(jax.random.key(0), (3, 4, 2))
    i, j = jax.vmap(assign)(costs)
    for k in range(3):
        np.testing.assert_array_equal((i[k], j[k]), assign(costs[k]))


def test_the_costs_that_are_picked_are_differentiated():
    costs = jnp.array([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0]])
    slope = jax.jit(jax.grad(lambda c: c[assignment.hungarian_algorithm(c)].sum()))(costs)
    assert slope.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


def test_an_infinite_cost_forbids_a_pair():
    costs = jnp.array([[jnp.inf, 5.0, 9.0], [0.0, 1.0, jnp.inf], [jnp.inf, 2.0, jnp.inf]])
    assert assignment.hungarian_algorithm(costs)[1].tolist() == [2, 0, 1]


@pytest.mark.parametrize("value", [jnp.inf, jnp.nan])
def test_costs_without_a_finite_assignment_terminate(value):
    i, j = assignment.hungarian_algorithm(jnp.full((3, 4), value))
    assert len(i) == len(set(j.tolist())) == 3


def test_narrow_and_whole_costs_are_computed_wide(x64):
    costs = jnp.array([[2**24 + 1, 2**24], [2**24, 2**24]])  # which float32 cannot tell apart
    assert assignment.hungarian_algorithm(costs)[1].tolist() == [1, 0]
    narrow = jnp.array([[1.0, 1.5], [1.0, 2.5]], jnp.bfloat16)
    assert assignment.hungarian_algorithm(narrow)[1].tolist() == [1, 0]


@each
def test_an_array_that_is_not_a_matrix_is_an_error(assign):
    with pytest.raises(ValueError, match=r"hungarian_algorithm: .* got shape \(2, 2, 2\).*vmap"):
        assign(jnp.ones((2, 2, 2)))
