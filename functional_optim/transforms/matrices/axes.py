"""Which axes of a parameter are the rows of its matrices, and which the columns."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ...core.trees.placement import auto_sharded

__all__ = ["Blocks", "MatrixAxes", "MuonDimensionNumbers", "all_of", "as_matrix_axes", "one_or_all"]

Array = jax.Array
Sizes = int | tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class MatrixAxes:
    """Says which axes of a parameter are the inputs of a linear map, and which its outputs.

    Several axes are joined, in the order in which they are given. All other axes are batch axes:
    there is a matrix for each index along them. A fused weight is several matrices side by side:
    they are split, and each has its own update.

    Args:
      inputs: axis or axes over which a layer sums.
      outputs: axis or axes of its outputs.
      split_inputs: the number of equal parts of the joined inputs, or the sizes of all parts.
      split_outputs: the same for the joined outputs, such as 3 for query, key and value in one
        weight, or the number of heads; `(4096, 1024, 1024)` for fewer keys and values than queries.

    Raises:
      TypeError: an axis is not an integer, or a split not an integer or a tuple of integers.

    Example:
      >>> conv = MatrixAxes(inputs=(0, 1, 2), outputs=3)
      >>> conv_by_position = MatrixAxes(inputs=2, outputs=3)
      >>> stacked_layers = MatrixAxes(inputs=1, outputs=2)
      >>> query_key_value = MatrixAxes(inputs=0, outputs=1, split_outputs=3)
    """

    inputs: int | Sequence[int] = 0
    outputs: int | Sequence[int] = 1
    split_inputs: Sizes = 1
    split_outputs: Sizes = 1

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs"):
            object.__setattr__(self, name, _axes(name, getattr(self, name)))
        for name in ("split_inputs", "split_outputs"):
            object.__setattr__(self, name, _sizes(name, getattr(self, name)))

    def axes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Returns the batch axes, the axes of the rows, and the axes of the columns.

        Raises:
          ValueError: an axis does not exist, or is given twice.
        """
        joined = [
            (axis,) if isinstance(axis, int) else tuple(axis)
            for axis in (self.inputs, self.outputs)
        ]
        flat = [i for axes in joined for i in axes]
        exist = all(-len(shape) <= i < len(shape) for i in flat)
        rows, columns = (tuple(i % max(len(shape), 1) for i in axes) for axes in joined)
        # An axis may be given as -1 and again as its positive index.
        if not exist or len({*rows, *columns}) < len(flat):
            raise ValueError(
                f"{self} does not fit a parameter of shape {shape}. Give each axis once, between "
                f"{-len(shape)} and {len(shape) - 1}."
            )
        return tuple(i for i in range(len(shape)) if i not in rows + columns), rows, columns

    def parts(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the sizes of the parts of the rows, and of the columns.

        Raises:
          ValueError: the parts do not fit the shape.
        """
        _, rows, columns = self.axes(shape)
        sizes = [math.prod(shape[i] for i in axes) for axes in (rows, columns)]
        splits = (("split_inputs", self.split_inputs), ("split_outputs", self.split_outputs))
        return tuple(  # type: ignore[return-value]
            _parts(name, split, size, shape)
            for (name, split), size in zip(splits, sizes, strict=True)
        )


def MuonDimensionNumbers(
    reduction_axis: int | Sequence[int] = 0, output_axis: int | Sequence[int] = 1
) -> MatrixAxes:
    """Makes `MatrixAxes` under optax's names of its arguments.

    Args:
      reduction_axis: axis or axes over which a layer sums.
      output_axis: axis or axes of its outputs.

    Example:
      >>> MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
      MatrixAxes(inputs=(0, 1, 2), outputs=3, split_inputs=1, split_outputs=1)
    """
    return MatrixAxes(reduction_axis, output_axis)


def as_matrix_axes(x: object) -> MatrixAxes | None:
    """Returns `MatrixAxes`, also where x is optax's `MuonDimensionNumbers`; else None."""
    if isinstance(x, MatrixAxes):
        return x
    if hasattr(x, "reduction_axis") and hasattr(x, "output_axis"):
        return MatrixAxes(x.reduction_axis, x.output_axis)
    return None


def one_or_all(arrays: Sequence[Array]) -> Any:
    """Returns the array of a parameter whose matrices have one shape, or the tuple of several."""
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def all_of(matrices: Any) -> Sequence[Any]:
    """Inverts `one_or_all`."""
    return matrices if isinstance(matrices, tuple) else (matrices,)


def _transposed(x: Array, order: tuple[int, ...]) -> Array:
    """Transposes an array, unless its axes have the order already."""
    return x if order == tuple(range(x.ndim)) else jnp.transpose(x, order)


def _axes(name: str, value: Any) -> int | tuple[int, ...]:
    if _is_int(value):
        return int(value)
    axes = tuple(value) if isinstance(value, Iterable) else (None,)
    if not all(map(_is_int, axes)):
        raise TypeError(
            f"MatrixAxes: {name} must be an axis or a tuple of axes, got {value!r}. Pass integers."
        )
    return axes


def _sizes(name: str, value: Any) -> Sizes:
    sizes = tuple(value) if isinstance(value, Iterable) else (value,)
    if not sizes or not all(_is_int(i) and i > 0 for i in sizes):
        raise TypeError(
            f"MatrixAxes: {name} must be a positive integer or a tuple of such sizes, got "
            f"{value!r}. Pass the number of equal parts, or the size of each part."
        )
    return int(value) if _is_int(value) else sizes


def _is_int(x: object) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def _parts(name: str, split: Sizes, size: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(split, int):
        parts, fits = (size // split,) * split, size % split == 0
    else:
        parts, fits = split, sum(split) == size
    if not fits:
        raise ValueError(
            f"MatrixAxes: {name}={split} does not fit a parameter of shape {shape}, whose joined "
            f"axis has {size} elements. Pass a divisor of {size}, or sizes that add up to it."
        )
    return parts


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The matrices of a parameter of one shape, as few arrays `(matrices, rows, columns)`.

    Equal parts that lie side by side are one array, so that a weight split into equal parts is
    one array and not several.

    Attributes:
      axes: the axes of the parameter.
      shape: the shape of the parameter.
      block_size: the largest side of a matrix; longer ones are cut into blocks. None for no limit.
    """

    axes: MatrixAxes
    shape: tuple[int, ...]
    block_size: int | None = None

    @property
    def runs(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Sizes and numbers of equal parts in a row, of the rows and of the columns."""
        rows, columns = (self._cut(parts) for parts in self.axes.parts(self.shape))
        return rows, columns

    def _cut(self, parts: tuple[int, ...]) -> list[tuple[int, int]]:
        limit = self.block_size or max(parts, default=1) or 1
        sizes = [min(limit, n - i) for n in parts for i in range(0, max(n, 1), limit)]
        # Only the last block of a part can be shorter, so that equal blocks are side by side.
        return [(size, len(list(run))) for size, run in itertools.groupby(sizes)]

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Shapes `(matrices, rows, columns)` of the arrays."""
        batch = math.prod(self.shape[i] for i in self.axes.axes(self.shape)[0])
        rows, columns = self.runs
        return [(batch * n * k, r, c) for r, n in rows for c, k in columns]

    def split(self, x: Array) -> list[Array]:
        """Returns the matrices of a parameter, or of an array of its shape."""
        batch, rows, columns = self.axes.axes(self.shape)
        row_runs, column_runs = self.runs
        sizes = [math.prod(self.shape[i] for i in axes) for axes in (batch, rows, columns)]

        def split(x: Array) -> list[Array]:
            whole = _transposed(x, (*batch, *rows, *columns)).reshape(sizes)
            if [n for _, n in row_runs] == [n for _, n in column_runs] == [1]:
                return [whole]  # nothing is cut
            arrays, top = [], 0
            for r, n in row_runs:
                left = 0
                for c, k in column_runs:
                    part = whole[:, top : top + r * n, left : left + c * k]
                    if n * k > 1:
                        # The parts of a grid become matrices along the first axis.
                        part = part.reshape(sizes[0], n, r, k, c).transpose(0, 1, 3, 2, 4)
                    arrays.append(part.reshape(sizes[0] * n * k, r, c))
                    left += c * k
                top += r * n
            return arrays

        return list(auto_sharded(split, lambda shape, spec, mesh: self._specs(spec), x))

    def join(self, arrays: Sequence[Array], like: Array) -> Array:
        """Inverts `split`, and shards the result as another array of the parameter's shape."""
        batch, rows, columns = self.axes.axes(self.shape)
        row_runs, column_runs = self.runs
        order = (*batch, *rows, *columns)
        batch_size = math.prod(self.shape[i] for i in batch)

        def join(*arrays: Array) -> Array:
            remaining, strips = iter(arrays), []
            for r, n in row_runs:
                strip = []
                for c, k in column_runs:
                    part = next(remaining)
                    if n * k > 1:
                        part = part.reshape(batch_size, n, k, r, c).transpose(0, 1, 3, 2, 4)
                        part = part.reshape(batch_size, n * r, k * c)
                    strip.append(part)
                strips.append(strip[0] if len(strip) == 1 else jnp.concatenate(strip, axis=2))
            whole = strips[0] if len(strips) == 1 else jnp.concatenate(strips, axis=1)
            x = whole.reshape([self.shape[i] for i in order])
            return _transposed(x, tuple([order.index(i) for i in range(len(order))]))

        spec = jax.typeof(like).sharding.spec
        return auto_sharded(join, lambda *_: spec, *arrays)

    def _specs(self, spec: PartitionSpec) -> list[PartitionSpec]:
        """Returns the specs of the arrays, where an axis that is joined or split is not sharded."""
        # JAX could not say how a sharded axis is divided once it is joined or cut.
        axes = [spec[axes[0]] if len(axes) == 1 else None for axes in self.axes.axes(self.shape)]
        specs = []
        for rows in self.runs[0]:
            for columns in self.runs[1]:
                is_whole = [
                    run[0] * run[1] == sum(parts) and run[1] == 1
                    for run, parts in zip((rows, columns), self.axes.parts(self.shape), strict=True)
                ]
                sides = [x if w else None for x, w in zip(axes[1:], is_whole, strict=True)]
                specs.append(PartitionSpec(axes[0] if all(is_whole) else None, *sides))
        return specs
