"""Compares trees, and says where they differ."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..core.trees.structure import path_string

__all__ = ["avals_of", "close", "equal", "finite", "flat", "is_of_parameter", "same_structure"]


def flat(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves by their dotted paths."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_string(path): leaf for path, leaf in leaves}


def is_of_parameter(path: str, parameter: str) -> bool:
    """Whether a leaf of a state is at the path of a parameter, in a tree like the parameters."""
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
    structures: list[Any] = [jax.tree.structure(before), jax.tree.structure(after)]
    assert structures[0] == structures[1], (
        f"{what} has other containers {second} than {first}: {structures[1]} and {structures[0]}."
    )


def _show(aval: tuple[Any, ...] | None) -> str:
    return "no leaf" if aval is None else " ".join(map(str, aval))


def finite(tree: PyTree, what: str) -> None:
    """Asserts that no leaf has an infinity or a NaN."""
    for path, x in flat(tree).items():
        assert bool(jnp.isfinite(x).all()), f"{what} is not finite at '{path}'."


def equal(a: PyTree, b: PyTree, what: str, reason: str) -> None:
    """Asserts that two trees agree bit for bit."""
    same_structure(a, b, what, "at first", reason)
    for path, x in flat(a).items():
        y = flat(b)[path]
        same = np.array_equal(np.asarray(x), np.asarray(y), equal_nan=_inexact(x))
        assert same, f"{what} differs at '{path}' {reason}."


def close(a: PyTree, b: PyTree, what: str, reason: str, rtol: float) -> None:
    """Asserts that each leaf agrees to a fraction of its largest element."""
    for path, x in flat(a).items():
        y = np.asarray(flat(b)[path])
        x = np.asarray(x)
        if not _inexact(x):
            assert np.array_equal(x, y), f"{what} differs at '{path}' {reason}."
            continue
        x, y = (v.astype(np.complex128 if np.iscomplexobj(v) else np.float64) for v in (x, y))
        bound = rtol * (np.abs(y[np.isfinite(y)]).max(initial=0.0) + 1e-6)
        off = np.abs(x - y)[np.isfinite(x) & np.isfinite(y)].max(initial=0.0)
        is_close = np.array_equal(np.isfinite(x), np.isfinite(y)) and off <= bound
        assert is_close, f"{what} is off by {off:.1e} at '{path}' {reason}, more than {bound:.1e}."


def _inexact(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)
