"""torch.optim.NAdam."""

from typing import Any

from ...algorithms.adam import scale_by_adam
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import moments, pair, signed, with_decay

__all__ = ["NAdam"]


@torch_class(
    kept={
        "step": Kept("scale_by_adam", "steps"),
        "mu_product": Kept("scale_by_adam", "mu_product"),
        **moments("scale_by_adam"),
    }
)
def NAdam(
    lr: Any = 2e-3,
    betas: tuple[Any, Any] = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 0,
    momentum_decay: Any = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    foreach: bool | None = None,
    maximize: bool = False,
    capturable: bool = False,
    differentiable: bool = False,
) -> GradientTransformation:
    """torch.optim.NAdam: `scale_by_adam` with a look ahead by schedule, then minus `lr`.

    Weight decay is an L2 penalty, or decoupled with `decoupled_weight_decay`. `mu_product` is
    kept in the precision of the hyperparameters; torch keeps it in its default dtype, float32,
    whatever the parameters.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.NAdam({"w": jnp.ones(1)}, lr=0.5, betas=(0.5, 0.999), momentum_decay=0)
      >>> opt.step({"w": jnp.array([3.0])})
      >>> round(float(opt.params["w"][0]), 4)
      0.4333
    """
    nadam = scale_by_adam(*pair(betas), eps=eps, nesterov=True, momentum_decay=momentum_decay)
    links = with_decay(nadam, weight_decay, decoupled_weight_decay)
    return chain(signed(maximize), *links, scale_by_learning_rate(lr))
