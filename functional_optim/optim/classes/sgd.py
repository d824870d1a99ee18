"""torch.optim.SGD."""

from collections.abc import Mapping
from typing import Any

from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.densify import densify
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import momentum_trace, signed

__all__ = ["SGD"]


def _check_nesterov(options: Mapping[str, Any]) -> None:
    momentum, dampening = options["momentum"], options["dampening"]
    if options["nesterov"] and (not momentum or dampening):
        raise ValueError(
            "SGD: Nesterov momentum requires a momentum and zero dampening, got "
            f"momentum={momentum}, dampening={dampening}. Pass momentum=0.9, for example."
        )


@torch_class(
    kept={"momentum_buffer": Kept("trace", "trace")},
    optional={"momentum": "momentum_buffer"},
    check=_check_nesterov,
)
def SGD(
    lr: Any = 1e-3,
    momentum: Any = 0,
    dampening: Any = 0,
    weight_decay: Any = 0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
    foreach: bool | None = None,
    differentiable: bool = False,
    fused: bool | None = None,
) -> GradientTransformation:
    """torch.optim.SGD: `add_decayed_weights`, `trace`, then a step of minus `lr`.

    With weight decay as an L2 penalty; see `functional_optim.sgd` for the maths. A group
    keeps no momentum buffer until its `momentum` is first not zero.

    A sparse gradient, as `row_sparse` makes it, moves its rows alone, and weight decay pulls
    these rows alone; torch refuses weight decay then. Under momentum it is made dense, for all
    rows go on moving, as in torch: the step costs what the table costs.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.SGD({"w": jnp.ones(2)}, lr=0.5, momentum=0.9)
      >>> opt.step({"w": jnp.ones(2)})
      >>> opt.params
      {'w': Array([0.5, 0.5], dtype=float32)}
    """
    dense = () if momentum is None else (densify(),)
    return chain(
        *dense,
        signed(maximize),
        add_decayed_weights(weight_decay),
        momentum_trace(momentum, nesterov, dampening=0.0 if momentum is None else dampening),
        scale_by_learning_rate(lr),
    )
