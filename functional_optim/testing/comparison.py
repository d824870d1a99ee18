"""Compares trees by the assertions of chex, and says where they differ."""

import contextlib
from collections.abc import Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..core.trees.structure import path_string

__all__ = [
    "avals_of",
    "close",
    "equal",
    "finite",
    "flat",
    "is_of_parameter",
    "same_structure",
    "saying",
]


@contextlib.contextmanager
def saying(message: str) -> Iterator[None]:
    """Gives an assertion of chex a message of one line, which names the leaf and the check."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(message) from error


def flat(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves by their dotted paths."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_string(path): leaf for path, leaf in leaves}


def is_of_parameter(path: str, parameter: str) -> bool:
    """Tells whether a state's leaf is at a parameter's path, in a tree like the parameters."""
    return path == parameter or parameter == "(root)" or path.endswith(f".{parameter}")


def avals_of(tree: PyTree) -> dict[str, tuple[Any, ...]]:
    """Returns, for each leaf, what an update must not change: shape, dtype and weak type."""
    return {path: _aval(leaf) for path, leaf in flat(tree).items()}


def _aval(leaf: Any) -> tuple[Any, ...]:
    if not hasattr(leaf, "dtype"):
        return (type(leaf).__name__,)
    kind = "weak " if getattr(leaf, "weak_type", False) else ""
    return f"{kind}{leaf.dtype}", tuple(leaf.shape)


def same_structure(before: PyTree, after: PyTree, what: str, first: str, second: str) -> None:
    """Asserts that two trees have the same leaves, with the same avals."""
    old, new = avals_of(before), avals_of(after)
    for path in (*old, *new):
        a, b = old.get(path), new.get(path)
        assert a == b, (
            f"{what} has {_show(b)} at '{path}' {second}, where it has {_show(a)} {first}."
        )
    structures = jax.tree.structure(after), jax.tree.structure(before)
    with saying(
        f"{what} has other containers {second} than {first}: {structures[0]} and {structures[1]}."
    ):
        chex.assert_trees_all_equal_structs(before, after)


def _show(aval: tuple[Any, ...] | None) -> str:
    return "no leaf" if aval is None else " ".join(map(str, aval))


def finite(tree: PyTree, what: str) -> None:
    """Asserts that no leaf has an infinity or a NaN."""
    for path, x in flat(tree).items():
        with saying(f"{what} is not finite at '{path}'."):
            chex.assert_tree_all_finite(x)


def equal(a: PyTree, b: PyTree, what: str, reason: str) -> None:
    """Asserts that two trees agree bit for bit."""
    same_structure(a, b, what, "at first", reason)
    for path, x in flat(a).items():
        with saying(f"{what} differs at '{path}' {reason}."):
            chex.assert_trees_all_equal(x, flat(b)[path])


def close(a: PyTree, b: PyTree, what: str, reason: str, rtol: float) -> None:
    """Asserts that each leaf agrees to a fraction of its largest element."""
    for path, x in flat(a).items():
        x, y = np.asarray(x), np.asarray(flat(b)[path])
        bound = 0.0
        if _inexact(x):
            x, y = (v.astype(np.complex128 if np.iscomplexobj(v) else np.float64) for v in (x, y))
            bound = rtol * (np.abs(y[np.isfinite(y)]).max(initial=0.0) + 1e-6)
        with saying(f"{what} is off by more than {bound:.1e} at '{path}' {reason}."):
            chex.assert_trees_all_close(x, y, rtol=0.0, atol=bound)


def _inexact(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)
