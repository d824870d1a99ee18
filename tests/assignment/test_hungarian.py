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
    "ties": lambda rng, shape: rng.integers(-2, 3, shape).astype(np.float32),
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


def test_both_names_are_one_program():
    ours, base = (
        str(jax.make_jaxpr(f)(jnp.zeros((2, 3))))
        for f in (assignment.hungarian_algorithm, assignment.base_hungarian_algorithm)
    )
    assert ours == base


@pytest.mark.parametrize("kind", KINDS)
def test_no_assignment_costs_less(kind):
    rng, found = np.random.default_rng(0), jax.jit(assignment.hungarian_algorithm)
    for shape in 4 * SHAPES:
        costs = KINDS[kind](rng, shape)
        i, j = map(np.asarray, found(jnp.asarray(costs)))
        assert i.shape == j.shape == (min(shape),)
        assert i.dtype == j.dtype == np.int32
        assert (np.diff(i) > 0).all()
        assert len(set(j)) == len(j)
        np.testing.assert_allclose(costs[i, j].sum(), least(costs), rtol=1e-6)


def sum_of(assign, costs):
    i, j = assign(jnp.asarray(costs))
    return costs[np.asarray(i), np.asarray(j)].sum()


def least_of_optax(costs):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return sum_of(optax.assignment.hungarian_algorithm, costs)


def test_costs_of_large_matrices_equal_those_of_optax():
    costs = np.random.default_rng(0).standard_normal((40, 60)).astype(np.float32)
    for matrix in (costs, costs.T):
        found = sum_of(assignment.hungarian_algorithm, matrix)
        np.testing.assert_allclose(found, least_of_optax(matrix), rtol=1e-5)


def test_a_batch_is_assigned_by_vmap():
    assign = assignment.hungarian_algorithm
    costs = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4, 2)), jnp.float32)
    alone = jax.jit(assign)
    i, j = jax.device_get(jax.jit(jax.vmap(assign))(costs))
    for k in range(3):
        np.testing.assert_array_equal((i[k], j[k]), alone(costs[k]))


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


@each
def test_whole_costs_may_tie(assign):
    rng, found = np.random.default_rng(0), jax.jit(assign)
    for _ in range(4):
        costs = rng.integers(-2, 3, (3, 4))
        i, j = map(np.asarray, found(jnp.asarray(costs)))
        assert costs[i, j].sum() == least(costs)


def test_narrow_and_whole_costs_are_computed_wide(x64):
    costs = jnp.array([[2**24 + 1, 2**24], [2**24, 2**24]])  # which float32 cannot tell apart
    assert assignment.hungarian_algorithm(costs)[1].tolist() == [1, 0]
    narrow = jnp.array([[1.0, 1.5], [1.0, 2.5]], jnp.bfloat16)
    assert assignment.hungarian_algorithm(narrow)[1].tolist() == [1, 0]


@each
def test_an_array_that_is_not_a_matrix_is_an_error(assign):
    with pytest.raises(ValueError, match=r"hungarian_algorithm: .* got shape \(2, 2, 2\).*vmap"):
        assign(jnp.ones((2, 2, 2)))
