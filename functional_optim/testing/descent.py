"""Checks that an optimizer minimizes a quadratic, and Rosenbrock's function."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from ..core.adapter import ExtraArgsAdapter, check_pair
from ..core.protocol import GradientTransformation, PyTree
from ..core.trees.apply import apply_updates
from .failure import error_context

__all__ = ["check_quadratic", "check_rosenbrock"]

Carry: TypeAlias = tuple[PyTree, PyTree]  # parameters and state

ADVICE = "Allow more steps, or another learning rate; if neither helps, check its sign."


def check_quadratic(tx: GradientTransformation, *, steps: int = 200, factor: float = 0.1) -> None:
    """Checks that training lowers a quadratic of 10 dimensions, with curvatures from 1 to 10.

    The update also receives `value`, `grad` and `value_fn` if it takes them.

    Args:
      tx: an optimizer, with a learning rate that suits this problem.
      steps: number of steps.
      factor: the fraction of the first loss that must be reached.

    Example:
      >>> from functional_optim import sgd
      >>> check_quadratic(sgd(0.1), steps=50)
    """
    curvatures = jnp.linspace(1.0, 10.0, 10)

    def loss(params: PyTree) -> jax.Array:
        return 0.5 * jnp.sum(curvatures * jnp.square(params["x"]))

    _descend("quadratic", tx, loss, {"x": jnp.ones(10)}, steps, factor)


def check_rosenbrock(
    tx: GradientTransformation, *, steps: int = 2000, factor: float = 0.01
) -> None:
    """Checks that training lowers Rosenbrock's function from (-1.2, 1), where it is 24.2.

    Args:
      tx: an optimizer.
      steps: number of steps.
      factor: the fraction of the first loss that must be reached. At 0.17 the optimizer is at the
        start of the curved valley, along which the loss decreases slowly.

    Example:
      >>> from functional_optim import adam
      >>> check_rosenbrock(adam(0.02))

    Reference: H. H. Rosenbrock, An Automatic Method for Finding the Greatest or Least Value
      of a Function, The Computer Journal 3 (1960).
    """

    def loss(params: PyTree) -> jax.Array:
        x, y = params["x"], params["y"]
        return 100.0 * jnp.square(y - jnp.square(x)) + jnp.square(1.0 - x)

    start = {"x": jnp.float32(-1.2), "y": jnp.float32(1.0)}
    _descend("rosenbrock", tx, loss, start, steps, factor)


def _descend(
    check: str,
    tx: GradientTransformation,
    loss: Callable[[PyTree], jax.Array],
    params: PyTree,
    steps: int,
    factor: float,
) -> None:
    """Trains in one scan, and compares the last loss with the first."""
    init, update = check_pair(f"check_{check}: tx", tx)
    adapted_update = ExtraArgsAdapter.to(update)

    def body(carry: Carry, _: None) -> tuple[Carry, None]:
        params, state = carry
        value, grad = jax.value_and_grad(loss)(params)
        # The adapter drops the arguments that the update does not take.
        extra = {"value": value, "grad": grad, "value_fn": loss}
        updates, state = adapted_update(grad, state, params, extra)
        return (apply_updates(params, updates), state), None

    with error_context(check, "", ADVICE):
        start = (params, init(params))
        (last, _), _ = jax.jit(lambda carry: jax.lax.scan(body, carry, length=steps))(start)
        before, after = float(loss(params)), float(loss(last))
        assert after <= factor * before, (
            f"{steps} steps went from {before:.3g} to {after:.3g}, not to {factor * before:.3g}."
        )
