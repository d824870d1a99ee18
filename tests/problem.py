"""A small problem that most tests share: two leaves, random gradients, a training loop."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import functional_optim as fo

from .compiling import USUAL

ROUNDED_ONCE = {"xla_backend_optimization_level": 3}
"""Has a product and a sum rounded once, as for users; but compiles by the emitters of the tests."""

SHAPES = {"b": (4,), "w": (3, 4)}


def arrays(dtype: Any = np.float32, seed: int = 0) -> dict[str, Any]:
    """Draws normal numbers in the shapes of the parameters, as JAX arrays."""
    return jax.tree.map(lambda x: jax.numpy.asarray(x, dtype), normal(dtype, seed))


def normal(dtype: Any, seed: int, leading: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """Draws normal numbers of float64, complex where `dtype` is."""
    rng = np.random.default_rng(seed)
    complex_ = jax.numpy.issubdtype(dtype, np.complexfloating)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        x = rng.standard_normal(leading + shape)
        return x + 1j * rng.standard_normal(leading + shape) if complex_ else x

    return {k: draw(shape) for k, shape in SHAPES.items()}


def step_of(tx: Any) -> Callable[..., Any]:
    """Returns one training step: `(params, state, grads) -> (params, state)`."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return fo.apply_updates(params, updates), state

    return step


def train(tx: Any, params: Any, grads: Any, usual: bool = False) -> tuple[Any, Any, Any]:
    """Trains in one scan over stacked gradients, optimized, or compiled in all as for users.

    Returns parameters, state and all updates.
    """

    (params, state), updates = _scan(tx.update, usual)((params, tx.init(params)), grads)
    return params, state, updates


@functools.lru_cache(4)
def _scan(update: Callable[..., Any], usual: bool) -> Callable[..., Any]:
    """Compiles once for transformations that differ in numbers alone, as those of one factory."""

    def body(carry: Any, g: Any) -> Any:
        updates, state = update(g, carry[1], carry[0])
        return (fo.apply_updates(carry[0], updates), state), updates

    options = USUAL if usual else ROUNDED_ONCE
    return jax.jit(lambda carry, g: jax.lax.scan(body, carry, g), compiler_options=options)
