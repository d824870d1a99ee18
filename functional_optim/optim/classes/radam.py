"""torch.optim.RAdam."""

from typing import Any

from ...algorithms.radam import scale_by_radam
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import moments, pair, signed, with_decay

__all__ = ["RAdam"]


@torch_class(
    kept={
        "step": Kept("scale_by_radam", "steps"),
        **moments("scale_by_radam"),
    }
)
def RAdam(
    lr: Any = 1e-3,
    betas: tuple[Any, Any] = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 0,
    decoupled_weight_decay: bool = False,
    *,
    foreach: bool | None = None,
    maximize: bool = False,
    capturable: bool = False,
    differentiable: bool = False,
) -> GradientTransformation:
    """torch.optim.RAdam: `scale_by_radam` with eps before the correction, then minus `lr`.

    Weight decay is an L2 penalty, or decoupled with `decoupled_weight_decay`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.RAdam({"w": jnp.ones(2)}, lr=0.5)
      >>> opt.step({"w": jnp.array([3.0, -1.0])})
      >>> opt.params
      {'w': Array([-0.5,  1.5], dtype=float32)}
    """
    radam = scale_by_radam(*pair(betas), eps=eps, eps_before_correction=True)
    links = with_decay(radam, weight_decay, decoupled_weight_decay)
    return chain(signed(maximize), *links, scale_by_learning_rate(lr))
