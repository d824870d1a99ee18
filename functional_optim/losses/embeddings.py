"""Contrastive losses of embeddings."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.validation import check_number
from .inputs import as_floats, same_shape
from .regression import cosine_similarity

__all__ = ["ntxent", "triplet_margin_loss"]

Array = jax.Array


def ntxent(embeddings: ArrayLike, labels: ArrayLike, temperature: ArrayLike = 0.07) -> Array:
    """Computes a contrastive loss of scaled cosines, averaged over pairs with equal labels.

    For each ordered pair i, j with equal labels, and s = cosine / temperature:

        -log(exp(s[i, j]) / (exp(s[i, j]) + sum of exp(s[i, k]) over k of other labels))

    Args:
      embeddings: `(batch, features)`.
      labels: `(batch,)`; examples with equal labels are pairs.
      temperature: `()`, without unit.

    Returns:
      Scalar `()`; NaN where no two examples have equal labels.

    Raises:
      ValueError: the batches of labels and embeddings differ in size, or temperature is a number
        that is not positive.

    Example:
      >>> x = jnp.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
      >>> print(ntxent(x, jnp.array([0, 0, 1, 1]), temperature=1.0).round(4))
      0.2395

    Reference: Chen et al., A simple framework for contrastive learning of visual
    representations, ICML 2020, arXiv:2002.05709.
    """
    check_number(temperature, "ntxent: temperature", "(0, inf)")
    (x,) = as_floats(embeddings)
    labels = jnp.asarray(labels)
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ValueError(
            f"ntxent: embeddings must be (batch, features) and labels (batch,), got {x.shape} and "
            f"{labels.shape}."
        )
    n = len(x)
    pairs = [jnp.broadcast_to(x[None], (n, *x.shape)), jnp.broadcast_to(x[:, None], (n, *x.shape))]
    # With epsilon = 0 an embedding of zeros would make the loss NaN.
    cosines = cosine_similarity(*pairs, epsilon=jnp.finfo(x.dtype).eps)
    s = cosines / as_floats(temperature)[0].astype(x.dtype)
    same = jnp.broadcast_to(labels[:, None], (n, n)) == jnp.broadcast_to(labels[None], (n, n))
    others = jax.nn.logsumexp(s, axis=1, keepdims=True, where=~same)
    losses = jnp.logaddexp(s, jnp.broadcast_to(others, s.shape)) - s
    positive = same & ~jnp.eye(n, dtype=bool)
    return jnp.mean(losses, where=positive)


def triplet_margin_loss(
    anchors: ArrayLike,
    positives: ArrayLike,
    negatives: ArrayLike,
    axis: int = -1,
    norm_degree: ArrayLike = 2,
    margin: ArrayLike = 1.0,
    eps: ArrayLike = 1e-6,
) -> Array:
    """Computes max(0, distance to the positive - distance to the negative + margin), by example.

        distance = (sum |x - y|^norm_degree + eps)^(1 / norm_degree)

    Args:
      anchors: `(..., features)`; positives and negatives have the same shape.
      axis: axis of the features.
      norm_degree: `()`, 2 for Euclidean distances.
      margin: `()`, by how much the negative should be farther away than the positive.
      eps: `()`, added under the root, so that derivatives are finite at distance 0.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> a, b = jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]])
      >>> print(triplet_margin_loss(a, b, a, margin=2.0).round(1))
      [7.]

    Reference: Balntas et al., Learning shallow convolutional feature descriptors with triplet
    losses, BMVC 2016.
    """
    a, p, n = same_shape(
        "triplet_margin_loss", anchors=anchors, positives=positives, negatives=negatives
    )
    degree, least, gap = (as_floats(x)[0].astype(a.dtype) for x in (norm_degree, eps, margin))

    def distance(other: Array) -> Array:
        return jnp.power(jnp.sum(jnp.power(jnp.abs(a - other), degree), axis) + least, 1 / degree)

    return jnp.maximum(distance(p) - distance(n) + gap, 0.0)
