"""Connectionist temporal classification: labels of a sequence whose alignment is not known."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .inputs import as_floats

__all__ = ["ctc_loss", "ctc_loss_with_forward_probs"]

Array = jax.Array


def ctc_loss(
    logits: Any,
    logit_paddings: Any,
    labels: Any,
    label_paddings: Any,
    *,
    blank_id: int = 0,
    log_epsilon: Any = -1e5,
) -> Array:
    """Computes minus the log of the probability that a sequence of frames spells its labels.

    Each frame is a label or a blank; the sequence spells what is left when equal neighbours are
    made one, and then blanks are left out. The probability is the sum over all ways to do so.

    Args:
      logits: `(batch, frames, classes)`.
      logit_paddings: `(batch, frames)`, 1 or True where a frame is none.
      labels: `(batch, labels)`, integers in [0, classes) without `blank_id`.
      label_paddings: `(batch, labels)`, 1 or True where a label is none: behind all others.
      blank_id: number of the class that is the blank.
      log_epsilon: `()`, the finite number that stands for log(0), so that derivatives are finite.

    Returns:
      `(batch,)`. Where the labels do not fit into the frames, about -log_epsilon. A label that is
      no class gives NaN.

    Raises:
      TypeError: labels are not integers.
      ValueError: the shapes do not go together.

    Example:
      >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.5, 0.5]]]))
      >>> none = jnp.zeros((1, 2)), jnp.zeros((1, 1))
      >>> jnp.exp(-ctc_loss(logits, none[0], jnp.array([[1]]), none[1])).tolist()  # _1, 1_, 11
      [0.75]

    Reference: Graves et al., Connectionist temporal classification, ICML 2006, section 4.1.
    """
    return ctc_loss_with_forward_probs(
        logits, logit_paddings, labels, label_paddings, blank_id=blank_id, log_epsilon=log_epsilon
    )[0]


class _Forward(NamedTuple):
    """Logs of the probabilities of the frames so far.

    Attributes:
      blank: that they spell the first n labels and do not end in the n-th, but in a blank, for n
        of 0 to all, `(batch, labels + 1)`.
      label: that they spell the first n labels and end in the n-th, for n from 1,
        `(batch, labels)`.
    """

    blank: Array
    label: Array


def ctc_loss_with_forward_probs(
    logits: Any,
    logit_paddings: Any,
    labels: Any,
    label_paddings: Any,
    *,
    blank_id: int = 0,
    log_epsilon: Any = -1e5,
) -> tuple[Array, Array, Array]:
    """Computes `ctc_loss`, and the logs of the probabilities of the frames up to each.

    Arguments and errors are those of `ctc_loss`.

    Returns:
      The loss `(batch,)`; for each frame, the log of the probability that the frames so far spell
      the first n labels and end in a blank, `(frames, batch, labels + 1)` for n from 0, after the
      last frame in whatever they end; and that they end in the n-th label,
      `(frames, batch, labels)` for n from 1.

    Example:
      >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.25, 0.75]]]))
      >>> none = jnp.zeros((1, 2)), jnp.zeros((1, 1))
      >>> loss, blank, label = ctc_loss_with_forward_probs(
      ...     logits, none[0], jnp.array([[1]]), none[1]
      ... )
      >>> jnp.exp(label[:, 0, 0]).tolist()  # 1; _1 and 11
      [0.5, 0.75]

    Reference: that of `ctc_loss`, equations 6 and 7.
    """
    (x,) = as_floats(logits)
    ids, padded, skipped = _checked(x, logit_paddings, labels, label_paddings)
    low = as_floats(log_epsilon)[0].astype(x.dtype)
    log_p = jax.nn.log_softmax(x)
    blank = log_p[:, :, blank_id]
    label = _of_labels(log_p, ids, padded)
    # Between equal labels, a blank must stand.
    equal = jnp.pad(ids[:, :-1] == ids[:, 1:], ((0, 0), (0, 1)))
    if_equal, if_other = jnp.where(equal, low, 0.0), jnp.where(equal, 0.0, low)

    def frame(old: _Forward, now: tuple[Array, Array, Array]) -> tuple[_Forward, _Forward]:
        p_blank, p_label, is_none = now
        p_blank, is_none = p_blank[:, None], is_none[:, None]
        # From where a label may follow at once: behind another one, or behind a blank.
        open_ = _joined(old.blank, old.label + if_equal)
        new = _Forward(
            _joined(open_ + p_blank, old.label + p_blank + if_other),
            jnp.logaddexp(open_[:, :-1], old.label) + p_label,
        )
        new = jax.tree.map(lambda a, b: jnp.where(is_none, a, b), old, new)
        return new, new

    batch, size = ids.shape
    start = _Forward(
        jnp.full((batch, size + 1), low).at[:, 0].set(0.0), jnp.full((batch, size), low)
    )
    frames = blank.T, jnp.moveaxis(label, 1, 0), skipped.T
    last, seen = jax.lax.scan(frame, start, frames)
    ends = _joined(last.blank, last.label)
    lengths = size - jnp.sum(padded.astype(jnp.int32), axis=1)
    loss = -jnp.take_along_axis(ends, lengths[:, None], axis=1)[:, 0]
    return loss, seen.blank.at[-1:].set(ends[None]), seen.label


def _joined(blank: Array, label: Array) -> Array:
    """Logs of sums: of each number of labels, ending in a blank or in the last of them."""
    return jnp.concatenate([blank[:, :1], jnp.logaddexp(blank[:, 1:], label)], axis=1)


def _of_labels(log_p: Array, ids: Array, padded: Array) -> Array:
    """Log probabilities of the labels in each frame, `(batch, frames, labels)`."""
    classes = log_p.shape[-1]
    is_class = (ids >= 0) & (ids < classes)
    found = jnp.take_along_axis(log_p, jnp.where(is_class, ids, 0)[:, None, :], axis=-1)
    # What is no label counts nothing, whatever its number.
    return jnp.where((is_class | padded)[:, None, :], found, jnp.nan)


def _checked(
    x: Array, logit_paddings: Any, labels: Any, label_paddings: Any
) -> tuple[Array, Array, Array]:
    """Returns the labels, where they are none, and where frames are none."""
    ids, padded, skipped = (jnp.asarray(v) for v in (labels, label_paddings, logit_paddings))
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(
            f"ctc_loss: labels must be integers, got {ids.dtype}. Pass the numbers of the classes."
        )
    fits = x.ndim == 3 and ids.ndim == 2 and ids.shape[0] == x.shape[0]
    if not (fits and skipped.shape == x.shape[:2] and padded.shape == ids.shape):
        raise ValueError(
            "ctc_loss: logits must have shape (batch, frames, classes), logit_paddings (batch, "
            "frames), labels and label_paddings (batch, labels); got "
            f"{x.shape}, {skipped.shape}, {ids.shape} and {padded.shape}."
        )
    return ids, padded.astype(bool), skipped.astype(bool)
