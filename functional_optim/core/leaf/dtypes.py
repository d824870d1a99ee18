"""One leaf: the dtypes of its slots, and complex arrays as pairs of real ones."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from ..numerics.precision import compute_dtype
from ..protocol import NoSlot
from ..trees.placement import shard_like
from ..trees.varying import varying_as

__all__ = [
    "as_parameter",
    "check_parameter",
    "init_slots",
    "slot_dtype",
    "split_complex",
]

Array = jax.Array
Maths = Callable[..., tuple[Array, Mapping[str, Array]]]
"""`(g, slots, p, trees) -> (u, slots)`, with the leaf of each tree that a rule needs."""


def split_complex(
    maths: Maths, g: Array, slots: dict[str, Array], p: Array | None, trees: Mapping[str, Array]
) -> tuple[Array, dict[str, Array]]:
    """Runs the maths of a real array on the real and the imaginary part of a complex one.

    torch treats complex parameters the same way, as pairs of real ones.
    """
    (u_real, new_real), (u_imag, new_imag) = (
        maths(
            part(g),
            {k: part(s) for k, s in slots.items()},
            part(p) if isinstance(p, jax.Array) else p,
            {k: part(x) if jnp.iscomplexobj(x) else x for k, x in trees.items()},
        )
        for part in (jnp.real, jnp.imag)
    )
    new_slots = {k: jax.lax.complex(new_real[k], new_imag[k]) for k in new_real}
    return jax.lax.complex(u_real, u_imag), new_slots


def init_slots(
    make: Callable[[Array], Mapping[str, Array | None]],
    p: Array,
    dtypes: Mapping[str, DTypeLike],
    *,
    split_complex: bool,
) -> dict[str, Array | NoSlot]:
    """Makes the first slots of one parameter, each in the dtype that the state keeps.

    A slot that this parameter does not have becomes a `NoSlot`.

    Args:
      make: a rule's `slots` with its options filled in.
      p: the parameter.
      dtypes: slot -> dtype; `*` is for all other slots.
      split_complex: whether to make them for the real and the imaginary part in turn.
    """
    # In the precision in which the maths will see the parameter.
    wide = _cast(p, compute_dtype(p.dtype))
    if split_complex and jnp.iscomplexobj(wide):
        real, imag = make(wide.real), make(wide.imag)
        slots = {k: _complex(real[k], imag[k]) for k in real}
    else:
        slots = dict(make(wide))

    def in_slot_dtype(k: str, v: Array | None) -> Array | NoSlot:
        if v is None:
            return NoSlot()
        v = _cast(v, slot_dtype(v.dtype, dtypes.get(k, dtypes.get("*"))))
        # A slot that starts as the parameter, or as another slot, must not be its buffer: both
        # will be donated.
        shared = any(v is x for x in (p, *(x for name, x in slots.items() if name != k)))
        return shard_like(varying_as(jnp.array(v, copy=True) if shared else v, p), p)

    return {k: in_slot_dtype(k, v) for k, v in slots.items()}


def _cast(x: Array, dtype: DTypeLike) -> Array:
    # Unlike `cast`, it makes weak types strong, as `astype` does. That takes longer to see that
    # there is nothing to do, and init casts every array.
    return x if x.dtype == dtype and not x.weak_type else x.astype(dtype)


def _complex(real: Array | None, imag: Array | None) -> Array | None:
    return None if real is None or imag is None else jax.lax.complex(real, imag)


def slot_dtype(natural: DTypeLike, requested: DTypeLike | None) -> DTypeLike:
    """Returns the requested dtype, but integers stay integers, and complex numbers complex."""
    if requested is None or not jnp.issubdtype(natural, jnp.inexact):
        return natural
    # A real dtype would drop the imaginary part of a complex slot.
    is_complex = [jnp.issubdtype(x, jnp.complexfloating) for x in (natural, requested)]
    return requested if is_complex[0] == is_complex[1] else natural


def check_parameter(link: str, path: str, leaf: object) -> None:
    """Raises TypeError if a leaf of the parameters cannot be trained."""
    if isinstance(leaf, (float, complex)):  # Python numbers are trained as scalar arrays
        return
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        raise TypeError(
            f"{link}: the parameter at '{path}' is the integer {leaf}. Write {leaf}.0 if it is "
            "trained, and put None in its place if it is not."
        )
    if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
        raise TypeError(
            f"{link}: the parameter at '{path}' is of type {type(leaf).__name__}, not an array. "
            "Put None in its place, so that the tree has only arrays that are trained."
        )
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        raise TypeError(
            f"{link}: the parameter at '{path}' has dtype {leaf.dtype}, and only floating-point "
            "and complex arrays are trained. Put None in its place, or route it elsewhere with "
            "masked or partition."
        )


def as_parameter(leaf: ArrayLike | jax.ShapeDtypeStruct) -> Array:
    """Returns a parameter as an array; zeros if only its shape is known."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
    return jnp.asarray(leaf)
