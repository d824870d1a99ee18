"""Margin losses, of scores that need not be probabilities."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..projections.simplex import nearest_of_simplex
from .inputs import as_floats, broadcast, select_label

__all__ = [
    "hinge_loss",
    "multiclass_hinge_loss",
    "multiclass_perceptron_loss",
    "multiclass_sparsemax_loss",
    "perceptron_loss",
    "sparsemax_loss",
]

Array = jax.Array


def hinge_loss(predictor_outputs: ArrayLike, targets: ArrayLike) -> Array:
    """Computes max(0, 1 - output target), elementwise, for targets of -1 and 1.

    Example:
      >>> hinge_loss(jnp.array([0.5, 2.0]), jnp.array([-1, 1])).tolist()
      [1.5, 0.0]

    Reference: Cortes & Vapnik, Support-vector networks, Machine Learning, 1995.
    """
    x, y = broadcast("hinge_loss", predictor_outputs=predictor_outputs, targets=targets)
    return jnp.maximum(0.0, 1.0 - x * y)


def perceptron_loss(predictor_outputs: ArrayLike, targets: ArrayLike) -> Array:
    """Computes max(0, -output target), elementwise, for targets of -1 and 1.

    Example:
      >>> perceptron_loss(jnp.array([0.5, 2.0]), jnp.array([-1, 1])).tolist()
      [0.5, 0.0]

    Reference: Rosenblatt, The perceptron, Psychological Review, 1958.
    """
    x, y = broadcast("perceptron_loss", predictor_outputs=predictor_outputs, targets=targets)
    return jnp.maximum(0.0, -x * y)


def sparsemax_loss(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Computes the binary sparsemax loss, elementwise; 0 for a logit >= 1 of the right sign.

    Args:
      logits: real numbers.
      labels: 0 or 1, broadcast with logits.

    Example:
      >>> sparsemax_loss(jnp.array([0.0, 1.0, -3.0]), jnp.array([1, 1, 1])).tolist()
      [0.25, 0.0, 3.0]

    Reference: Blondel, Martins & Niculae, Learning with Fenchel-Young losses, JMLR 2020,
    section 4.4, arXiv:1901.02324.
    """
    x, y = broadcast("sparsemax_loss", logits=logits, labels=labels)
    return jax.nn.sparse_plus(jnp.where(y != 0, -x, x))


def multiclass_hinge_loss(scores: ArrayLike, labels: ArrayLike) -> Array:
    """Computes max(0, 1 + the largest score of another class - the label's score).

    Args:
      scores: `(..., classes)`.
      labels: `(...)`, integers.

    Raises:
      TypeError: labels are not integers.
      ValueError: labels have another shape.

    Example:
      >>> multiclass_hinge_loss(jnp.array([3.0, 2.5, 0.0]), jnp.array(0)).tolist()
      0.5

    Reference: Crammer & Singer, On the algorithmic implementation of multiclass kernel-based
    vector machines, JMLR 2001.
    """
    (x,) = as_floats(scores)
    right = select_label("multiclass_hinge_loss", x, labels)
    is_label = jax.nn.one_hot(jnp.asarray(labels), x.shape[-1], dtype=x.dtype)
    return jnp.max(x + 1.0 - is_label, axis=-1) - right


def multiclass_perceptron_loss(scores: ArrayLike, labels: ArrayLike) -> Array:
    """Computes the largest score minus the label's score.

    Args:
      scores: `(..., classes)`.
      labels: `(...)`, integers.

    Raises:
      TypeError: labels are not integers.
      ValueError: labels have another shape.

    Example:
      >>> multiclass_perceptron_loss(jnp.array([3.0, 2.5, 0.0]), jnp.array(1)).tolist()
      0.5

    Reference: Collins, Discriminative training methods for hidden Markov models, EMNLP 2002.
    """
    (x,) = as_floats(scores)
    return jnp.max(x, axis=-1) - select_label("multiclass_perceptron_loss", x, labels)


def multiclass_sparsemax_loss(scores: ArrayLike, labels: ArrayLike) -> Array:
    """Computes the sparsemax loss: 0 once the label's score exceeds all others by 1.

        0.5 (|x|^2 - |p - x|^2 + 1) - x[label],    where p is the projection of x on the simplex

    Args:
      scores: x `(..., classes)`.
      labels: `(...)`, integers.

    Raises:
      TypeError: labels are not integers.
      ValueError: labels have another shape.

    Example:
      >>> multiclass_sparsemax_loss(jnp.array([[2.0, 1.0], [0.0, 0.0]]), jnp.array([0, 1])).tolist()
      [0.0, 0.25]

    Reference: Martins & Astudillo, From softmax to sparsemax, ICML 2016, arXiv:1602.02068.
    """
    (x,) = as_floats(scores)
    right = select_label("multiclass_sparsemax_loss", x, labels)
    # Scores are taken relative to the label's, so that large ones lose no digits.
    z = x - right[..., None]
    # p maximizes the result over the simplex, so the derivative through p is 0.
    p = jax.lax.stop_gradient(nearest_of_simplex(z))
    return jnp.sum(p * (z - 0.5 * p), axis=-1) + 0.5
