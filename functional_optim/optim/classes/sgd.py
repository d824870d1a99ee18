"""torch.optim.SGD."""

from typing import ClassVar

from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.densify import densify
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import momentum_trace, negate_if

__all__ = ["SGD"]


class SGD(TorchOptimizer):
    """torch.optim.SGD: `add_decayed_weights`, `trace`, then a step of minus `lr`.

    Weight decay is an L2 penalty; see `functional_optim.sgd` for the maths. A group keeps no
    momentum buffer until its `momentum` is first not zero.

    A sparse gradient, as `row_sparse` makes it, changes only its rows, and weight decay pulls
    only these rows; torch refuses weight decay then. With momentum it is made dense, because all
    rows keep moving, as in torch: the step then costs as much as a dense one.

    Args:
      momentum: decay of the trace; with 0 there is none.
      dampening: share of a gradient that does not enter the trace.
      nesterov: whether the step is the look-ahead of the trace; needs momentum, and no dampening.
      See `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.SGD({"w": jnp.ones(2)}, lr=0.5, momentum=0.9)
      >>> opt.step({"w": jnp.ones(2)})
      >>> opt.params
      {'w': Array([0.5, 0.5], dtype=float32)}
    """

    entries: ClassVar = {"momentum_buffer": StateEntry("trace", "trace")}
    lazy_entries: ClassVar = {"momentum": "momentum_buffer"}

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-3,
        momentum: ScalarOrSchedule = 0,
        dampening: ScalarOrSchedule = 0,
        weight_decay: ScalarOrSchedule = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def _check_options(options: Options) -> None:
        momentum, dampening = options["momentum"], options["dampening"]
        if options["nesterov"] and (not momentum or dampening):
            raise ValueError(
                "SGD: Nesterov momentum requires a momentum and zero dampening, got "
                f"momentum={momentum}, dampening={dampening}. Pass momentum=0.9, for example."
            )

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `SGD`."""
        momentum = options["momentum"]
        dense = () if momentum is None else (densify(),)
        return chain(
            *dense,
            negate_if(options["maximize"]),
            add_decayed_weights(options["weight_decay"]),
            momentum_trace(momentum, options["nesterov"], dampening=options["dampening"]),
            scale_by_learning_rate(options["lr"]),
        )
