"""torch.optim.Rprop."""

from typing import ClassVar

from ...algorithms.rprop import scale_by_rprop
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import Pair, negate_if, pair

__all__ = ["Rprop"]


class Rprop(TorchOptimizer):
    """torch.optim.Rprop: `scale_by_rprop`, then the step against it.

    `lr` is the first step size of a parameter; an edit applies to parameters without a step yet.

    Args:
      lr: the first step size, in units of p.
      etas: factors of the step size where the sign changes, in (0, 1), and where it stays, above 1.
      step_sizes: the least and the largest step size, in units of p.
      See `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Rprop({"w": jnp.ones(2)}, lr=0.1)
      >>> opt.step({"w": jnp.array([1e-9, -1e9])})
      >>> opt.params
      {'w': Array([0.9, 1.1], dtype=float32)}
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_rprop", "leaf_counts"),
        "prev": StateEntry("scale_by_rprop", "prev"),
        "step_size": StateEntry("scale_by_rprop", "step_size"),
    }

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-2,
        etas: Pair = (0.5, 1.2),
        step_sizes: Pair = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `Rprop`."""
        etas, step_sizes = pair(options["etas"], "etas"), pair(options["step_sizes"], "step_sizes")
        rprop = scale_by_rprop(options["lr"], *etas, *step_sizes)
        return chain(negate_if(options["maximize"]), rprop, scale(-1.0))
