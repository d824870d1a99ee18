"""torch.optim.Adadelta."""

from typing import Any

from ...algorithms.adadelta import scale_by_adadelta
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import signed

__all__ = ["Adadelta"]


@torch_class(
    kept={
        "step": Kept("scale_by_adadelta", "steps"),
        "square_avg": Kept("scale_by_adadelta", "e_g"),
        "acc_delta": Kept("scale_by_adadelta", "e_x"),
    }
)
def Adadelta(
    lr: Any = 1.0,
    rho: Any = 0.9,
    eps: Any = 1e-6,
    weight_decay: Any = 0,
    foreach: bool | None = None,
    *,
    capturable: bool = False,
    maximize: bool = False,
    differentiable: bool = False,
) -> GradientTransformation:
    """torch.optim.Adadelta: an L2 penalty, `scale_by_adadelta`, then a step of minus `lr`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adadelta({"w": jnp.zeros(1)}, rho=0.0, eps=16.0)
      >>> opt.step({"w": jnp.array([3.0])})
      >>> opt.params
      {'w': Array([-2.4], dtype=float32)}
    """
    return chain(
        signed(maximize),
        add_decayed_weights(weight_decay),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(lr),
    )
