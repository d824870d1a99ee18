"""Dice losses of segmentations, which measure how far predicted and true regions overlap."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .inputs import Axis, as_floats

__all__ = ["binary_dice_loss", "dice_loss", "multiclass_generalized_dice_loss"]

Array = jax.Array

_REDUCTIONS = {"mean": jnp.mean, "sum": jnp.sum}

_TOLERANCE = 1e-5
"""Relative tolerance of the check that probabilities sum to 1, as in optax."""

_RARE = 1e-7
"""Added to squared frequencies, so that an absent class has a finite weight, as in optax."""


def dice_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    class_weights: ArrayLike | None = None,
    smooth: ArrayLike = 1.0,
    alpha: ArrayLike = 0.5,
    beta: ArrayLike = 0.5,
    apply_softmax: bool = True,
    reduction: str = "mean",
    ignore_background: bool = False,
    axis: Axis = None,
) -> Array:
    """Computes one minus the overlap of predicted and true regions, for each class.

        1 - (overlap + smooth) / (overlap + alpha only_predicted + beta only_true + smooth)

    For probabilities p and targets t, `overlap` is the sum of p t over the axes of the region,
    `only_predicted` the sum of p minus `overlap`, and `only_true` the sum of t minus `overlap`.
    alpha = beta = 1/2 gives the Dice coefficient; other values give Tversky's index.

    Differences: with `apply_softmax=False`, optax checks that probabilities sum to 1 also for one
    class, and under jit, where the check raises; here only concrete values of several classes are
    checked.

    Args:
      predictions: logits `(batch, ..., classes)`; for one class `(batch, ..., 1)` or without that
        axis, and then a sigmoid replaces the softmax.
      targets: 0 or 1, of the same shape; the axis of one class may be left out.
      class_weights: `(classes,)`; None for weights of 1.
      smooth: `()`, makes the loss of empty regions 0, and its derivative bounded.
      alpha: `()`, weight of false positives.
      beta: `()`, weight of false negatives.
      apply_softmax: False where predictions are probabilities.
      reduction: over classes: 'mean', 'sum', or 'none'.
      ignore_background: whether to leave out the first of several classes.
      axis: the axes of the regions; None for all but the first and the last.

    Returns:
      `(batch,)`; with 'none', `(batch, classes)`.

    Raises:
      ValueError: shapes differ, the reduction is unknown, or probabilities do not sum to 1.

    Example:
      >>> logits, targets = jnp.zeros((1, 4, 1)), jnp.array([[[1], [1], [0], [0]]])
      >>> dice_loss(logits, targets, smooth=0.0).tolist()  # 1 - 1 / (1 + 1/2 + 1/2)
      [0.5]

    Reference: Milletari, Navab & Ahmadi, V-Net, 3DV 2016, section 3, arXiv:1606.04797; Salehi,
    Erdogmus & Gholipour, Tversky loss function for image segmentation, MLMI 2017, equation 3,
    arXiv:1706.05721.
    """
    x, t = _with_classes(*as_floats(predictions, targets))
    _check_shapes("dice_loss", x, t)
    if reduction not in (*_REDUCTIONS, "none"):
        raise ValueError(
            f"dice_loss: reduction must be 'mean', 'sum' or 'none', got {reduction!r}."
        )
    p = _probabilities(x) if apply_softmax else _check_probabilities("dice_loss", x)
    smooth, alpha, beta = (as_floats(v)[0].astype(x.dtype) for v in (smooth, alpha, beta))
    region = tuple(range(1, x.ndim - 1)) if axis is None else axis
    overlap = jnp.sum(p * t, region)
    only_predicted, only_true = jnp.sum(p, region) - overlap, jnp.sum(t, region) - overlap
    total = overlap + alpha * only_predicted + beta * only_true + smooth
    loss = 1.0 - (overlap + smooth) / total
    if class_weights is not None:
        loss = _weighted(loss, class_weights)
    if ignore_background and x.shape[-1] > 1:
        loss = loss[..., 1:]
    return loss if reduction == "none" else _REDUCTIONS[reduction](loss, axis=-1)


def multiclass_generalized_dice_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    smooth: ArrayLike = 1.0,
    apply_softmax: bool = True,
    ignore_background: bool = False,
) -> Array:
    """Computes the mean `dice_loss`, each class weighted by one over its squared frequency.

    The weights are scaled to a mean of 1. Frequencies are computed over the whole batch.

    Args:
      predictions: logits `(batch, ..., classes)`.
      targets: 0 or 1, of the same shape.
      smooth: as in `dice_loss`.
      apply_softmax: False where predictions are probabilities.
      ignore_background: whether to leave out the first class.

    Returns:
      `()`.

    Raises:
      ValueError: shapes differ, or probabilities do not sum to 1.

    Example:
      >>> targets = jax.nn.one_hot(jnp.array([[0, 0, 0, 1]]), 2)
      >>> print(multiclass_generalized_dice_loss(100.0 * targets, targets))
      0.0

    Reference: Sudre et al., Generalised Dice overlap as a deep learning loss function for highly
    unbalanced segmentations, DLMIA 2017, section 2, arXiv:1707.03237.
    """
    x, t = as_floats(predictions, targets)
    _check_shapes("multiclass_generalized_dice_loss", x, t)
    frequency = jnp.sum(t, tuple(range(t.ndim - 1)))
    weights = 1.0 / (jnp.square(frequency) + _RARE)
    losses = dice_loss(
        x,
        t,
        class_weights=weights / jnp.mean(weights),
        smooth=smooth,
        apply_softmax=apply_softmax,
        reduction="none",
        ignore_background=ignore_background,
    )
    return jnp.mean(losses)


def binary_dice_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    smooth: ArrayLike = 1.0,
    apply_sigmoid: bool = True,
) -> Array:
    """Computes the `dice_loss` of one class.

    Args:
      predictions: logits `(batch, ...)`, or with a last axis of size 1.
      targets: 0 or 1, of the same shape.
      smooth: as in `dice_loss`.
      apply_sigmoid: False where predictions are probabilities.

    Returns:
      `(batch,)`.

    Raises:
      ValueError: shapes differ.

    Example:
      >>> print(binary_dice_loss(jnp.array([[9.0, -9.0]]), jnp.array([[1, 0]])).round(3))
      [0.]

    Reference: see `dice_loss`.
    """
    x, t = as_floats(predictions, targets)
    if x.ndim == t.ndim and x.shape[-1:] != (1,):
        x, t = x[..., None], t[..., None]
    return dice_loss(x, t, smooth=smooth, apply_softmax=apply_sigmoid)


def _with_classes(x: Array, t: Array) -> tuple[Array, Array]:
    """Adds an axis of one class to the array that lacks it, if the other has it."""
    if x.ndim == t.ndim - 1:
        x = x[..., None]
    return x, t[..., None] if t.ndim == x.ndim - 1 else t


def _check_shapes(name: str, x: Array, t: Array) -> None:
    if x.shape != t.shape or not x.ndim:
        raise ValueError(
            f"{name}: predictions {x.shape} and targets {t.shape} must have one shape (batch, ..., "
            "classes). Pass one-hot targets."
        )


def _probabilities(logits: Array) -> Array:
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits, axis=-1)


def _check_probabilities(name: str, p: Array) -> Array:
    """Returns the probabilities, after checking their sums where they are concrete."""
    # Values of tracers are not known; a check under jit would need a callback to the host.
    if p.shape[-1] > 1 and not isinstance(p, jax.core.Tracer):
        sums = np.sum(np.asarray(p), axis=-1)
        if not np.allclose(sums, 1.0, rtol=_TOLERANCE):
            raise ValueError(
                f"{name}: with apply_softmax=False, predictions must be valid probability "
                f"distributions, whose sums over the last axis are 1; got sums in "
                f"[{np.min(sums):.6f}, {np.max(sums):.6f}]."
            )
    return p


def _weighted(loss: Array, class_weights: ArrayLike) -> Array:
    weights = as_floats(class_weights)[0].astype(loss.dtype)
    if weights.ndim != 1 or weights.shape[0] not in (1, loss.shape[-1]):
        raise ValueError(
            f"dice_loss: class_weights must have shape {loss.shape[-1:]}, one number for each "
            f"class, got {weights.shape}."
        )
    return loss * jnp.broadcast_to(weights, loss.shape)
