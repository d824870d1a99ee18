"""torch.optim.ASGD."""

from typing import Any

from ...algorithms.asgd import scale_by_asgd
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import signed

__all__ = ["ASGD"]


@torch_class(
    kept={
        "step": Kept("scale_by_asgd", "steps"),
        "eta": Kept("scale_by_asgd", "eta"),
        "mu": Kept("scale_by_asgd", "mu"),
        "ax": Kept("scale_by_asgd", "ax"),
    }
)
def ASGD(
    lr: Any = 1e-2,
    lambd: Any = 1e-4,
    alpha: Any = 0.75,
    t0: Any = 1e6,
    weight_decay: Any = 0,
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
) -> GradientTransformation:
    """torch.optim.ASGD: an L2 penalty, `scale_by_asgd`, then the step against it.

    As in torch, the parameters are not replaced by their average, and an edit of `lr` takes
    effect one step late. torch keeps eta and mu in float32 whatever the parameters are.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.ASGD({"w": jnp.ones(1)}, lr=0.5, lambd=0.0, t0=0.0)
      >>> for _ in range(4):
      ...     opt.step({"w": jnp.array([-2.0])})
      >>> opt.params["w"].tolist(), opt.state_dict()["state"][0]["ax"].tolist()
      ([5.0], [4.0])
    """
    return chain(
        signed(maximize),
        add_decayed_weights(weight_decay),
        scale_by_asgd(lr, lambd, alpha, t0),
        scale(-1.0),
    )
