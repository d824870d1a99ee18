"""What the recipes of several classes begin with."""

from typing import Any

import jax
import jax.numpy as jnp

from ...core.protocol import GradientTransformation
from ...core.rule import leaf_rule, renamed
from ...transforms.momentum import trace
from ...transforms.scaling import scale
from ...transforms.weight_decay import add_decayed_weights
from ..torch_state import Kept

__all__ = ["moments", "momentum_trace", "pair", "refuse_complex", "signed", "with_decay"]

momentum_trace = renamed(trace, decay="momentum")
"""`trace` under torch's name of its number."""


def signed(maximize: bool) -> GradientTransformation:
    """The gradient to descend along; a number, so that the option can be edited."""
    return scale(-1.0 if maximize else 1.0)


def with_decay(
    rule: GradientTransformation, weight_decay: Any, decoupled: bool
) -> tuple[GradientTransformation, GradientTransformation]:
    """A rule and weight decay: behind it where it is decoupled, else an L2 penalty before it."""
    decay = add_decayed_weights(weight_decay)
    return (rule, decay) if decoupled else (decay, rule)


def moments(link: str) -> dict[str, Kept]:
    """Where torch keeps the two moments of a link, with the option of each one's decay."""
    return {
        "exp_avg": Kept(link, "mu", ("b1", lambda group: group["betas"][0])),
        "exp_avg_sq": Kept(link, "nu", ("b2", lambda group: group["betas"][1])),
    }


@leaf_rule(parts=False, static=("who",))
def refuse_complex(
    g: jax.Array, slots: Any, p: None, now: Any, who: str
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Passes real updates on; for classes whose maths has no form for complex parameters."""
    del slots, p, now
    if jnp.iscomplexobj(g):
        raise RuntimeError(f"{who} does not support complex parameters. Pass real ones.")
    return g, {}


def pair(given: Any, name: str = "betas") -> tuple[Any, Any]:
    """An option of two numbers, checked to be two."""
    if not isinstance(given, tuple):
        raise TypeError(f"{name} must be a pair of numbers, got {given!r}. Pass a tuple of two.")
    if len(given) != 2:
        raise ValueError(f"{name} must be two numbers, got {len(given)}. Pass a tuple of two.")
    return given
