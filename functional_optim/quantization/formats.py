"""The formats of quantized arrays."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, PartitionSpec
from jax.typing import DTypeLike

from ..core.leaf.quantized import FORMATS, QuantizedArray, register_format
from ..core.numerics.rounding import rounded, uniform
from . import dynamic_map
from .blocks import Blocks
from .placing import placed

__all__ = ["FORMATS", "Blockwise", "Rounded"]

Array = jax.Array


@register_format("8bit")
@dataclasses.dataclass(frozen=True, eq=False)
class Blockwise(QuantizedArray):
    """An array in units of the largest magnitude of each block, by the dynamic map.

    Attributes:
      codes: codes of the map, uint8, shaped as the array.
      scales: the largest magnitude of each block, float32. It is negative if the block has
        negative elements, and so uses the map with signs; the map without signs is twice as fine.
    """

    # Arrays, or whatever `jax.tree.map` puts in their place.
    codes: Any
    scales: Any
    parts: ClassVar[Mapping[str, DTypeLike]] = {
        "codes": np.dtype(np.uint8),
        "scales": np.dtype(np.float32),
    }

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
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
    def specs(
        cls, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh | AbstractMesh
    ) -> "Blockwise":
        """Returns specs by which codes are sharded as the array, and scales as its blocks."""
        return cls(spec, Blocks(shape).spec(spec, mesh))


@jax.jit
def _encode(x: Array, key: Array | None) -> Blockwise:
    shape, x = x.shape, x.reshape(_compute_shape(x.shape))
    blocks = Blocks(x.shape)
    largest, signed = blocks.largest(x)
    # A block with an element that is not finite gets such a scale, and is decoded to no finite one.
    unit = jnp.maximum(largest, jnp.finfo(x.dtype).tiny)
    # Units above 1 are divided by 4: the reciprocal of a large one would be subnormal, which XLA
    # takes for 0.
    smaller = jnp.where(unit > 1, np.float32(0.25), np.float32(1))
    y = blocks.divided(x) * blocks.per_element(smaller) * blocks.per_element(1 / (unit * smaller))
    random = uniform(key, x)
    random = None if random is None else blocks.divided(random)
    codes = dynamic_map.encode(y, blocks.per_element(signed), random).astype(jnp.uint8)
    scales = jnp.where(signed, -largest, largest)
    return Blockwise(blocks.undivided(codes), scales).reshaped(shape)


@jax.jit
def _decode(codes: Array, scales: Array) -> Array:
    shape = codes.shape
    quantized = Blockwise(codes, scales).reshaped(_compute_shape(shape))
    blocks = Blocks(quantized.shape)
    scales = blocks.per_element(quantized.scales)
    decoded = dynamic_map.decode(blocks.divided(quantized.codes), scales < 0) * jnp.abs(scales)
    return decoded.reshape(shape)


def _compute_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape in which an array is computed.

    On several devices it is not reshaped, because XLA would lose its sharding.
    """
    return Blocks(shape).units[0] if jax.device_count() == 1 else shape


@register_format("bfloat16")
@dataclasses.dataclass(frozen=True, eq=False)
class Rounded(QuantizedArray):
    """An array rounded to bfloat16.

    Attributes:
      rounded: bfloat16, shaped as the array.
    """

    rounded: Any
    parts: ClassVar[Mapping[str, DTypeLike]] = {"rounded": jnp.dtype(jnp.bfloat16)}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
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
    def specs(
        cls, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh | AbstractMesh
    ) -> "Rounded":
        """Returns the spec of the array itself."""
        del shape, mesh
        return cls(spec)


@jax.jit
def _round(x: Array, key: Array | None) -> Rounded:
    if key is not None:
        x = rounded(x, jnp.bfloat16, uniform(key, x))
    return Rounded(x.astype(jnp.bfloat16))
