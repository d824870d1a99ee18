"""Transformations and checks that several classes use."""

import jax
import jax.numpy as jnp

from ...core.decorators import leaf_rule, renamed
from ...core.protocol import GradientTransformation
from ...core.rules.arguments import Static
from ...core.rules.context import Slots, StepContext
from ...core.types import ScalarOrSchedule
from ...transforms.momentum import trace
from ...transforms.scaling import scale
from ...transforms.weight_decay import add_decayed_weights
from ..state_dict.entries import StateEntry

__all__ = [
    "Pair",
    "moments",
    "momentum_trace",
    "pair",
    "refuse_complex",
    "negate_if",
    "with_decay",
]

Array = jax.Array

Pair = tuple[ScalarOrSchedule, ScalarOrSchedule]
"""An option of two numbers, such as `betas`."""

_trace = renamed(trace, decay="momentum")


def momentum_trace(
    momentum: ScalarOrSchedule | None,
    nesterov: bool = False,
    *,
    dampening: ScalarOrSchedule = 0.0,
) -> GradientTransformation:
    """Accumulates momentum as torch does.

    The buffer starts with the first gradient, and does not change while momentum is 0. With None
    there is no buffer, and dampening has no effect.
    """
    if momentum is None:
        return _trace(None, nesterov)
    return _trace(momentum, nesterov, dampening=dampening, rest_at_zero=True)


def negate_if(maximize: bool) -> GradientTransformation:
    """Negates gradients if the loss is maximized, by a number, so that an edit compiles nothing."""
    return scale(-1.0 if maximize else 1.0)


def with_decay(
    rule: GradientTransformation, weight_decay: ScalarOrSchedule, decoupled: bool
) -> tuple[GradientTransformation, GradientTransformation]:
    """Orders a rule and weight decay: after the rule if decoupled, else before, an L2 penalty."""
    decay = add_decayed_weights(weight_decay)
    return (rule, decay) if decoupled else (decay, rule)


def moments(link: str) -> dict[str, StateEntry]:
    """Returns the entries of a link that keeps torch's two moments."""
    return {"exp_avg": StateEntry(link, "mu"), "exp_avg_sq": StateEntry(link, "nu")}


@leaf_rule(split_complex=False)
def refuse_complex(
    g: Array, slots: Slots, p: None, ctx: StepContext, owner: Static[str]
) -> tuple[Array, dict[str, Array]]:
    """Raises RuntimeError for complex updates; real updates pass unchanged."""
    del slots, p, ctx
    if jnp.iscomplexobj(g):
        raise RuntimeError(f"{owner} does not support complex parameters. Pass real ones.")
    return g, {}


def pair(value: Pair, name: str = "betas") -> Pair:
    """Checks that an option is two numbers, and returns it."""
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be a pair of numbers, got {value!r}. Pass a tuple of two.")
    if len(value) != 2:
        raise ValueError(f"{name} must be two numbers, got {len(value)}. Pass a tuple of two.")
    return value
