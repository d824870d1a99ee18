"""torch.optim.Adadelta."""

from typing import ClassVar

from ...algorithms.adadelta import scale_by_adadelta
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import negate_if

__all__ = ["Adadelta"]


class Adadelta(TorchOptimizer):
    """torch.optim.Adadelta: an L2 penalty, `scale_by_adadelta`, then a step of minus `lr`.

    Args:
      See `scale_by_adadelta` and `Adam`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adadelta({"w": jnp.zeros(1)}, rho=0.0, eps=16.0)
      >>> opt.step({"w": jnp.array([3.0])})
      >>> opt.params
      {'w': Array([-2.4], dtype=float32)}
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_adadelta", "leaf_counts"),
        "square_avg": StateEntry("scale_by_adadelta", "e_g"),
        "acc_delta": StateEntry("scale_by_adadelta", "e_x"),
    }

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1.0,
        rho: ScalarOrSchedule = 0.9,
        eps: ScalarOrSchedule = 1e-6,
        weight_decay: ScalarOrSchedule = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `Adadelta`."""
        return chain(
            negate_if(options["maximize"]),
            add_decayed_weights(options["weight_decay"]),
            scale_by_adadelta(options["rho"], options["eps"]),
            scale_by_learning_rate(options["lr"]),
        )
