"""Arrays that an optimizer is given more than once, known by their identity."""

import warnings
import weakref
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.trees import path_string
from .user_line import users_level

__all__ = ["Given"]


class Given:
    """The arrays that an optimizer was given; it does not keep them alive.

    A copy of an optimizer knows none.
    """

    def __init__(self) -> None:
        self._arrays: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def check(self, where: str, params: PyTree, held: Sequence[PyTree]) -> None:
        """Warns of an array that is in a new group twice: each place gets a copy, and they part.

        Args:
          where: what errors call the group.
          params: of the new group.
          held: the parameters of the groups that are there, as they are now.

        Raises:
          ValueError: an array is in another group as well.
        """
        others = {id(x) for x in jax.tree.leaves(list(held))}
        here: dict[int, str] = {}
        for name, x in _arrays(params):
            if id(x) in others or id(x) in self._arrays:
                raise ValueError(
                    f"{where}: some parameters appear in more than one parameter group: the array "
                    f"at '{name}' is in another. Pass each once, or jnp.copy(...) of it for one of "
                    "its own."
                )
            if here.setdefault(id(x), name) != name:
                warnings.warn(
                    f"{where}: optimizer contains a parameter group with duplicate parameters: "
                    f"those at '{here[id(x)]}' and '{name}' are one array. From the first step on "
                    "they are two. To tie them, keep one, and use it twice in the loss.",
                    UserWarning,
                    stacklevel=users_level(),
                )

    def add(self, params: PyTree) -> None:
        """Remembers the arrays of a group."""
        self._arrays.update({id(x): x for _, x in _arrays(params)})

    def __reduce__(self) -> tuple[Any, ...]:
        return Given, ()


def _arrays(tree: PyTree) -> list[tuple[str, Any]]:
    """The arrays of a tree with their paths; numbers and tracers are no objects of the user's."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    kinds = (jax.Array, np.ndarray)
    return [
        (path_string(path), x)
        for path, x in flat
        if isinstance(x, kinds) and not isinstance(x, jax.core.Tracer)
    ]
