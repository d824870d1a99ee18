"""Loads handwritten digits: 1,797 images of 8 by 8, which scikit-learn contains."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .extras import require

__all__ = ["TEST_SIZE", "TRAIN_SIZE", "Batches", "Digits", "draw", "load"]

TEST_SIZE = 360
TRAIN_SIZE = 1797 - TEST_SIZE


class Digits(NamedTuple):
    """Images `(n, 8, 8)` in [0, 1], and their labels `(n,)`, for training and testing."""

    train_images: jax.Array
    train_labels: jax.Array
    test_images: jax.Array
    test_labels: jax.Array


class Batches(NamedTuple):
    """The batches of one epoch: `(steps, batch, 8, 8)` and `(steps, batch)`."""

    images: jax.Array
    labels: jax.Array


def load(seed: int) -> Digits:
    """Reads the images, and holds out `TEST_SIZE` of them, the same share of each digit."""
    digits = require("sklearn.datasets").load_digits()
    images = (digits.images / 16).astype(np.float32)
    parts = require("sklearn.model_selection").train_test_split(
        images,
        digits.target.astype(np.int32),
        test_size=TEST_SIZE,
        stratify=digits.target,
        random_state=seed,
    )
    train_images, test_images, train_labels, test_labels = map(jnp.asarray, parts)
    return Digits(train_images, train_labels, test_images, test_labels)


@functools.partial(jax.jit, static_argnums=2)
def draw(key: jax.Array, digits: Digits, batch_size: int) -> tuple[jax.Array, Batches]:
    """Shuffles and shifts the training images; returns the next key and the batches of an epoch."""
    key, order, shift = jax.random.split(key, 3)
    steps = TRAIN_SIZE // batch_size
    chosen = jax.random.permutation(order, TRAIN_SIZE)[: steps * batch_size]
    images = _shifted(shift, digits.train_images[chosen])
    labels = digits.train_labels[chosen]
    return key, Batches(images.reshape(steps, batch_size, 8, 8), labels.reshape(steps, batch_size))


def _shifted(key: jax.Array, images: jax.Array) -> jax.Array:
    """Moves images by a pixel: along each axis with probability 1/3, in either direction."""
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1)))
    corners = jax.random.choice(key, 3, (len(images), 2), p=jnp.array([1 / 6, 2 / 3, 1 / 6]))
    return jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, at, (8, 8)))(padded, corners)
