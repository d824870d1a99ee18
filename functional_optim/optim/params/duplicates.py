"""Finds arrays that are passed to an optimizer more than once, by their identity."""

import warnings
import weakref
from collections.abc import Sequence

import jax
import numpy as np

from ...core.protocol import PyTree
from ...core.trees.structure import path_string
from ..stacklevel import user_stacklevel

__all__ = ["SeenArrays"]


class SeenArrays:
    """Weak references to the arrays that were passed to an optimizer.

    A copy of an optimizer starts without any.
    """

    def __init__(self) -> None:
        self._arrays: weakref.WeakValueDictionary[int, jax.Array | np.ndarray] = (
            weakref.WeakValueDictionary()
        )

    def check(self, where: str, params: PyTree, current: Sequence[PyTree]) -> None:
        """Warns of an array that occurs twice in a new group: both places then get a copy.

        Args:
          where: name of the group, for errors.
          params: parameters of the new group.
          current: the present parameters of the existing groups.

        Raises:
          ValueError: an array is in another group as well.
        """
        others = {id(x) for x in jax.tree.leaves(list(current))}
        first_path: dict[int, str] = {}
        for path, x in _arrays(params):
            if id(x) in others or id(x) in self._arrays:
                raise ValueError(
                    f"{where}: some parameters appear in more than one parameter group: the array "
                    f"at '{path}' is also in another. Pass it once, or pass jnp.copy(...) to train "
                    "a copy."
                )
            if first_path.setdefault(id(x), path) != path:
                warnings.warn(
                    f"{where}: optimizer contains a parameter group with duplicate parameters: "
                    f"'{first_path[id(x)]}' and '{path}' are one array. From the first step on "
                    "they are two. To tie them, keep one, and use it twice in the loss.",
                    UserWarning,
                    stacklevel=user_stacklevel(),
                )

    def add(self, params: PyTree) -> None:
        """Remembers the arrays of a group."""
        self._arrays.update({id(x): x for _, x in _arrays(params)})

    def __reduce__(self) -> tuple[object, ...]:
        return SeenArrays, ()


def _arrays(tree: PyTree) -> list[tuple[str, jax.Array | np.ndarray]]:
    """Lists the arrays with their paths, without Python numbers and tracers.

    A Python number or tracer may occur twice without being one parameter.
    """
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [
        (path_string(path), x)
        for path, x in flat
        if isinstance(x, (jax.Array, np.ndarray)) and not isinstance(x, jax.core.Tracer)
    ]
