"""torch.optim.RAdam."""

from typing import Any

from ...algorithms.radam import scale_by_radam
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import pair, signed

__all__ = ["RAdam"]


@torch_class(
    kept={
        "step": Kept("scale_by_radam", "steps"),
        "exp_avg": Kept("scale_by_radam", "mu", ("b1", lambda group: group["betas"][0])),
        "exp_avg_sq": Kept("scale_by_radam", "nu", ("b2", lambda group: group["betas"][1])),
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
    decay = add_decayed_weights(weight_decay)
    radam = scale_by_radam(*pair(betas), eps=eps, eps_before_correction=True)
    middle = (radam, decay) if decoupled_weight_decay else (decay, radam)
    return chain(signed(maximize), *middle, scale_by_learning_rate(lr))
