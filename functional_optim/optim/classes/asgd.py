"""torch.optim.ASGD."""

from typing import ClassVar

from ...algorithms.asgd import scale_by_asgd
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale
from ...transforms.weight_decay import add_decayed_weights
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import negate_if

__all__ = ["ASGD"]


class ASGD(TorchOptimizer):
    """torch.optim.ASGD: an L2 penalty, `scale_by_asgd`, then the step against it.

    As in torch, the parameters are not replaced by their average, and an edit of `lr` takes
    effect one step late. torch keeps eta and mu in float32 for parameters of any dtype.

    Args:
      See `scale_by_asgd` and `Adam`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.ASGD({"w": jnp.ones(1)}, lr=0.5, lambd=0.0, t0=0.0)
      >>> for _ in range(4):
      ...     opt.step({"w": jnp.array([-2.0])})
      >>> opt.params["w"].tolist(), opt.state_dict()["state"][0]["ax"].tolist()
      ([5.0], [4.0])
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_asgd", "leaf_counts"),
        "eta": StateEntry("scale_by_asgd", "eta"),
        "mu": StateEntry("scale_by_asgd", "mu"),
        "ax": StateEntry("scale_by_asgd", "ax"),
    }

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-2,
        lambd: ScalarOrSchedule = 1e-4,
        alpha: ScalarOrSchedule = 0.75,
        t0: ScalarOrSchedule = 1e6,
        weight_decay: ScalarOrSchedule = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `ASGD`."""
        return chain(
            negate_if(options["maximize"]),
            add_decayed_weights(options["weight_decay"]),
            scale_by_asgd(options["lr"], options["lambd"], options["alpha"], options["t0"]),
            scale(-1.0),
        )
