"""Lion, which torch.optim does not have."""

from typing import Any

from ...algorithms.lion import scale_by_lion
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import pair, signed

__all__ = ["Lion"]


@torch_class(kept={"exp_avg": Kept("scale_by_lion", "mu")})
def Lion(
    lr: Any = 1e-4,
    betas: tuple[Any, Any] = (0.9, 0.99),
    weight_decay: Any = 0.0,
    *,
    maximize: bool = False,
    foreach: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
) -> GradientTransformation:
    """Lion, with the signature of the authors' torch code: see `functional_optim.lion`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Lion({"w": jnp.ones(2)}, lr=0.1)
      >>> opt.step({"w": jnp.array([3.0, -0.2])})
      >>> opt.params
      {'w': Array([0.9, 1.1], dtype=float32)}
    """
    return chain(
        signed(maximize),
        scale_by_lion(*pair(betas)),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(lr),
    )
