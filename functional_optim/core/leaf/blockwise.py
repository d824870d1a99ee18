"""Leaves with quantized slots, computed one block at a time."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from ..protocol import PyTree
from ..trees.placement import sharded_as
from ..trees.structure import is_sparse
from ..trees.varying import cond, varying_as
from .elementwise import elementwise
from .quantized import QuantizedArray, decode_state, encode_like, is_quantized
from .single_cpu import is_single_cpu
from .unfused import unfused

__all__ = ["BlockInputs", "run_blockwise"]

Array = jax.Array
Shape = tuple[int, ...]
Fixed = TypeVar("Fixed")

MAX_BLOCK_SIZE = 2**18
"""The largest number of elements in a block: a few such arrays fit in a processor's caches."""

MIN_LEAF_SIZE = 2**14
"""Leaves with fewer elements than this are computed in one piece."""


class BlockInputs(NamedTuple):
    """Inputs of the maths that have one number for each element of a leaf."""

    update: Array
    slots: PyTree
    param: Array | None


Result = tuple[Array, PyTree]
"""The update or the new parameter, and the slots."""


def run_blockwise(
    maths: Callable[[BlockInputs, Fixed], Result],
    inputs: BlockInputs,
    fixed: Fixed,
    *,
    adds: bool,
) -> Result:
    """Runs maths on a leaf with quantized slots.

    Decoding all slots together would need the memory that quantization saves. So where the maths
    is elementwise, a loop decodes, computes and encodes one block of the leaf at a time, in place.
    That is done on a single CPU only: on several devices a block might lie on one of them, and
    accelerators are slow at many small blocks. There the whole leaf is computed in one piece, and
    so is a leaf whose maths is not elementwise.

    Args:
      maths: `(inputs, fixed) -> (result, slots)`, of slots in float32.
      inputs: the leaf, with quantized slots.
      fixed: values that are the same for all elements.
      adds: whether the result is the new parameter, which then replaces the old one in place.

    Returns:
      The result, and the slots in the formats of `inputs`.
    """

    def in_one_piece(inputs: BlockInputs, fixed: Fixed) -> Result:
        result, slots = maths(decode_state(inputs), fixed)
        return result, encode_like(inputs.slots, slots)

    shape = inputs.update.shape
    # A fixed value of the leaf's shape would have to be divided into blocks too.
    fixed_has_shape = any(jnp.shape(x) == shape for x in jax.tree.leaves(fixed))
    division = _division(inputs.slots, shape)
    is_small = inputs.update.size < MIN_LEAF_SIZE
    if division is None or fixed_has_shape or is_small or _is_indivisible(inputs.update):
        return in_one_piece(inputs, fixed)
    decoded = jax.eval_shape(decode_state, inputs)
    part_function = elementwise(lambda arguments: maths(*arguments), shape, (decoded, fixed))
    if part_function is None:
        return in_one_piece(inputs, fixed)
    on_part, out = part_function
    units, granularity = division
    # Blocks are cut from a matrix, whose rows are the units.
    rows = (units[0], math.prod(units[1:]))

    # On CPU, XLA vectorizes and parallelizes simple loops only, and none that write a part into a
    # whole. So each slot is decoded and updated in one loop, the result is computed from the new
    # slots in another, and each slot is encoded in a third.
    def on_rows(block: BlockInputs) -> Result:
        flat = block.update.shape
        in_units = _reshape((flat[0], *units[1:]), block)
        old = decode_state(in_units.slots)
        _, new = on_part((in_units._replace(slots=old), fixed), in_units.update.shape)
        old, new = (jax.tree.map(unfused, x) for x in (old, new))
        encoded = encode_like(in_units.slots, new)
        encoded = jax.tree.map(lambda x: unfused(x) if x.size == block.update.size else x, encoded)
        old, new = _reshape(flat, (old, new))
        result, _ = on_part((block._replace(slots=old), fixed), flat, (None, new))
        return result, _reshape(flat, encoded)

    def in_blocks(inputs: BlockInputs, fixed: Fixed) -> Result:
        start = inputs.param if adds else jnp.zeros(shape, out[0].dtype)
        by_units = inputs._replace(slots=_reshape_slots(units, inputs.slots))
        by_rows, start = _reshape(rows, (by_units, start))
        result, slots = _loop_over_blocks(on_rows, by_rows, start, granularity, adds)
        return result.reshape(shape), _reshape_slots(shape, _reshape(units, slots))

    return cond(
        is_single_cpu(), lambda: in_blocks(inputs, fixed), lambda: in_one_piece(inputs, fixed)
    )


def _loop_over_blocks(
    on_rows: Callable[[BlockInputs], Result],
    inputs: BlockInputs,
    start: Array,
    granularity: int,
    adds: bool,
) -> Result:
    """Runs `on_rows` on one block of rows at a time; writes over `start` and the slots.

    Blocks begin at multiples of `granularity` rows. A small array of a slot, such as its scales,
    has one element for each `granularity` rows.
    """
    n_rows = inputs.update.shape[0]
    block_rows = _rows_per_block(n_rows, inputs.update.size, granularity)
    # (read, read and written, read): the update, the result with the slots, the parameter.
    arrays = (inputs.update, (start, inputs.slots), None if adds else inputs.param)
    bits = _as_integers(arrays)

    def is_large(x: Array) -> bool:
        return bool(x.size == inputs.update.size)

    def write_block(first: Array | int, size: int, written: PyTree) -> PyTree:
        # Large arrays are read where the loop writes them, so that it needs no copies of them.
        # Small arrays are read from the originals: XLA would copy one that a block reads until its
        # end, and then writes.
        read = jax.tree.map(lambda old, new: new if is_large(old) else old, bits[1], written)

        def cut(x: Array) -> Array:
            if is_large(x):
                return jax.lax.dynamic_slice_in_dim(x, first, size)
            count = math.ceil(size / granularity)
            return jax.lax.dynamic_slice_in_dim(x, first // granularity, count)

        def put(x: Array, new: Array) -> Array:
            position = first if is_large(x) else first // granularity
            return jax.lax.dynamic_update_slice_in_dim(x, new, position, 0)

        block = _as_floats(jax.tree.map(cut, (bits[0], read, bits[2])), arrays)
        update, (result, slots), param = block
        new = on_rows(BlockInputs(update, slots, result if adds else param))
        return jax.tree.map(put, written, _as_integers(new))

    # Since JAX 0.12, `zeros_like` leaves out the sharding where no mesh is set.
    written = jax.tree.map(
        lambda x: x if is_large(x) else sharded_as(jnp.zeros_like(x), x), bits[1]
    )
    written = varying_as(written, bits)
    written = jax.lax.fori_loop(
        0, n_rows // block_rows, lambda i, x: write_block(i * block_rows, block_rows, x), written
    )
    remainder = n_rows % block_rows
    if remainder:
        written = write_block(n_rows - remainder, remainder, written)
    return _as_floats(written, arrays[1])


def _rows_per_block(n_rows: int, elements: int, granularity: int) -> int:
    """Chooses a divisor of `n_rows` if possible, because remaining rows need a second program.

    There are at least two blocks, because XLA unrolls a loop of one. If no divisor is suitable, the
    blocks are nearly equal, so that few rows remain: these need memory in addition to the loop's.
    """

    def rounded_down(rows: int) -> int:
        return max(granularity, rows // granularity * granularity)

    largest = rounded_down(min(MAX_BLOCK_SIZE * n_rows // elements, n_rows // 2))
    smallest = max(1, largest // 16)  # smaller blocks would be too many
    for rows in range(largest, smallest - 1, -granularity):
        if n_rows % rows == 0:
            return rows
    return rounded_down(n_rows // math.ceil(n_rows / largest))


def _as_integers(tree: PyTree) -> PyTree:
    """Views the 16-bit floating-point arrays of a tree as integers.

    To write into an array of bfloat16, XLA on CPU converts the whole array to float32 and back.
    """
    return jax.tree.map(
        lambda x: jax.lax.bitcast_convert_type(x, jnp.uint16) if _is_half(x) else x, tree
    )


def _as_floats(tree: PyTree, like: PyTree) -> PyTree:
    """Undoes `_as_integers`, with the dtypes of another tree."""
    return jax.tree.map(
        lambda x, y: x if x.dtype == y.dtype else jax.lax.bitcast_convert_type(x, y.dtype),
        tree,
        like,
    )


def _is_half(x: Array) -> bool:
    """Tells whether an array is of bfloat16 or float16."""
    return bool(x.dtype.itemsize == 2 and jnp.issubdtype(x.dtype, jnp.floating))


def _is_indivisible(update: Array) -> bool:
    """Tells whether an update is sparse, or its type has a sharding, which blocks would lack."""
    if is_sparse(update):
        return True
    return AxisType.Explicit in jax.typeof(update).sharding.mesh.axis_types


def _division(slots: PyTree, shape: Shape) -> tuple[Shape, int] | None:
    """Returns `QuantizedArray.units` of the slots of a leaf; None if blocks would not help.

    They do not help if a slot is float32, or only cast to a narrower dtype. Several of the arrays
    that are written are computed from such a slot, and XLA would copy all of it for each block.
    """
    leaves = jax.tree.leaves(slots, is_leaf=is_quantized)
    divisions = {x.units(shape) if isinstance(x, QuantizedArray) else None for x in leaves}
    return divisions.pop() if len(divisions) == 1 else None


def _reshape(shape: Shape, tree: PyTree) -> PyTree:
    """Reshapes the arrays of a tree that have as many elements as a shape."""
    size = math.prod(shape)
    return jax.tree.map(lambda x: x.reshape(shape) if x.size == size else x, tree)


def _reshape_slots(shape: Shape, slots: PyTree) -> PyTree:
    """Reshapes slots, quantized or not, to another shape with as many elements."""
    return jax.tree.map(
        lambda x: x.reshaped(shape) if is_quantized(x) else x.reshape(shape),
        slots,
        is_leaf=is_quantized,
    )
