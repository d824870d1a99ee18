"""Leaves whose slots are held in another form, computed a part at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from .elementwise import elementwise
from .one_cpu import on_one_cpu
from .rows import is_sparse
from .stored import decode_state, encoded_as, is_stored

__all__ = ["Elements", "in_parts"]

Array = jax.Array
Shape = tuple[int, ...]

PART = 2**17
"""Elements of a part, at most: some arrays of as many are in a processor's caches."""

SMALL = 2**14
"""Elements of a leaf that is not worth a loop."""


class Elements(NamedTuple):
    """What maths reads that has a number for each element of a leaf."""

    update: Array
    slots: Any
    param: Array | None


Maths = Callable[[Elements, Any], tuple[Array, Any]]


def in_parts(maths: Maths, given: Elements, fixed: Any, *, adds: bool) -> tuple[Array, Any]:
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

    def at_once(given: Elements, fixed: Any) -> tuple[Array, Any]:
        result, slots = maths(decode_state(given), fixed)
        return result, encoded_as(given.slots, slots)

    shape = given.update.shape
    among_fixed = any(jnp.shape(x) == shape for x in jax.tree.leaves(fixed))
    units = _units(given.slots, shape)
    if units is None or among_fixed or given.update.size < SMALL or _is_whole(given.update):
        return at_once(given, fixed)
    plain = jax.eval_shape(decode_state, given)
    found = elementwise(lambda both: maths(*both), shape, (plain, fixed))
    if found is None:
        return at_once(given, fixed)
    on_part, out = found

    def part_by_part(given: Elements, fixed: Any) -> tuple[Array, Any]:
        def on_units(part: Elements) -> tuple[Array, Any]:
            result, slots = on_part((decode_state(part), fixed), part.update.shape)
            return result, encoded_as(part.slots, slots)

        start = given.param if adds else jnp.zeros(shape, out[0].dtype)
        viewed = _as(units, given)
        made = (_as(units, start), viewed.slots)
        return _as(shape, _over_parts(on_units, viewed, made, adds))

    return jax.lax.cond(on_one_cpu(), part_by_part, at_once, given, fixed)


def _over_parts(on_units: Callable[[Elements], Any], given: Elements, made: Any, adds: bool) -> Any:
    """What `on_units` makes of all units, some at a time, written over `made`."""
    many = given.update.shape[0]
    few = _size(many, given.update.size)
    known = (given.update, made, None if adds else given.param)

    def write(start: Any, size: int, made: Any) -> Any:
        # The arrays that are written are those that are read: the loop needs no others.
        current = (bits[0], made, bits[2])
        part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), current)
        update, (result, slots), param = _floats(part, known)
        new = on_units(Elements(update, slots, result if adds else param))
        return jax.tree.map(
            lambda all, new: jax.lax.dynamic_update_slice_in_dim(all, new, start, 0),
            made,
            _bits(new),
        )

    bits = _bits(known)
    made = jax.lax.fori_loop(0, many // few, lambda i, made: write(i * few, few, made), bits[1])
    rest = many % few
    return _floats(write(many - rest, rest, made) if rest else made, known[1])


def _size(many: int, elements: int) -> int:
    """How many units a part has: if possible a divisor of `many`, or a rest is a second program.

    At least two parts, for XLA makes no loop of one.
    """
    most = max(1, min(PART * many // elements, many // 2))
    least = max(1, most // 16)
    return next((few for few in range(most, least - 1, -1) if many % few == 0), most)


def _bits(tree: Any) -> Any:
    """The arrays of a tree, narrow ones as integers.

    On CPU, XLA writes into an array of bfloat16 by way of one of float32, of all of it.
    """
    return jax.tree.map(
        lambda x: jax.lax.bitcast_convert_type(x, jnp.uint16) if _is_narrow(x) else x, tree
    )


def _floats(tree: Any, like: Any) -> Any:
    """What `_bits` was given, in the dtypes of another tree."""
    return jax.tree.map(
        lambda x, y: x if x.dtype == y.dtype else jax.lax.bitcast_convert_type(x, y.dtype),
        tree,
        like,
    )


def _is_narrow(x: Any) -> bool:
    """Whether an array is of bfloat16 or float16."""
    return x.dtype.itemsize == 2 and jnp.issubdtype(x.dtype, jnp.floating)


def _is_whole(update: Any) -> bool:
    """Whether an update is of some rows, or its sharding a part of its type."""
    if is_sparse(update):
        return True
    return AxisType.Explicit in jax.typeof(update).sharding.mesh.axis_types


def _units(slots: Any, shape: Shape) -> Shape | None:
    """The shape in which a leaf can be cut into parts; None where that would not help.

    Of slots in float32, or in a form that is a mere cast, XLA would copy the whole for each part:
    they are read for more than one of the arrays that are written.
    """
    held = jax.tree.leaves(slots, is_leaf=is_stored)
    found = {x.units(shape) if is_stored(x) else None for x in held}
    return found.pop() if len(found) == 1 else None


def _as(shape: Shape, tree: Any) -> Any:
    """The arrays of a tree in another shape of as many elements."""
    return jax.tree.map(
        lambda x: x.reshaped(shape) if is_stored(x) else x.reshape(shape), tree, is_leaf=is_stored
    )
