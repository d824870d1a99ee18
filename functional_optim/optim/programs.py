"""The compiled programs of the stateful interface; optimizers of one structure share them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.apply import apply_updates
from ..core.protocol import PyTree
from .groups import Layout

__all__ = ["accumulate", "backward_program", "minimize_program", "step_program"]

Updates = tuple[Callable[..., Any], ...]
"""The `update` of each group."""


def _step(
    updates: Updates, params: list[PyTree], states: list[PyTree], grads: list[PyTree]
) -> tuple[list[PyTree], list[PyTree]]:
    """One update of all groups."""
    new_params, new_states = [], []
    for update, p, s, g in zip(updates, params, states, grads, strict=True):
        # jax.grad gives the conjugate of the direction of steepest ascent, torch's .grad.
        u, s = update(jax.tree.map(_conjugate, g), s, p)
        new_params.append(apply_updates(p, u))
        new_states.append(s)
    return new_params, new_states


def _conjugate(g: Any) -> Any:
    return jnp.conj(g) if jnp.iscomplexobj(g) else g


@functools.lru_cache(maxsize=256)
def step_program(updates: Updates, donate: bool) -> Callable[..., Any]:
    """`(params, states, grads) -> (params, states)`, lists with one entry for each group."""

    def optimizer_step(params: Any, states: Any, grads: Any) -> Any:
        return _step(updates, params, states, grads)

    return jax.jit(optimizer_step, donate_argnums=(0, 1) if donate else ())


def _value_and_grad(
    loss_fn: Callable[..., Any], layout: Layout, has_aux: bool
) -> Callable[..., Any]:
    def loss(groups: list[PyTree], args: Any, kwargs: Any) -> Any:
        return loss_fn(layout.join(groups), *args, **kwargs)

    return jax.value_and_grad(loss, has_aux=has_aux)


@functools.lru_cache(maxsize=256)
def backward_program(
    loss_fn: Callable[..., Any], layout: Layout, has_aux: bool
) -> Callable[..., Any]:
    """`(params, args, kwargs) -> (value, grads)`."""
    return jax.jit(_value_and_grad(loss_fn, layout, has_aux))


@functools.lru_cache(maxsize=256)
def minimize_program(
    loss_fn: Callable[..., Any], layout: Layout, has_aux: bool, updates: Updates, donate: bool
) -> Callable[..., Any]:
    """`(params, states, args, kwargs) -> (value, params, states)`: one dispatch for a step."""
    value_and_grad = _value_and_grad(loss_fn, layout, has_aux)

    def optimizer_minimize(params: Any, states: Any, args: Any, kwargs: Any) -> Any:
        value, grads = value_and_grad(params, args, kwargs)
        return (value, *_step(updates, params, states, grads))

    return jax.jit(optimizer_minimize, donate_argnums=(0, 1) if donate else ())


@jax.jit
def accumulate(total: PyTree, grads: PyTree) -> PyTree:
    """Adds gradients; where one of them is None, the other stands."""
    return jax.tree.map(
        lambda a, b: b if a is None else a if b is None else a + b,
        total,
        grads,
        is_leaf=lambda x: x is None,
    )
