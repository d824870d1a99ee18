"""torch.optim.NAdam."""

from typing import ClassVar

from ...algorithms.adam import scale_by_adam
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import Pair, moments, negate_if, pair, with_decay

__all__ = ["NAdam"]


class NAdam(TorchOptimizer):
    """torch.optim.NAdam: `scale_by_adam` with a scheduled look-ahead, then minus `lr`.

    Weight decay is an L2 penalty, or decoupled with `decoupled_weight_decay`. `mu_product` is
    kept in the precision of the hyperparameters; torch keeps it in its default dtype, float32,
    whatever the parameters.

    Args:
      See `Adam` and `scale_by_adam`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.NAdam({"w": jnp.ones(1)}, lr=0.5, betas=(0.5, 0.999), momentum_decay=0)
      >>> opt.step({"w": jnp.array([3.0])})
      >>> round(float(opt.params["w"][0]), 4)
      0.4333
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_adam", "leaf_counts"),
        "mu_product": StateEntry("scale_by_adam", "mu_product"),
        **moments("scale_by_adam"),
    }

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 2e-3,
        betas: Pair = (0.9, 0.999),
        eps: ScalarOrSchedule = 1e-8,
        weight_decay: ScalarOrSchedule = 0,
        momentum_decay: ScalarOrSchedule = 4e-3,
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
        """Composes the links of `NAdam`."""
        nadam = scale_by_adam(
            *pair(options["betas"]),
            eps=options["eps"],
            nesterov=True,
            momentum_decay=options["momentum_decay"],
        )
        links = with_decay(nadam, options["weight_decay"], options["decoupled_weight_decay"])
        return chain(negate_if(options["maximize"]), *links, scale_by_learning_rate(options["lr"]))
