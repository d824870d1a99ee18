"""torch.optim.RMSprop."""

from typing import ClassVar

from ...algorithms.rmsprop import scale_by_rms
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import momentum_trace, negate_if

__all__ = ["RMSprop"]


class RMSprop(TorchOptimizer):
    """torch.optim.RMSprop: `scale_by_rms` with eps outside the root, `trace`, minus `lr`.

    A centred variance that rounding makes negative counts as 0; in torch it gives NaN.

    Args:
      alpha: decay of the mean of squares, in [0, 1].
      momentum: decay of the trace; with 0 there is none.
      centered: whether to divide by the standard deviation.
      See `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.RMSprop({"w": jnp.ones(1)}, lr=0.1, alpha=0.75)
      >>> opt.step({"w": jnp.array([3.0])})
      >>> opt.params
      {'w': Array([0.8], dtype=float32)}
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_rms", "leaf_counts"),
        "square_avg": StateEntry("scale_by_rms", "nu"),
        "momentum_buffer": StateEntry("trace", "trace"),
        "grad_avg": StateEntry("scale_by_rms", "mu"),
    }
    lazy_entries: ClassVar = {"momentum": "momentum_buffer"}

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-2,
        alpha: ScalarOrSchedule = 0.99,
        eps: ScalarOrSchedule = 1e-8,
        weight_decay: ScalarOrSchedule = 0,
        momentum: ScalarOrSchedule = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `RMSprop`."""
        return chain(
            negate_if(options["maximize"]),
            add_decayed_weights(options["weight_decay"]),
            scale_by_rms(
                options["alpha"], options["eps"], eps_in_sqrt=False, centered=options["centered"]
            ),
            momentum_trace(options["momentum"]),
            scale_by_learning_rate(options["lr"]),
        )
