"""torch.optim.Rprop."""

from typing import Any

from ...algorithms.rprop import scale_by_rprop
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import pair, signed

__all__ = ["Rprop"]


@torch_class(
    kept={
        "step": Kept("scale_by_rprop", "steps"),
        "prev": Kept("scale_by_rprop", "prev"),
        "step_size": Kept("scale_by_rprop", "step_size"),
    }
)
def Rprop(
    lr: Any = 1e-2,
    etas: tuple[Any, Any] = (0.5, 1.2),
    step_sizes: tuple[Any, Any] = (1e-6, 50),
    *,
    capturable: bool = False,
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
) -> GradientTransformation:
    """torch.optim.Rprop: `scale_by_rprop`, then the step against it.

    `lr` is the first step size of a parameter; an edit counts for those without a step yet.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Rprop({"w": jnp.ones(2)}, lr=0.1)
      >>> opt.step({"w": jnp.array([1e-9, -1e9])})
      >>> opt.params
      {'w': Array([0.9, 1.1], dtype=float32)}
    """
    rprop = scale_by_rprop(lr, *pair(etas, "etas"), *pair(step_sizes, "step_sizes"))
    return chain(signed(maximize), rprop, scale(-1.0))
