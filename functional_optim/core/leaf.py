"""One leaf: the precision it is computed in, and complex numbers as pairs of real ones."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .placement import alike
from .precision import compute_dtype
from .protocol import NoSlot

__all__ = [
    "as_parameter",
    "by_parts",
    "cast",
    "cast_like",
    "check_parameter",
    "kept_as",
    "start_slots",
]

Array = jax.Array
Maths = Callable[[Array, dict[str, Array], Array | None], tuple[Array, Mapping[str, Array]]]


def cast(tree: Any, dtype: Any) -> Any:
    """Casts the inexact arrays of a tree to `dtype`, leaving integers alone."""

    def convert(x: Array) -> Array:
        if x.dtype == dtype or not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        return x.astype(dtype)

    return jax.tree.map(convert, tree)


def cast_like(new: Array, old: Array) -> Array:
    """A slot's new value in the dtype that the slot keeps."""
    return new if new.dtype == old.dtype else new.astype(old.dtype)


def by_parts(
    maths: Maths, g: Array, slots: dict[str, Array], p: Array | None
) -> tuple[Array, dict[str, Array]]:
    """Runs the maths of a real array, on real and imaginary part in turn where there are two.

    So torch treats complex parameters: as pairs of real ones.
    """
    if not jnp.iscomplexobj(g):
        u, kept = maths(g, slots, p)
        return u, dict(kept)
    (u, kept), (v, kept_imag) = (
        maths(part(g), {k: part(s) for k, s in slots.items()}, None if p is None else part(p))
        for part in (jnp.real, jnp.imag)
    )
    return jax.lax.complex(u, v), {k: jax.lax.complex(kept[k], kept_imag[k]) for k in kept}


def start_slots(
    make: Callable[[Array], Mapping[str, Array | None]],
    p: Array,
    dtypes: Mapping[str, Any],
    *,
    parts: bool,
) -> dict[str, Any]:
    """Slots of one parameter as they start, in the dtypes that they keep.

    A `NoSlot` stands for one that this parameter does not have.

    Args:
      make: a rule's `slots` with its options filled in.
      p: the parameter.
      dtypes: slot -> dtype; `*` stands for the slots that are not named.
      parts: whether to make them for real and imaginary part in turn.
    """
    wide = p.astype(compute_dtype(p.dtype))
    if parts and jnp.iscomplexobj(wide):
        real, imag = make(wide.real), make(wide.imag)
        slots = {k: _pair(real[k], imag[k]) for k in real}
    else:
        slots = dict(make(wide))

    def kept(k: str, v: Array | None) -> Any:
        if v is None:
            return NoSlot()
        v = v.astype(kept_as(v.dtype, dtypes.get(k, dtypes.get("*"))))
        # A slot that starts as the parameter, or as another slot, must not be its buffer: both
        # will be donated.
        shared = any(v is x for x in (p, *(x for name, x in slots.items() if name != k)))
        return alike(jnp.array(v, copy=True) if shared else v, p)

    return {k: kept(k, v) for k, v in slots.items()}


def _pair(real: Array | None, imag: Array | None) -> Array | None:
    return None if real is None or imag is None else jax.lax.complex(real, imag)


def kept_as(natural: Any, asked: Any) -> Any:
    """What was asked for, but integers stay integers, and complex numbers complex."""
    if not jnp.issubdtype(natural, jnp.inexact):
        return natural
    keeps_complex = jnp.issubdtype(natural, jnp.complexfloating)
    if asked is None or (keeps_complex and not jnp.issubdtype(asked, jnp.complexfloating)):
        return natural
    return asked


def check_parameter(link: str, path: str, leaf: Any) -> None:
    """Raises TypeError where a leaf of the parameters cannot be trained."""
    if isinstance(leaf, (float, complex)):
        return
    if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
        raise TypeError(
            f"{link}: the parameter at '{path}' is of type {type(leaf).__name__}, not an array. "
            "Put None in its place, so that only what is trained is in the tree."
        )
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        raise TypeError(
            f"{link}: the parameter at '{path}' has dtype {leaf.dtype}, and only floating-point "
            "and complex arrays are trained. Put None in its place, or route it elsewhere with "
            "masked or partition."
        )


def as_parameter(leaf: Any) -> Array:
    """A leaf of the parameters as an array; zeros where only its shape is known."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
    return jnp.asarray(leaf)
