"""torch.optim.RAdam."""

from typing import ClassVar

from ...algorithms.radam import scale_by_radam
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import Pair, moments, negate_if, pair, with_decay

__all__ = ["RAdam"]


class RAdam(TorchOptimizer):
    """torch.optim.RAdam: `scale_by_radam` with eps before the correction, then minus `lr`.

    Weight decay is an L2 penalty, or decoupled with `decoupled_weight_decay`.

    Args:
      See `Adam`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.RAdam({"w": jnp.ones(2)}, lr=0.5)
      >>> opt.step({"w": jnp.array([3.0, -1.0])})
      >>> opt.params["w"].round(4).tolist()
      [-0.5, 1.5]
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_radam", "leaf_counts"),
        **moments("scale_by_radam"),
    }

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-3,
        betas: Pair = (0.9, 0.999),
        eps: ScalarOrSchedule = 1e-8,
        weight_decay: ScalarOrSchedule = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `RAdam`."""
        radam = scale_by_radam(
            *pair(options["betas"]), eps=options["eps"], eps_before_correction=True
        )
        links = with_decay(radam, options["weight_decay"], options["decoupled_weight_decay"])
        return chain(negate_if(options["maximize"]), *links, scale_by_learning_rate(options["lr"]))
