"""torch.optim.Adagrad."""

from typing import Any

from ...algorithms.adagrad import scale_by_rss
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import signed

__all__ = ["Adagrad"]


@torch_class(
    kept={
        "step": Kept("scale_by_rss", "steps", at_start=True),
        "sum": Kept("scale_by_rss", "sum_of_squares", at_start=True),
    }
)
def Adagrad(
    lr: Any = 1e-2,
    lr_decay: Any = 0,
    weight_decay: Any = 0,
    initial_accumulator_value: Any = 0,
    eps: Any = 1e-10,
    foreach: bool | None = None,
    *,
    maximize: bool = False,
    differentiable: bool = False,
    fused: bool | None = None,
) -> GradientTransformation:
    """torch.optim.Adagrad: an L2 penalty, `scale_by_rss` with eps outside the root, minus `lr`.

    A group may have an `initial_accumulator_value` of its own, which torch takes and leaves
    aside. Where a sum and eps are 0, the step is 0; in torch it is NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adagrad({"w": jnp.ones(1)}, lr=0.1, initial_accumulator_value=7.0)
      >>> opt.step({"w": jnp.array([3.0])})
      >>> opt.params
      {'w': Array([0.925], dtype=float32)}
    """
    return chain(
        signed(maximize),
        add_decayed_weights(weight_decay),
        scale_by_rss(initial_accumulator_value, eps, eps_in_sqrt=False, lr_decay=lr_decay),
        scale_by_learning_rate(lr),
    )
