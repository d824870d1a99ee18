"""torch.optim.RMSprop."""

from typing import Any

from ...algorithms.rmsprop import scale_by_rms
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import momentum_trace, signed

__all__ = ["RMSprop"]


@torch_class(
    kept={
        "step": Kept("scale_by_rms", "steps"),
        "square_avg": Kept("scale_by_rms", "nu"),
        "momentum_buffer": Kept("trace", "trace"),
        "grad_avg": Kept("scale_by_rms", "mu"),
    },
    optional={"momentum": "momentum_buffer"},
)
def RMSprop(
    lr: Any = 1e-2,
    alpha: Any = 0.99,
    eps: Any = 1e-8,
    weight_decay: Any = 0,
    momentum: Any = 0,
    centered: bool = False,
    capturable: bool = False,
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
) -> GradientTransformation:
    """torch.optim.RMSprop: `scale_by_rms` with eps outside the root, `trace`, minus `lr`.

    A centred variance that rounding makes negative counts as 0; in torch it gives NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.RMSprop({"w": jnp.ones(1)}, lr=0.1, alpha=0.75)
      >>> opt.step({"w": jnp.array([3.0])})
      >>> opt.params
      {'w': Array([0.8], dtype=float32)}
    """
    return chain(
        signed(maximize),
        add_decayed_weights(weight_decay),
        scale_by_rms(alpha, eps, eps_in_sqrt=False, centered=centered),
        momentum_trace(momentum),
        scale_by_learning_rate(lr),
    )
