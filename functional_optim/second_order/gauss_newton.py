"""The Gauss-Newton-Bartlett estimate of a Hessian's diagonal, as a transformation."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from ..core.caching import Interned
from ..core.numerics.precision import compute_dtype, safe_increment
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.rng_keys import as_key, key_at
from ..core.state import State
from .hutchinson import EstimatorInit

__all__ = ["gauss_newton_bartlett_estimator"]

_NAME = "gauss_newton_bartlett_estimator"


def gauss_newton_bartlett_estimator(random_seed: Any = 0) -> GradientTransformation:
    """Replaces updates by an estimate of the diagonal of the Gauss-Newton matrix of a classifier.

    With B examples, and a label y_i for each that is drawn from the model's prediction:

        estimate = B g^2,    g the gradient of mean_i -log p(y_i)

    Its expectation is the diagonal of the Gauss-Newton matrix of the mean cross-entropy, which is
    not negative, and differs from the Hessian's diagonal only by the curvature of the network
    itself. It costs one gradient. `update` must be given params and `logits_fn(params) ->
    (*examples, classes)`. The labels are a function of the key and the number of updates.

    Args:
      random_seed: an integer, or a key of `jax.random.key`.

    Raises:
      TypeError: random_seed is neither.
      ValueError: `update` is called without params or logits_fn, or there are no logits.

    Example:
      >>> from functional_optim.second_order import gauss_newton_bartlett_estimator
      >>> tx, params = gauss_newton_bartlett_estimator(), {"b": jnp.zeros(2)}
      >>> logits = lambda p: p["b"][None]  # one example, of two classes that are equally likely
      >>> tx.update(params, tx.init(params), params, logits_fn=logits)[0]
      {'b': Array([0.25, 0.25], dtype=float32)}

    Reference: Liu et al., Sophia: a scalable stochastic second-order optimizer for language model
    pre-training, ICLR 2024, Algorithm 2, arXiv:2305.14342.
    """
    key = as_key(random_seed, f"{_NAME}: random_seed")
    return GradientTransformation(EstimatorInit(_NAME, key), _Update.of(key.generator))


@dataclasses.dataclass(frozen=True)
class _Update(Interned):
    """`update` of the estimator."""

    generator: str | None

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Draws labels, and squares the gradient of their loss."""
        del updates
        logits_fn = extra.get("logits_fn")
        if params is None or logits_fn is None:
            raise ValueError(
                f"{_NAME}: update needs params and logits_fn. Call update(updates, state, params, "
                "logits_fn=...), with a function of the parameters."
            )
        key = key_at(state.keys["random_seed"], self.generator, state.count)
        shape = jax.eval_shape(logits_fn, params).shape
        if not shape:
            raise ValueError(
                f"{_NAME}: logits_fn returned a scalar. Return logits, with the classes along the "
                "last axis."
            )

        def sampled_loss(p: PyTree) -> jax.Array:
            logits = logits_fn(p)
            logits = logits.astype(compute_dtype(logits.dtype))
            labels = jax.random.categorical(key, jax.lax.stop_gradient(logits))
            log_p = jax.nn.log_softmax(logits)
            return -jnp.mean(jnp.take_along_axis(log_p, labels[..., None], axis=-1))

        examples = float(math.prod(shape[:-1]))
        grads = jax.grad(sampled_loss)(jax.tree.map(jnp.asarray, params))
        estimate = jax.tree.map(lambda g: _squared(g, examples), grads)
        return estimate, state._replace(count=safe_increment(state.count))


def _squared(g: jax.Array, examples: float) -> jax.Array:
    """Computes `examples * g^2` in float32 at least; scales g first, because g^2 may underflow."""
    wide = g.astype(compute_dtype(g.dtype))
    return jnp.square(wide * examples**0.5)
