"""torch.optim.Adamax."""

from typing import ClassVar

from ...algorithms.adamax import scale_by_adamax
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import Pair, negate_if, pair

__all__ = ["Adamax"]


class Adamax(TorchOptimizer):
    """torch.optim.Adamax: `add_decayed_weights`, `scale_by_adamax`, then a step of minus `lr`.

    Args:
      See `scale_by_adamax` and `Adam`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adamax({"w": jnp.ones(2)}, lr=0.5)
      >>> opt.step({"w": jnp.array([3.0, -0.1])})
      >>> opt.params["w"].round(4).tolist()
      [0.5, 1.5]
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_adamax", "leaf_counts"),
        "exp_avg": StateEntry("scale_by_adamax", "mu"),
        "exp_inf": StateEntry("scale_by_adamax", "nu"),
    }

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 2e-3,
        betas: Pair = (0.9, 0.999),
        eps: ScalarOrSchedule = 1e-8,
        weight_decay: ScalarOrSchedule = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `Adamax`."""
        return chain(
            negate_if(options["maximize"]),
            add_decayed_weights(options["weight_decay"]),
            scale_by_adamax(*pair(options["betas"]), eps=options["eps"]),
            scale_by_learning_rate(options["lr"]),
        )
