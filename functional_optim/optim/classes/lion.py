"""Lion, which torch.optim does not have."""

from typing import ClassVar

from ...algorithms.lion import scale_by_lion
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import Pair, negate_if, pair

__all__ = ["Lion"]


class Lion(TorchOptimizer):
    """Lion, with the signature of the authors' torch code: see `functional_optim.lion`.

    Args:
      betas: `b1` and `b2` of `scale_by_lion`.
      See `AdamW` and `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Lion({"w": jnp.ones(2)}, lr=0.1)
      >>> opt.step({"w": jnp.array([3.0, -0.2])})
      >>> opt.params
      {'w': Array([0.9, 1.1], dtype=float32)}
    """

    entries: ClassVar = {"exp_avg": StateEntry("scale_by_lion", "mu")}

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-4,
        betas: Pair = (0.9, 0.99),
        weight_decay: ScalarOrSchedule = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `Lion`."""
        return chain(
            negate_if(options["maximize"]),
            scale_by_lion(*pair(options["betas"])),
            add_decayed_weights(options["weight_decay"]),
            scale_by_learning_rate(options["lr"]),
        )
