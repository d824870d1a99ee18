"""What tests ask of trees."""

from typing import Any

import jax
import numpy as np

import functional_optim as fo

from . import problem


def law(tree: Any) -> Any:
    """What update must not change of a state: per path, shape, dtype and weak type."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    seen = {jax.tree_util.keystr(path): (x.shape, x.dtype, x.weak_type) for path, x in flat}
    return seen, jax.tree.structure(tree)


def dtypes_of(tree: Any) -> list[Any]:
    """Dtypes of the leaves."""
    return [x.dtype for x in jax.tree.leaves(tree)]


def mixed(dtypes: Any) -> dict[str, Any]:
    """The problem's parameters in several dtypes, side by side, under its names."""
    kinds = {dtype: problem.arrays(dtype) for dtype in dtypes}
    return {k: {dtype: tree[k] for dtype, tree in kinds.items()} for k in problem.SHAPES}


def settable(state: Any) -> dict[str, Any]:
    """The hyperparameters that can be set: not those that follow a schedule."""
    known = fo.get_hyperparams(state)
    return {k: v for k, v in known.items() if not any(n.startswith(f"{k}.") for n in known)}


def zeros_like(tree: Any) -> Any:
    """Zeros in the place of all leaves."""
    return jax.tree.map(jax.numpy.zeros_like, tree)


def assert_same(a: Any, b: Any) -> None:
    """The trees agree bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a: Any, b: Any, **tolerance: Any) -> None:
    """The trees agree to a tolerance."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def assert_finite(tree: Any) -> None:
    """No leaf holds an infinity or a NaN."""
    for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]:
        assert jax.numpy.isfinite(x).all(), jax.tree_util.keystr(path)
