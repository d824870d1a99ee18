"""Compares trees by the assertions of chex, with messages that name the leaf."""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..core.trees.structure import path_string

__all__ = [
    "avals_of",
    "assert_close",
    "assert_equal",
    "assert_finite",
    "leaves_by_path",
    "is_of_parameter",
    "assert_same_structure",
    "saying",
]

Aval: TypeAlias = tuple[str | tuple[int, ...], ...]
"""The dtype, with its weak type, and the shape of an array; the type of any other leaf."""


@contextlib.contextmanager
def saying(message: str) -> Iterator[None]:
    """Replaces the message of an assertion of chex by one line that names the leaf."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(message) from error


def leaves_by_path(tree: PyTree) -> dict[str, Any]:
    """Maps dotted paths to leaves."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_string(path): leaf for path, leaf in leaves}


def is_of_parameter(path: str, parameter: str) -> bool:
    """Tells whether the path of a state's leaf ends with the path of a parameter."""
    return path == parameter or parameter == "(root)" or path.endswith(f".{parameter}")


def avals_of(tree: PyTree) -> dict[str, Aval]:
    """Returns shape, dtype and weak type of each leaf, which an update must not change."""
    return {path: _aval(leaf) for path, leaf in leaves_by_path(tree).items()}


def _aval(leaf: Any) -> Aval:
    if not hasattr(leaf, "dtype"):
        return (type(leaf).__name__,)
    kind = "weak " if getattr(leaf, "weak_type", False) else ""
    return f"{kind}{leaf.dtype}", tuple(leaf.shape)


def assert_same_structure(
    before: PyTree, after: PyTree, what: str, first: str, second: str
) -> None:
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


def _show(aval: Aval | None) -> str:
    return "no leaf" if aval is None else " ".join(map(str, aval))


def assert_finite(tree: PyTree, what: str) -> None:
    """Asserts that no leaf has an infinity or a NaN."""
    for path, x in leaves_by_path(tree).items():
        with saying(f"{what} is not finite at '{path}'."):
            chex.assert_tree_all_finite(x)


def assert_equal(a: PyTree, b: PyTree, what: str, reason: str) -> None:
    """Asserts that two trees are equal bit for bit."""
    assert_same_structure(a, b, what, "at first", reason)
    others = leaves_by_path(b)
    for path, x in leaves_by_path(a).items():
        with saying(f"{what} differs at '{path}' {reason}."):
            chex.assert_trees_all_equal(x, others[path])


def assert_close(a: PyTree, b: PyTree, what: str, reason: str, rtol: float) -> None:
    """Asserts that each leaf is equal to a fraction `rtol` of its largest element."""
    others = leaves_by_path(b)
    for path, x in leaves_by_path(a).items():
        x, y = np.asarray(x), np.asarray(others[path])
        bound = 0.0
        if _is_inexact(x):
            x, y = (v.astype(np.complex128 if np.iscomplexobj(v) else np.float64) for v in (x, y))
            # The constant lets a leaf of zeros differ by roundings.
            bound = rtol * (np.abs(y[np.isfinite(y)]).max(initial=0.0) + 1e-6)
        with saying(f"{what} is off by more than {bound:.1e} at '{path}' {reason}."):
            chex.assert_trees_all_close(x, y, rtol=0.0, atol=bound)


def _is_inexact(x: np.ndarray) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)
