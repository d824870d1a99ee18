"""Independent normal variables, by their means and the logarithms of their standard deviations."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["MultiNormalDiagFromLogScale", "multi_normal"]

Array = jax.Array


class MultiNormalDiagFromLogScale:
    """A normal distribution with a diagonal covariance; made by `multi_normal`."""

    def __init__(self, loc: Any, log_scale: Any):
        self._loc, self._log_scale = jnp.asarray(loc), jnp.asarray(log_scale)
        self._param_shape = jnp.broadcast_shapes(self._loc.shape, self._log_scale.shape)
        self._dtype = jnp.result_type(self._loc, self._log_scale)

    @property
    def log_scale(self) -> Array:
        """The logarithms of the standard deviations."""
        return self._log_scale

    @property
    def params(self) -> Sequence[Array]:
        """The means and `log_scale`."""
        return [self._loc, self._log_scale]

    def sample(self, shape: Sequence[int], key: Any) -> Array:
        """Draws samples, `(*shape, *p)`, which are differentiable by both parameters."""
        noise = jax.random.normal(key, (*shape, *self._param_shape), self._dtype)
        loc, log_scale = self._broadcast(noise.shape)
        return noise * jnp.exp(log_scale) + loc

    def log_prob(self, x: Any) -> Array:
        """Computes the logarithm of the density `(*shape,)` at points `(*shape, *p)`."""
        x = jnp.asarray(x)
        shape = jnp.broadcast_shapes(x.shape, self._param_shape)
        loc, log_scale = self._broadcast(shape)
        z = (jnp.broadcast_to(x, shape) - loc) * jnp.exp(-log_scale)
        log_densities = -0.5 * (jnp.square(z) + math.log(2 * math.pi)) - log_scale
        return jnp.sum(log_densities, axis=tuple(range(-len(self._param_shape), 0)))

    def _broadcast(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Broadcasts the parameters to points of a shape."""
        return jnp.broadcast_to(self._loc, shape), jnp.broadcast_to(self._log_scale, shape)


def multi_normal(loc: Any, log_scale: Any) -> MultiNormalDiagFromLogScale:
    """Makes a normal distribution of independent variables, for estimators of gradients.

    Args:
      loc: the means, of shape `*p` or one that broadcasts to it.
      log_scale: the logarithms of the standard deviations, of shape `*p` or one that broadcasts to
        it.

    Returns:
      An object with `sample(shape, key)`, `log_prob(x)`, `params` and `log_scale`.

    Example:
      >>> import functional_optim as fo
      >>> normal = fo.multi_normal(jnp.zeros(2), jnp.zeros(2))
      >>> print(normal.sample((3,), jax.random.key(0)).shape)
      (3, 2)
      >>> print(f"{normal.log_prob(jnp.zeros(2)):.4f}")
      -1.8379
    """
    return MultiNormalDiagFromLogScale(loc, log_scale)
