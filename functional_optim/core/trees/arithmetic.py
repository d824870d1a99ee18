"""Trees as vectors of real numbers, in which a complex element counts as two."""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..numerics.precision import real_dtype
from ..numerics.validation import as_state
from ..protocol import PyTree
from .placement import sharded_as

__all__ = ["add_scaled", "choose", "dot", "largest", "scaled", "sum_of_magnitudes"]

Array = jax.Array


def dot(a: PyTree, b: PyTree) -> Array:
    """Computes the inner product `()`, in the precision of hyperparameters.

    It is not `jnp.vdot`, which accelerators compute with fewer digits than their arrays have.
    """

    def leaf(x: Array, y: Array) -> Array:
        if not jnp.iscomplexobj(x):
            return as_state(jnp.sum(x * y))
        # The product of the (re, im) pairs, which is the real part of conj(x) y.
        return as_state(jnp.sum(x.real * y.real + x.imag * y.imag))

    return _over_leaves(operator.add, jax.tree.map(leaf, a, b))


def largest(x: PyTree) -> Array:
    """Returns the largest magnitude `()` of a component.

    It is 0 if there are no components, and NaN if a component is NaN.
    """
    return _over_leaves(
        jnp.maximum,
        jax.tree.map(lambda a: as_state(_reduce_magnitudes(jnp.max, a, initial=0.0)), x),
    )


def sum_of_magnitudes(x: PyTree) -> Array:
    """Sums the magnitudes of all components, `()`."""
    return _over_leaves(
        operator.add, jax.tree.map(lambda a: as_state(_reduce_magnitudes(jnp.sum, a)), x)
    )


def _reduce_magnitudes(reduce: Callable[..., Array], x: Array, **options: float) -> Array:
    """Reduces the magnitudes of an array's components; a complex element has two components."""
    parts = (x.real, x.imag) if jnp.iscomplexobj(x) else (x,)
    return reduce(jnp.stack([reduce(jnp.abs(part), **options) for part in parts]), **options)


def _over_leaves(combine: Callable[[Array, Array], Array], tree: PyTree) -> Array:
    return functools.reduce(combine, jax.tree.leaves(tree), as_state(0.0))


def scaled(t: Array, x: PyTree) -> PyTree:
    """Computes t x."""
    return jax.tree.map(functools.partial(_times, t), x)


def add_scaled(x: PyTree, t: Array, d: PyTree) -> PyTree:
    """Computes x + t d."""
    return jax.tree.map(lambda a, b: a + _times(t, b), x, d)


def _times(t: Array, x: Array) -> Array:
    # By parts, because strict promotion forbids the product of a real and a complex array.
    t = t.astype(real_dtype(x.dtype))
    return jax.lax.complex(t * x.real, t * x.imag) if jnp.iscomplexobj(x) else t * x


def choose(condition: Array, a: PyTree, b: PyTree) -> PyTree:
    """Returns `a` where the condition `()` is true, else `b`; sharded as `b`."""
    return jax.tree.map(lambda x, y: jnp.where(condition, sharded_as(x, y), y), a, b)
