"""The forms in which arrays of a state are held in fewer bits."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..core.leaf.quantized import FORMS, Stored, stored_as
from ..core.numerics.rounding import rounded, uniform
from . import dynamic_map
from .blocks import Blocks
from .placing import placed

__all__ = ["FORMS", "Blockwise", "Rounded"]

Array = jax.Array


@stored_as("8bit")
@dataclasses.dataclass(frozen=True, eq=False)
class Blockwise(Stored):
    """An array in units of the largest magnitude of each block, by the dynamic map.

    Attributes:
      codes: of the map, uint8, shaped as the array.
      scales: the largest magnitude of each block, float32; negative where the block has negative
        elements, and so the map that has them. The other one is twice as fine.
    """

    codes: Any
    scales: Any
    parts: ClassVar[Mapping[str, Any]] = {
        "codes": np.dtype(np.uint8),
        "scales": np.dtype(np.float32),
    }

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self.codes.shape)

    @classmethod
    def of(cls, x: Array, key: Array | None) -> "Blockwise":
        """Encodes an array."""
        return placed(_encode, cls.specs, x, key)

    def decoded(self) -> Array:
        """Decodes the array."""
        return placed(_decode, lambda shape, spec, mesh: spec, self.codes, self.scales)

    @classmethod
    def units(cls, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """Returns a shape of whole blocks."""
        return Blocks(shape).units

    def reshaped(self, shape: tuple[int, ...]) -> "Blockwise":
        """Reshapes the blocks."""
        return Blockwise(self.codes.reshape(shape), self.scales.reshape(Blocks(shape).shape))

    @classmethod
    def specs(cls, shape: tuple[int, ...], spec: Any, mesh: Any) -> "Blockwise":
        """Codes are sharded as the array, scales as its blocks."""
        return cls(spec, Blocks(shape).spec(spec, mesh))


@jax.jit
def _encode(x: Array, key: Array | None) -> Blockwise:
    whole, x = x.shape, x.reshape(_shape(x.shape))
    blocks = Blocks(x.shape)
    largest, signed = blocks.largest(x)
    # A block that is not finite gets a scale that is not, and so none of it comes back finite.
    unit = jnp.maximum(largest, jnp.finfo(x.dtype).tiny)
    # The reciprocal must be a normal number.
    smaller = jnp.where(unit > 1, np.float32(0.25), np.float32(1))
    y = blocks.divided(x) * blocks.beside(smaller) * blocks.beside(1 / (unit * smaller))
    random = uniform(key, x)
    random = None if random is None else blocks.divided(random)
    codes = dynamic_map.encode(y, blocks.beside(signed), random).astype(jnp.uint8)
    scales = jnp.where(signed, -largest, largest)
    return Blockwise(blocks.joined(codes), scales).reshaped(whole)


@jax.jit
def _decode(codes: Array, scales: Array) -> Array:
    whole = codes.shape
    held = Blockwise(codes, scales).reshaped(_shape(whole))
    blocks = Blocks(held.shape)
    beside = blocks.beside(held.scales)
    found = dynamic_map.decode(blocks.divided(held.codes), beside < 0) * jnp.abs(beside)
    return found.reshape(whole)


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape in which an array is computed.

    On several devices it is its own: in another one, XLA does not see how it is sharded.
    """
    return Blocks(shape).units[0] if jax.device_count() == 1 else shape


@stored_as("bfloat16")
@dataclasses.dataclass(frozen=True, eq=False)
class Rounded(Stored):
    """An array rounded to bfloat16.

    Attributes:
      rounded: bfloat16, shaped as the array.
    """

    rounded: Any
    parts: ClassVar[Mapping[str, Any]] = {"rounded": jnp.dtype(jnp.bfloat16)}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self.rounded.shape)

    @classmethod
    def of(cls, x: Array, key: Array | None) -> "Rounded":
        """Rounds an array."""
        return placed(_round, cls.specs, x, key)

    def decoded(self) -> Array:
        """Decodes the array."""
        return self.rounded.astype(jnp.float32)

    @classmethod
    def units(cls, shape: tuple[int, ...]) -> None:
        """Returns None: XLA fuses a cast into the computation before or after it."""

    def reshaped(self, shape: tuple[int, ...]) -> "Rounded":
        """Reshapes the numbers."""
        return Rounded(self.rounded.reshape(shape))

    @classmethod
    def specs(cls, shape: tuple[int, ...], spec: Any, mesh: Any) -> "Rounded":
        """Returns the spec of the array itself."""
        del shape, mesh
        return cls(spec)


@jax.jit
def _round(x: Array, key: Array | None) -> Rounded:
    if key is not None:
        x = rounded(x, jnp.bfloat16, uniform(key, x))
    return Rounded(x.astype(jnp.bfloat16))
