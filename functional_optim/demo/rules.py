"""The rules that the demo knows, and the optimizer that it makes of one."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

import functional_optim as fo

__all__ = ["RULES", "RuleChoice", "make_optimizer"]


class RuleChoice(NamedTuple):
    """A rule, and the settings of it that suit the digits.

    Attributes:
      scale: makes its link.
      peak: largest learning rate of the schedule.
      weight_decay: decoupled, of the kernels.
    """

    scale: Callable[[], fo.GradientTransformation]
    peak: float
    weight_decay: float


RULES = {
    "adam": RuleChoice(fo.scale_by_adam, 4e-3, 0.0),
    "adamw": RuleChoice(fo.scale_by_adam, 4e-3, 0.1),
    "lion": RuleChoice(fo.scale_by_lion, 6e-4, 1.0),
    "rmsprop": RuleChoice(fo.scale_by_rms, 2e-3, 0.1),
    "sgd": RuleChoice(functools.partial(fo.trace, 0.9), 0.2, 1e-3),
}


def make_optimizer(rule: str, learning_rate: Any) -> fo.GradientTransformation:
    """Chains clipping, the rule, decay of the kernels, and a step of minus the learning rate."""
    choice = RULES[rule]
    return fo.chain(
        fo.clip_by_global_norm(1.0),
        choice.scale(),
        fo.add_decayed_weights(choice.weight_decay, mask=_kernels),
        fo.scale_by_learning_rate(learning_rate),
    )


def _kernels(params: Any) -> Any:
    """Makes a mask: True for kernels, False for biases."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
