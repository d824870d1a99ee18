"""Smooth approximations of functions: their expectations under noise on the arguments."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.precision import compute_dtype
from ..core.numerics.validation import as_count, check_number
from ..core.protocol import PyTree
from ..tree.making import random_like
from .noise import Gumbel, Noise

__all__ = ["make_perturbed_fun"]

Array = jax.Array


def make_perturbed_fun(
    fun: Callable[[PyTree], PyTree],
    num_samples: int = 1000,
    sigma: ArrayLike = 0.1,
    noise: Noise = Gumbel(),  # noqa: B008, which has no state
    use_baseline: bool = True,
) -> Callable[[Array, PyTree], PyTree]:
    """Makes a differentiable estimate of a function: the mean of its values at perturbed arguments.

        f_sigma(x) = E[fun(x + sigma z)],    z from `noise`

    The result estimates f_sigma and its derivatives of any order, and evaluates `fun` without
    differentiating it: the value of a sample is weighted by exp(log p - stop_gradient(log p)),
    which is 1 and has the derivatives of the density. With the baseline, fun(x) is subtracted from
    the values in derivatives, which does not change their expectation, and lowers their variance.

    The samples are computed in one `vmap`, which takes `num_samples` times the memory of `fun`.
    Noise, densities and means are computed in float32 at least; `fun` gets the dtypes of x.

    Args:
      fun: takes a tree of real arrays, and returns a tree of real arrays.
      num_samples: number of samples in the mean.
      sigma: `()`, the scale of the noise, in units of x.
      noise: has `sample(key, shape, dtype)` and `log_prob(z)`; `Gumbel()` or `Normal()`.
      use_baseline: whether to subtract fun(x) in derivatives.

    Returns:
      A function of a random key and the argument of fun.

    Raises:
      TypeError: num_samples is not an integer.
      ValueError: num_samples is less than 1, or sigma a number that is not positive.

    Example:
      >>> from functional_optim.perturbations import Normal
      >>> step = lambda x: jnp.where(x > 0, 1.0, 0.0)
      >>> smooth = make_perturbed_fun(step, 4000, 0.5, Normal())
      >>> slope = jax.grad(smooth, argnums=1)(jax.random.key(0), jnp.array(0.0))
      >>> print(round(float(slope), 1))  # the density of z at 0, divided by sigma
      0.8

    Reference: Berthet et al., Learning with differentiable perturbed optimizers, NeurIPS 2020,
    arXiv:2002.08676; Foerster et al., DiCE: the infinitely differentiable Monte Carlo estimator,
    ICML 2018, equation 8, arXiv:1802.05098.
    """
    as_count(num_samples, "make_perturbed_fun: num_samples")
    check_number(sigma, "make_perturbed_fun: sigma", "(0, inf)")

    def perturbed(key: Array, x: PyTree) -> PyTree:
        wide = jax.tree.map(_wide, x)
        baseline = jax.tree.map(_wide, fun(jax.lax.stop_gradient(x))) if use_baseline else None

        def value(key: Array) -> PyTree:
            """Returns one weighted value of fun at a perturbed argument."""
            z = random_like(key, wide, noise.sample)
            moved = jax.tree.map(lambda p, q: p + _scalar(sigma, p) * q, wide, z)
            moved = jax.tree.map(lambda p, q: q.astype(jnp.result_type(p)), x, moved)
            moved = jax.lax.stop_gradient(moved)
            # The noise as a function of x at the fixed sample, so that the density has derivatives.
            z = jax.tree.map(lambda p, q: (_wide(q) - p) / _scalar(sigma, p), wide, moved)
            log_p = _total(jax.tree.map(noise.log_prob, z))
            weight = jnp.exp(log_p - jax.lax.stop_gradient(log_p))
            values = jax.tree.map(lambda y: _scalar(weight, _wide(y)) * _wide(y), fun(moved))
            if baseline is None:
                return values
            complement = 1.0 - weight
            return jax.tree.map(lambda y, b: y + _scalar(complement, b) * b, values, baseline)

        values = jax.vmap(value)(jax.random.split(key, num_samples))
        return jax.tree.map(lambda y: jnp.mean(y, axis=0), values)

    return perturbed


def _wide(x: ArrayLike) -> Array:
    """Casts an array to the dtype of the computation; integers and booleans become floats."""
    array = jnp.asarray(x)
    is_real = jnp.issubdtype(array.dtype, jnp.floating)
    return array.astype(compute_dtype(array.dtype) if is_real else float)


def _scalar(value: ArrayLike, like: Array) -> Array:
    return jnp.asarray(value).astype(like.dtype)


def _total(tree: PyTree) -> Array:
    """Returns the sum of all elements, in the dtype of the first leaf."""
    sums = [jnp.sum(x) for x in jax.tree.leaves(tree)]
    return sum((x.astype(sums[0].dtype) for x in sums[1:]), sums[0])
