"""Leaves whose slots are held in another form, computed a part at a time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from ..trees.sparse_rows import is_sparse
from .elementwise import elementwise
from .quantized import decode_state, encoded_as, is_stored
from .single_cpu import on_one_cpu
from .unfused import unfused

__all__ = ["BlockInputs", "run_blockwise"]

Array = jax.Array
Shape = tuple[int, ...]

PART = 2**18
"""Most elements of a part: a few arrays of this size fit in a processor's caches."""

SMALL = 2**14
"""Leaves with fewer elements than this are computed at once."""


class BlockInputs(NamedTuple):
    """What maths reads that has a number for each element of a leaf."""

    update: Array
    slots: Any
    param: Array | None


Maths = Callable[[BlockInputs, Any], tuple[Array, Any]]


def run_blockwise(maths: Maths, given: BlockInputs, fixed: Any, *, adds: bool) -> tuple[Array, Any]:
    """Runs maths on a leaf whose slots are held in another form.

    Decoded all at once, they would take the memory that the form saves. So where the maths is
    elementwise, a part of the leaf at a time is decoded, computed and encoded, and takes the old
    one's place. That is for one CPU: on several devices a part might lie on one of them, and
    others are slow at many small parts. There all of it is computed at once, as where maths needs
    the whole.

    Args:
      maths: `(elements, fixed) -> (result, slots)`, of slots in float32.
      given: with the slots as they are held.
      fixed: what is the same for all elements.
      adds: whether the result is the new parameter, whose memory it then takes.

    Returns:
      The result, and the slots in the forms in which they came.
    """

    def at_once(given: BlockInputs, fixed: Any) -> tuple[Array, Any]:
        result, slots = maths(decode_state(given), fixed)
        return result, encoded_as(given.slots, slots)

    shape = given.update.shape
    among_fixed = any(jnp.shape(x) == shape for x in jax.tree.leaves(fixed))
    cut = _units(given.slots, shape)
    if cut is None or among_fixed or given.update.size < SMALL or _is_whole(given.update):
        return at_once(given, fixed)
    plain = jax.eval_shape(decode_state, given)
    found = elementwise(lambda both: maths(*both), shape, (plain, fixed))
    if found is None:
        return at_once(given, fixed)
    on_part, out = found
    units, step = cut
    rows = (units[0], math.prod(units[1:]))

    # XLA on CPU makes vectors, and uses several threads, of simple loops only, and not of those
    # that write a part into a whole. So there is a loop for each slot, from its codes to the new
    # slot; one from these to the result; and one for each slot to its new codes.
    def on_rows(part: BlockInputs) -> tuple[Array, Any]:
        flat = part.update.shape
        divided = _in((flat[0], *units[1:]), part)
        old = decode_state(divided.slots)
        _, new = on_part((divided._replace(slots=old), fixed), divided.update.shape)
        old, new = (jax.tree.map(unfused, x) for x in (old, new))
        encoded = encoded_as(divided.slots, new)
        encoded = jax.tree.map(lambda x: unfused(x) if x.size == part.update.size else x, encoded)
        old, new = _in(flat, (old, new))
        result, _ = on_part((part._replace(slots=old), fixed), flat, (None, new))
        return result, _in(flat, encoded)

    def part_by_part(given: BlockInputs, fixed: Any) -> tuple[Array, Any]:
        start = given.param if adds else jnp.zeros(shape, out[0].dtype)
        viewed, start = _in(rows, (given._replace(slots=_as(units, given.slots)), start))
        result, slots = _over_parts(on_rows, viewed, start, step, adds)
        return result.reshape(shape), _as(shape, _in(units, slots))

    return jax.lax.cond(on_one_cpu(), part_by_part, at_once, given, fixed)


def _over_parts(
    on_rows: Callable[[BlockInputs], Any], given: BlockInputs, start: Array, step: int, adds: bool
) -> Any:
    """Runs `on_rows` on some rows at a time, and writes the results over `start` and the slots.

    Rows are cut at multiples of `step`, of which small arrays, as scales, have one element each.
    """
    many = given.update.shape[0]
    few = _size(many, given.update.size, step)
    known = (given.update, (start, given.slots), None if adds else given.param)
    bits = _bits(known)

    def is_large(x: Any) -> bool:
        return bool(x.size == given.update.size)

    def write(start: Any, size: int, made: Any) -> Any:
        # The arrays that are written are those that are read: the loop needs no others. But of
        # small ones, which are read until the end of a part, XLA would make copies.
        read = jax.tree.map(lambda old, new: new if is_large(old) else old, bits[1], made)

        def cut(x: Array) -> Array:
            if is_large(x):
                return jax.lax.dynamic_slice_in_dim(x, start, size)
            return jax.lax.dynamic_slice_in_dim(x, start // step, math.ceil(size / step))

        def put(x: Array, new: Array) -> Array:
            at = start if is_large(x) else start // step
            return jax.lax.dynamic_update_slice_in_dim(x, new, at, 0)

        update, (result, slots), param = _floats(jax.tree.map(cut, (bits[0], read, bits[2])), known)
        new = on_rows(BlockInputs(update, slots, result if adds else param))
        return jax.tree.map(put, made, _bits(new))

    made = jax.tree.map(lambda x: x if is_large(x) else jnp.zeros_like(x), bits[1])
    made = jax.lax.fori_loop(0, many // few, lambda i, made: write(i * few, few, made), made)
    rest = many % few
    return _floats(write(many - rest, rest, made) if rest else made, known[1])


def _size(many: int, elements: int, step: int) -> int:
    """Chooses the units of a part: a divisor of `many` if possible, or a rest is a second program.

    At least two parts, for XLA makes no loop of one. The rest is small, for the memory that it
    needs is not that of the loop.
    """
    most = max(step, min(PART * many // elements, many // 2) // step * step)
    least = max(1, most // 16)
    even = max(step, many // math.ceil(many / most) // step * step)
    return next((few for few in range(most, least - 1, -step) if many % few == 0), even)


def _bits(tree: Any) -> Any:
    """Views the narrow arrays of a tree as integers.

    On CPU, XLA writes into an array of bfloat16 by way of one of float32, of all of it.
    """
    return jax.tree.map(
        lambda x: jax.lax.bitcast_convert_type(x, jnp.uint16) if _is_narrow(x) else x, tree
    )


def _floats(tree: Any, like: Any) -> Any:
    """Undoes `_bits`, with the dtypes of another tree."""
    return jax.tree.map(
        lambda x, y: x if x.dtype == y.dtype else jax.lax.bitcast_convert_type(x, y.dtype),
        tree,
        like,
    )


def _is_narrow(x: Any) -> bool:
    """Tells whether an array is of bfloat16 or float16."""
    return x.dtype.itemsize == 2 and jnp.issubdtype(x.dtype, jnp.floating)


def _is_whole(update: Any) -> bool:
    """Tells whether an update is of some rows, or its sharding a part of its type."""
    if is_sparse(update):
        return True
    return AxisType.Explicit in jax.typeof(update).sharding.mesh.axis_types


def _units(slots: Any, shape: Shape) -> tuple[Shape, int] | None:
    """Returns `Stored.units` of the slots of a leaf; None where parts would not help.

    Of slots in float32, or in a form that is a mere cast, XLA would copy the whole for each part:
    they are read for more than one of the arrays that are written.
    """
    held = jax.tree.leaves(slots, is_leaf=is_stored)
    found = {x.units(shape) if is_stored(x) else None for x in held}
    return found.pop() if len(found) == 1 else None


def _in(shape: Shape, tree: Any) -> Any:
    """Reshapes the arrays of a tree that have as many elements as a shape."""
    size = math.prod(shape)
    return jax.tree.map(lambda x: x.reshape(shape) if x.size == size else x, tree)


def _as(shape: Shape, tree: Any) -> Any:
    """Reshapes the arrays of a tree to another shape of as many elements."""
    return jax.tree.map(
        lambda x: x.reshaped(shape) if is_stored(x) else x.reshape(shape), tree, is_leaf=is_stored
    )
