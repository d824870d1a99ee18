"""Comparisons of trees."""

from typing import Any

import chex
import jax

import functional_optim as fo

from . import problem


def leaf_types(tree: Any) -> Any:
    """Returns shape, dtype and weak type of each leaf by its path, and the tree's structure.

    `update` must not change them in a state.
    """
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    types = {jax.tree_util.keystr(path): (x.shape, x.dtype, x.weak_type) for path, x in flat}
    return types, jax.tree.structure(tree)


def dtypes_of(tree: Any) -> list[Any]:
    """Returns the dtypes of the leaves."""
    return [x.dtype for x in jax.tree.leaves(tree)]


def mixed(dtypes: Any) -> dict[str, Any]:
    """Returns the problem's parameters in several dtypes, side by side, under its names."""
    kinds = {dtype: problem.arrays(dtype) for dtype in dtypes}
    return {k: {dtype: tree[k] for dtype, tree in kinds.items()} for k in problem.SHAPES}


def settable(state: Any) -> dict[str, Any]:
    """Returns the hyperparameters that can be set: not those that follow a schedule."""
    known = fo.get_hyperparams(state)
    return {k: v for k, v in known.items() if not any(n.startswith(f"{k}.") for n in known)}


def zeros_like(tree: Any) -> Any:
    """Returns zeros in the place of all leaves."""
    return jax.tree.map(jax.numpy.zeros_like, tree)


assert_same = chex.assert_trees_all_equal
"""The trees agree bit for bit."""

assert_finite = chex.assert_tree_all_finite
"""No leaf holds an infinity or a NaN."""


def assert_close(a: Any, b: Any, rtol: float = 1e-7, atol: float = 0.0) -> None:
    """Checks that the trees agree to a tolerance, by default NumPy's."""
    chex.assert_trees_all_close(a, b, rtol=rtol, atol=atol)
