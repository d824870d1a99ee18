"""torch.optim.NAdam."""

from typing import Any

from ...algorithms.adam import scale_by_adam
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import pair, signed

__all__ = ["NAdam"]


@torch_class(
    kept={
        "step": Kept("scale_by_adam", "steps"),
        "mu_product": Kept("scale_by_adam", "mu_product"),
        "exp_avg": Kept("scale_by_adam", "mu", ("b1", lambda group: group["betas"][0])),
        "exp_avg_sq": Kept("scale_by_adam", "nu", ("b2", lambda group: group["betas"][1])),
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
    decay = add_decayed_weights(weight_decay)
    nadam = scale_by_adam(*pair(betas), eps=eps, nesterov=True, momentum_decay=momentum_decay)
    middle = (nadam, decay) if decoupled_weight_decay else (decay, nadam)
    return chain(signed(maximize), *middle, scale_by_learning_rate(lr))
