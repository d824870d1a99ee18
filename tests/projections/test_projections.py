"""Every projection equals that of optax in float64, and has the properties of a projection."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

X = {"w": np.array([[1.3, -2.0, 0.2], [0.5, 3.0, -0.1]]), "b": np.array(0.4)}
NORMAL = {"w": np.array([[1.0, 0.5, -1.0], [0.0, 2.0, 0.3]]), "b": np.array(-1.0)}
LOW = jax.tree.map(lambda x: 0 * x - 0.5, X)
HIGH = jax.tree.map(lambda x: 0 * x + 0.25, X)

CASES = {
    "projection_box": [(X, LOW, HIGH)],
    "projection_halfspace": [(X, NORMAL, 0.5), (X, NORMAL, 100.0)],
    "projection_hypercube": [(X["w"],), (X["w"], 2.0)],  # optax takes one array only
    "projection_hyperplane": [(X, NORMAL, 0.5)],
    "projection_l1_ball": [(X,), (X, 100.0), (X, 2.5)],
    "projection_l1_sphere": [(X,), (X, 2.5)],
    "projection_l2_ball": [(X,), (X, 100.0)],
    "projection_l2_sphere": [(X, 3.0)],
    "projection_linf_ball": [(X, 0.5)],
    "projection_non_negative": [(X,)],
    "projection_simplex": [(X,), (X, 3.0), (LOW, 1.0)],
    "projection_vector": [(X, NORMAL)],
}
CALLS = [(name, args) for name, calls in CASES.items() for args in calls]
each = pytest.mark.parametrize(
    ("name", "args"), CALLS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CALLS)]
)


def test_every_projection_is_compared():
    assert set(fo.projections.__all__) == set(CASES)
    assert set(CASES) == {k for k in dir(optax.projections) if k.startswith("projection")}


@each
def test_points_and_derivatives_equal_those_of_optax(name, args, x64):
    x, *rest = jax.tree.map(jnp.asarray, args)
    weigh = lambda tree: sum(jnp.sum(jnp.sin(v)) for v in jax.tree.leaves(tree))  # noqa: E731
    ours = lambda x: getattr(fo.projections, name)(x, *rest)  # noqa: E731
    theirs = lambda x: getattr(optax.projections, name)(x, *rest)  # noqa: E731

    def evaluate(project):  # in one program, which compiles sooner than one for each operation
        return jax.jit(lambda x: (project(x), jax.grad(lambda x: weigh(project(x)))(x)))(x)

    with jax.numpy_dtype_promotion("standard"):
        expected = evaluate(theirs)
    found = evaluate(ours)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, expected)


@each
def test_a_projection_projects_once_and_keeps_dtypes(name, args):
    x = jax.tree.map(lambda v: jnp.asarray(v, jnp.bfloat16), args[0])
    project = jax.jit(lambda x: getattr(fo.projections, name)(x, *args[1:]))
    once = project(x)
    twice = project(once)
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(twice), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), atol=0.05)


def test_a_bound_may_be_a_number_for_all():
    box, cube = fo.projections.projection_box, fo.projections.projection_hypercube
    jax.tree.map(np.testing.assert_array_equal, box(X, -0.5, 0.25), box(X, LOW, HIGH))
    jax.tree.map(np.testing.assert_array_equal, cube(X, 0.25), cube(X, HIGH))
    assert cube(jnp.array([2.0, -1.0])).tolist() == [1.0, 0.0]
