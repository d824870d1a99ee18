"""torch.optim.Adamax."""

from typing import Any

from ...algorithms.adamax import scale_by_adamax
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import pair, signed

__all__ = ["Adamax"]


@torch_class(
    kept={
        "step": Kept("scale_by_adamax", "steps"),
        "exp_avg": Kept("scale_by_adamax", "mu", ("b1", lambda group: group["betas"][0])),
        "exp_inf": Kept("scale_by_adamax", "nu"),
    }
)
def Adamax(
    lr: Any = 2e-3,
    betas: tuple[Any, Any] = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 0,
    foreach: bool | None = None,
    *,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
) -> GradientTransformation:
    """torch.optim.Adamax: `add_decayed_weights`, `scale_by_adamax`, then a step of minus `lr`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adamax({"w": jnp.ones(2)}, lr=0.5)
      >>> opt.step({"w": jnp.array([3.0, -0.1])})
      >>> opt.params["w"].round(4).tolist()
      [0.5, 1.5]
    """
    return chain(
        signed(maximize),
        add_decayed_weights(weight_decay),
        scale_by_adamax(*pair(betas), eps=eps),
        scale_by_learning_rate(lr),
    )
