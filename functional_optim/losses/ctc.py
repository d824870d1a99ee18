"""Connectionist temporal classification: losses of label sequences without an alignment."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .inputs import as_floats

__all__ = ["ctc_loss", "ctc_loss_with_forward_probs"]

Array = jax.Array


def ctc_loss(
    logits: ArrayLike,
    logit_paddings: ArrayLike,
    labels: ArrayLike,
    label_paddings: ArrayLike,
    *,
    blank_id: int = 0,
    log_epsilon: ArrayLike = -1e5,
) -> Array:
    """Computes minus the log of the probability that a sequence of frames spells its labels.

    Each frame is a label or a blank. A sequence of frames spells the labels that remain when runs
    of equal frames are merged and then blanks are removed. The probability is the sum over all
    sequences of frames that spell the labels.

    Args:
      logits: `(batch, frames, classes)`.
      logit_paddings: `(batch, frames)`, 1 or True where a frame is padding.
      labels: `(batch, labels)`, integers in [0, classes) without `blank_id`.
      label_paddings: `(batch, labels)`, 1 or True where a label is padding, which must come after
        all other labels.
      blank_id: index of the class that is the blank.
      log_epsilon: `()`, a finite number used for log(0), so that derivatives are finite.

    Returns:
      `(batch,)`; about -log_epsilon where the labels do not fit into the frames, and NaN where a
      label is outside [0, classes).

    Raises:
      TypeError: labels are not integers.
      ValueError: the shapes do not fit together.

    Example:
      >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.5, 0.5]]]))
      >>> labels, no_frames, no_labels = jnp.array([[1]]), jnp.zeros((1, 2)), jnp.zeros((1, 1))
      >>> jnp.exp(-ctc_loss(logits, no_frames, labels, no_labels)).tolist()  # of _1, 1_ and 11
      [0.75]

    Reference: Graves et al., Connectionist temporal classification, ICML 2006, section 4.1.
    """
    return ctc_loss_with_forward_probs(
        logits, logit_paddings, labels, label_paddings, blank_id=blank_id, log_epsilon=log_epsilon
    )[0]


class _Forward(NamedTuple):
    """Log probabilities of the frames so far: the forward variables of the paper's section 4.1.

    Attributes:
      blank: log probability that the frames spell the first n labels and end in a blank, for n
        from 0, `(batch, labels + 1)`.
      label: log probability that the frames spell the first n labels and end in the n-th, for n
        from 1, `(batch, labels)`.
    """

    blank: Array
    label: Array


def ctc_loss_with_forward_probs(
    logits: ArrayLike,
    logit_paddings: ArrayLike,
    labels: ArrayLike,
    label_paddings: ArrayLike,
    *,
    blank_id: int = 0,
    log_epsilon: ArrayLike = -1e5,
) -> tuple[Array, Array, Array]:
    """Computes `ctc_loss`, and the log probabilities of all prefixes of the frames.

    See `ctc_loss` for the arguments and errors.

    Returns:
      The loss `(batch,)`. For each frame, the log probability that the frames up to it spell the
      first n labels and end in a blank, `(frames, batch, labels + 1)` for n from 0; the last frame
      instead has the log probability that all frames spell the first n labels, whatever they end
      in. For each frame, the log probability that the frames up to it spell the first n labels and
      end in the n-th, `(frames, batch, labels)` for n from 1.

    Example:
      >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.25, 0.75]]]))
      >>> labels, no_frames, no_labels = jnp.array([[1]]), jnp.zeros((1, 2)), jnp.zeros((1, 1))
      >>> loss, blank, label = ctc_loss_with_forward_probs(logits, no_frames, labels, no_labels)
      >>> jnp.exp(label[:, 0, 0]).tolist()  # of 1; of _1 and 11
      [0.5, 0.75]

    Reference: see `ctc_loss`; equations 6 and 7.
    """
    (x,) = as_floats(logits)
    ids, padded_labels, padded_frames = _checked(x, logit_paddings, labels, label_paddings)
    log_zero = as_floats(log_epsilon)[0].astype(x.dtype)
    log_p = jax.nn.log_softmax(x)
    blank = log_p[:, :, blank_id]
    label = _label_log_probabilities(log_p, ids, padded_labels)
    # Equal neighbours merge unless a blank separates them, so the second of two equal labels must
    # follow a blank: log(0) is added to the path that goes directly from the first to the second.
    equal = jnp.pad(ids[:, :-1] == ids[:, 1:], ((0, 0), (0, 1)))
    if_equal, if_other = jnp.where(equal, log_zero, 0.0), jnp.where(equal, 0.0, log_zero)

    def advance(old: _Forward, frame: tuple[Array, Array, Array]) -> tuple[_Forward, _Forward]:
        p_blank, p_label, is_padding = frame
        p_blank, is_padding = p_blank[:, None], is_padding[:, None]
        # Log probability of the frames so far, if the next label may follow them directly.
        before_next = _sum_over_endings(old.blank, old.label + if_equal)
        new = _Forward(
            _sum_over_endings(before_next + p_blank, old.label + p_blank + if_other),
            jnp.logaddexp(before_next[:, :-1], old.label) + p_label,
        )
        new = jax.tree.map(lambda a, b: jnp.where(is_padding, a, b), old, new)
        return new, new

    batch, size = ids.shape
    start = _Forward(
        jnp.full((batch, size + 1), log_zero).at[:, 0].set(0.0),
        jnp.full((batch, size), log_zero),
    )
    frames = blank.T, jnp.moveaxis(label, 1, 0), padded_frames.T
    last, history = jax.lax.scan(advance, start, frames)
    ends = _sum_over_endings(last.blank, last.label)
    lengths = size - jnp.sum(padded_labels.astype(jnp.int32), axis=1)
    loss = -jnp.take_along_axis(ends, lengths[:, None], axis=1)[:, 0]
    return loss, history.blank.at[-1:].set(ends[None]), history.label


def _sum_over_endings(blank: Array, label: Array) -> Array:
    """Returns log probabilities that frames spell n labels, whatever they end in; n is axis 1."""
    return jnp.concatenate([blank[:, :1], jnp.logaddexp(blank[:, 1:], label)], axis=1)


def _label_log_probabilities(log_p: Array, ids: Array, padded_labels: Array) -> Array:
    """Returns the log probabilities of the labels in each frame, `(batch, frames, labels)`."""
    classes = log_p.shape[-1]
    is_class = (ids >= 0) & (ids < classes)
    selected = jnp.take_along_axis(log_p, jnp.where(is_class, ids, 0)[:, None, :], axis=-1)
    # Padding may have any value, and must not make the loss NaN.
    return jnp.where((is_class | padded_labels)[:, None, :], selected, jnp.nan)


def _checked(
    x: Array, logit_paddings: ArrayLike, labels: ArrayLike, label_paddings: ArrayLike
) -> tuple[Array, Array, Array]:
    """Returns the labels, and the masks of padded labels and of padded frames."""
    ids, padded_labels, padded_frames = (
        jnp.asarray(v) for v in (labels, label_paddings, logit_paddings)
    )
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(
            f"ctc_loss: labels must be integers, got {ids.dtype}. Pass the numbers of the classes."
        )
    fits = x.ndim == 3 and ids.ndim == 2 and ids.shape[0] == x.shape[0]
    if not (fits and padded_frames.shape == x.shape[:2] and padded_labels.shape == ids.shape):
        raise ValueError(
            "ctc_loss: logits must have shape (batch, frames, classes), logit_paddings (batch, "
            "frames), labels and label_paddings (batch, labels); got "
            f"{x.shape}, {padded_frames.shape}, {ids.shape} and {padded_labels.shape}."
        )
    return ids, padded_labels.astype(bool), padded_frames.astype(bool)
