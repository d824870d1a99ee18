"""Target networks: trees that follow other trees."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.moments import interpolate
from ..core.numerics.precision import compute_dtype
from ..core.numerics.validation import check_number
from ..core.protocol import PyTree
from ..core.trees.structure import align, is_absent

__all__ = ["incremental_update", "periodic_update"]

Array = jax.Array


def incremental_update(new_tensors: PyTree, old_tensors: PyTree, step_size: ArrayLike) -> PyTree:
    """Moves a tree part of the way to another: `old + step_size (new - old)`.

    Each leaf is computed in at least float32, and has the dtype of the old one; where the new
    tree has None, the result has None, too. To average parameters within a chain, see `params_ema`.

    Args:
      new_tensors: tree towards which the old one moves, such as the parameters.
      old_tensors: tree of the same structure, such as the parameters of a target network.
      step_size: `()`, 0 for the old tree, 1 for the new one.

    Raises:
      ValueError: the trees differ in structure, or step_size is a number outside [0, 1].

    Example:
      >>> incremental_update({"w": jnp.array(3.0)}, {"w": jnp.array(1.0)}, 0.25)
      {'w': Array(1.5, dtype=float32)}
    """
    check_number(step_size, "incremental_update: step_size", "[0, 1]")
    olds, treedef = jax.tree.flatten(old_tensors)
    news = align(
        old_tensors,
        new_tensors,
        link="incremental_update",
        name="new_tensors",
        reference_name="old_tensors",
    )
    pairs = zip(olds, news, strict=True)
    return jax.tree.unflatten(
        treedef, [n if is_absent(n) else _toward(o, n, step_size) for o, n in pairs]
    )


def _toward(old: ArrayLike, new: ArrayLike, step_size: ArrayLike) -> Array:
    old, new = jnp.asarray(old), jnp.asarray(new)
    if jnp.iscomplexobj(old):
        parts = ((old.real, new.real), (old.imag, new.imag))
        return jax.lax.complex(*(_toward(o, n, step_size) for o, n in parts))
    dtype = compute_dtype(old.dtype)
    weight = jnp.asarray(step_size).astype(dtype)
    return interpolate(old.astype(dtype), new.astype(dtype), weight).astype(old.dtype)


def periodic_update(
    new_tensors: PyTree, old_tensors: PyTree, steps: ArrayLike, update_period: ArrayLike
) -> PyTree:
    """Replaces a tree by another at every `update_period`-th step, and keeps it at the others.

    Args:
      new_tensors: tree that replaces the old one, such as the parameters.
      old_tensors: tree of the same structure, such as the parameters of a target network.
      steps: `()`, number of updates of new_tensors so far.
      update_period: `()`, number of updates from one replacement to the next.

    Raises:
      ValueError: update_period is a number less than 1.

    Example:
      >>> new, old = {"w": jnp.array(3.0)}, {"w": jnp.array(1.0)}
      >>> [float(periodic_update(new, old, steps, 2)["w"]) for steps in (1, 2)]
      [1.0, 3.0]
    """
    check_number(update_period, "periodic_update: update_period", "[1, inf)")
    replace = jnp.asarray(steps) % update_period == 0
    return jax.tree.map(lambda n, o: jnp.where(replace, n, o), new_tensors, old_tensors)
