"""Quantized arrays of a state: float32 arrays that are stored in fewer bits."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, PartitionSpec
from jax.typing import DTypeLike

from ..protocol import PyTree
from ..state import KeyPath
from ..trees.structure import without_containers

__all__ = [
    "FORMATS",
    "QuantizedArray",
    "decode_state",
    "encode_like",
    "is_quantized",
    "register_format",
    "with_decoded_shapes",
]

Array = jax.Array


class QuantizedArray(abc.ABC):
    """A float32 array in fewer bits: a pytree node whose children are its parts, such as codes.

    In a state it replaces the array: the path of a part is the path of the array, followed by the
    name of the part. `shape` and `dtype` describe the decoded array. Arithmetic is not defined:
    decode the array first.
    """

    parts: ClassVar[Mapping[str, DTypeLike]]
    """Name of each part -> its dtype; saved arrays are recognized by both."""

    dtype = np.dtype(np.float32)

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""

    @classmethod
    @abc.abstractmethod
    def of(cls, x: Array, key: Array | None) -> "QuantizedArray":
        """Encodes an array; rounds to nearest, or with a key at random."""

    @abc.abstractmethod
    def decoded(self) -> Array:
        """Decodes the array."""

    @classmethod
    @abc.abstractmethod
    def units(cls, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int] | None:
        """Returns a shape with as many elements, and a number: where the array may be divided.

        An array of that shape may be cut along axis 0 at each multiple of the number, and its
        pieces decoded and encoded separately. None if decoding and encoding are elementwise casts,
        which XLA fuses with the maths.
        """

    @abc.abstractmethod
    def reshaped(self, shape: tuple[int, ...]) -> "QuantizedArray":
        """Reshapes the array from its shape to the shape of `units`, or back."""

    @classmethod
    @abc.abstractmethod
    def specs(
        cls, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh | AbstractMesh
    ) -> "QuantizedArray":
        """Returns the partition spec of each part of an array of this shape that has `spec`."""


FORMATS: dict[str, type[QuantizedArray]] = {}
"""All formats by their names."""

F = TypeVar("F", bound=type[QuantizedArray])


def register_format(name: str) -> Callable[[F], F]:
    """Registers a frozen dataclass, whose fields are its parts, as a format of this name."""

    def register(kind: F) -> F:
        # Users choose a format by this name, and saved arrays are recognized by the parts of each.
        FORMATS[name] = kind
        # Its parts are children, and so arrays of the state that programs see.
        return jax.tree_util.register_dataclass(kind, list(kind.parts), [])

    return register


def is_quantized(x: object) -> bool:
    """Tells whether x is a quantized array."""
    return isinstance(x, QuantizedArray)


def with_decoded_shapes(tree: PyTree) -> PyTree:
    """Replaces each quantized array of a tree by the shape and dtype of the decoded array."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if is_quantized(x) else x,
        tree,
        is_leaf=is_quantized,
    )


def decode_state(state: PyTree) -> PyTree:
    """Returns a state with its quantized arrays decoded, which is what the rules read.

    Args:
      state: the state of `low_bit_state`, or any tree; one without quantized arrays is returned
        unchanged.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> state = fo.low_bit_state(fo.adam(1e-3)).init({"w": jnp.ones((64, 64))})
      >>> fo.decode_state(state).scale_by_adam.mu["w"].dtype
      dtype('float32')
    """
    return jax.tree.map(
        # The parts may be in containers, which libraries put around each array of a state.
        lambda x: without_containers(x).decoded() if is_quantized(x) else x,
        state,
        is_leaf=is_quantized,
    )


def encode_like(before: PyTree, after: PyTree, key: Array | None = None) -> PyTree:
    """Encodes each array of a tree in the format of the array at the same path of an older tree.

    Arrays are matched by path and not by position, because an update may add counts to a state.
    With a key, each array is rounded at random with a key derived from it.
    """
    old = jax.tree_util.tree_flatten_with_path(before, is_leaf=is_quantized)[0]
    formats = {path: (i, type(x)) for i, (path, x) in enumerate(old) if is_quantized(x)}

    def encode(path: KeyPath, x: Any) -> Any:
        if path not in formats:
            return x
        # Each array has its own key, so that equal arrays are not rounded in the same way.
        i, kind = formats[path]
        return kind.of(x, None if key is None else jax.random.fold_in(key, i))

    return jax.tree_util.tree_map_with_path(encode, after, is_leaf=is_quantized)
