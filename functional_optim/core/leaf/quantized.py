"""Arrays of a state that are held in another form: in fewer bits."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np

from ..trees.containers import bare

__all__ = [
    "FORMS",
    "Stored",
    "decode_state",
    "encoded_as",
    "holds_stored",
    "is_stored",
    "outlined",
    "stored_as",
]

Array = jax.Array


class Stored(abc.ABC):
    """A float32 array in another form: a pytree node, whose children are what it is held in.

    In a state it stands where the array would: a path to one of its parts is that of the array
    and the part's name. It has shape and dtype of the array, and no arithmetic.
    """

    parts: ClassVar[Mapping[str, Any]]
    """Name of each part -> its dtype, by which saved ones are known."""

    dtype = np.dtype(np.float32)

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of the array."""

    @classmethod
    @abc.abstractmethod
    def of(cls, x: Array, key: Array | None) -> "Stored":
        """Encodes an array: to what is nearest, or with a key rounded at random."""

    @abc.abstractmethod
    def decoded(self) -> Array:
        """Decodes the array."""

    @classmethod
    @abc.abstractmethod
    def units(cls, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int] | None:
        """Returns a shape of as many elements, and the multiples at which axis 0 can be cut.

        None where decoding and encoding are elementwise, and need no memory of their own.
        """

    @abc.abstractmethod
    def reshaped(self, shape: tuple[int, ...]) -> "Stored":
        """Reshapes the array from the shape of `units` to its own, or the reverse."""

    @classmethod
    @abc.abstractmethod
    def specs(cls, shape: tuple[int, ...], spec: Any, mesh: Any) -> "Stored":
        """Returns the partition spec of each part, where the array of this shape has `spec`."""


FORMS: dict[str, type[Stored]] = {}
"""All forms by their names."""

S = TypeVar("S", bound=type[Stored])


def stored_as(name: str) -> Callable[[S], S]:
    """Declares a frozen dataclass, whose fields are its parts, as a form of this name."""

    def declare(form: S) -> S:
        FORMS[name] = form
        return jax.tree_util.register_dataclass(form, list(form.parts), [])

    return declare


def is_stored(x: Any) -> bool:
    """Tells whether x is a quantized array."""
    return isinstance(x, Stored)


def holds_stored(tree: Any) -> bool:
    """Tells whether a tree has a quantized array."""
    return any(map(is_stored, jax.tree.leaves(tree, is_leaf=is_stored)))


def outlined(tree: Any) -> Any:
    """Replaces each quantized array of a tree by its shape and dtype."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if is_stored(x) else x,
        tree,
        is_leaf=is_stored,
    )


def decode_state(state: Any) -> Any:
    """Decodes what `low_bit_state` holds in fewer bits: the state as the rules see it.

    Args:
      state: any tree; one that holds nothing in fewer bits is returned as it is.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> state = fo.low_bit_state(fo.adam(1e-3)).init({"w": jnp.ones((64, 64))})
      >>> fo.decode_state(state).scale_by_adam.mu["w"].dtype
      dtype('float32')
    """
    return jax.tree.map(
        lambda x: bare(x).decoded() if is_stored(x) else x, state, is_leaf=is_stored
    )


def encoded_as(before: Any, after: Any, key: Array | None = None) -> Any:
    """Encodes a tree in the formats of the one before it, array by array.

    Arrays are matched by their paths, because an update may add counts to a state. With a key,
    each array is rounded at random with a key of its own.
    """
    treedef: Any
    old = jax.tree_util.tree_flatten_with_path(before, is_leaf=is_stored)[0]
    formats = {path: (i, type(x)) for i, (path, x) in enumerate(old) if is_stored(x)}
    new, treedef = jax.tree_util.tree_flatten_with_path(after, is_leaf=is_stored)

    def encoded(path: Any, x: Any) -> Any:
        if path not in formats:
            return x
        i, quantized = formats[path]
        return quantized.of(x, None if key is None else jax.random.fold_in(key, i))

    return treedef.unflatten([encoded(path, x) for path, x in new])
