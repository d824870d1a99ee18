"""The momentum of a group, which cycles against the learning rate."""

from typing import Any

from ..optimizer import Optimizer
from ..param_group import ParamGroup

__all__ = ["has_betas", "put_momentum"]


def has_betas(name: str, optimizer: Optimizer) -> bool:
    """Whether the momentum of an optimizer is the first of its betas.

    Raises:
      ValueError: it has neither betas nor a momentum.
    """
    if "betas" not in optimizer.defaults and "momentum" not in optimizer.defaults:
        raise ValueError(
            f"{name}: optimizer must support momentum or beta1 with `cycle_momentum` option "
            f"enabled, got {type(optimizer).__name__}. Pass cycle_momentum=False."
        )
    return "betas" in optimizer.defaults


def put_momentum(group: ParamGroup, betas: bool, value: Any) -> None:
    """Sets the momentum of a group."""
    if betas:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value
