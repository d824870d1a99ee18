"""torch.optim.Adagrad."""

from typing import ClassVar

from ...algorithms.adagrad import scale_by_rss
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import negate_if

__all__ = ["Adagrad"]


class Adagrad(TorchOptimizer):
    """torch.optim.Adagrad: an L2 penalty, `scale_by_rss` with eps outside the root, minus `lr`.

    A group may have its own `initial_accumulator_value`, which torch accepts and ignores. Where a
    sum and eps are 0, the step is 0; in torch it is NaN.

    Args:
      eps: added to the root; in units of g.
      See `scale_by_rss` and `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adagrad({"w": jnp.ones(1)}, lr=0.1, initial_accumulator_value=7.0)
      >>> opt.step({"w": jnp.array([3.0])})
      >>> opt.params
      {'w': Array([0.925], dtype=float32)}
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_rss", "leaf_counts", at_start=True),
        "sum": StateEntry("scale_by_rss", "sum_of_squares", at_start=True),
    }

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-2,
        lr_decay: ScalarOrSchedule = 0,
        weight_decay: ScalarOrSchedule = 0,
        initial_accumulator_value: float = 0,
        eps: ScalarOrSchedule = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `Adagrad`."""
        return chain(
            negate_if(options["maximize"]),
            add_decayed_weights(options["weight_decay"]),
            scale_by_rss(
                options["initial_accumulator_value"],
                options["eps"],
                eps_in_sqrt=False,
                lr_decay=options["lr_decay"],
            ),
            scale_by_learning_rate(options["lr"]),
        )
