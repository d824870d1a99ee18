"""Trains only some of the parameters."""

from ..core.composed import composed
from ..core.protocol import GradientTransformation, PyTree
from ..core.trees.labels import Labeller
from .masking import freeze

__all__ = ["selective_transform"]


@composed(inner="optimizer")
def selective_transform(
    optimizer: GradientTransformation, *, freeze_mask: PyTree | Labeller
) -> GradientTransformation:
    """Trains only the parameters that a mask leaves free: `freeze(freeze_mask, optimizer)`.

    Args:
      optimizer: trains the free parameters.
      freeze_mask: tree of booleans, or a function of the parameters that returns one; True
        freezes. One boolean is for all parameters.

    Raises:
      ValueError: see `freeze`.

    Example:
      >>> import jax.numpy as jnp
      >>> import functional_optim as fo
      >>> tx = fo.selective_transform(fo.sgd(0.5), freeze_mask={"a": True, "b": False})
      >>> params = {"a": jnp.ones(1), "b": jnp.ones(1)}
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'a': Array([1.], dtype=float32), 'b': Array([0.5], dtype=float32)}
    """
    return freeze(freeze_mask, optimizer)
