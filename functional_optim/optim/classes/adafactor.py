"""torch.optim.Adafactor."""

import dataclasses
from typing import ClassVar

from jax.typing import ArrayLike

from ...algorithms.adafactor import scale_by_relative_step
from ...algorithms.factored_rms import scale_by_factored_rms
from ...core.chain import chain
from ...core.protocol import GradientTransformation, Schedule
from ...core.types import Params, ScalarOrSchedule
from ...transforms.blocks import clip_by_block_rms, scale_by_param_block_rms
from ...transforms.scaling import scale
from ..conversions import is_plain_number
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import negate_if, pair, refuse_complex

__all__ = ["Adafactor"]


@dataclasses.dataclass(frozen=True)
class _Negative:
    """A schedule with the other sign."""

    schedule: Schedule

    def __call__(self, step: ArrayLike) -> ArrayLike:
        return -self.schedule(step)


class Adafactor(TorchOptimizer):
    """torch.optim.Adafactor: `scale_by_factored_rms` of the last two axes, in relative steps.

    The relative step is min(lr, 1 / sqrt(t)), and the decay p <- p (1 - lr weight_decay). As
    `eps[0]`, None is the machine epsilon of the parameter's dtype, at least float32's; torch
    uses the dtype of the group's first parameter. Parameters without elements do not change; in
    torch they divide by zero.

    Args:
      lr: the largest relative step, a number or a schedule.
      beta2_decay: minus `decay_rate` of `scale_by_factored_rms`, so 0 or less.
      eps: a pair, `epsilon` of `scale_by_factored_rms` and `min_scale` of
        `scale_by_param_block_rms`.
      d: the largest root mean square of an update, at least 1.
      See `AdamW` and `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adafactor({"w": jnp.ones((2, 3))})
      >>> opt.step({"w": jnp.full((2, 3), 5.0)})
      >>> round(float(opt.params["w"][0, 0]), 6), opt.state_dict()["state"][0]["row_var"].shape
      (0.99, (2, 1))
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_factored_rms", "leaf_counts"),
        "row_var": StateEntry("scale_by_factored_rms", "v_row"),
        "col_var": StateEntry("scale_by_factored_rms", "v_col"),
        "variance": StateEntry("scale_by_factored_rms", "v"),
    }

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-2,
        beta2_decay: ScalarOrSchedule = -0.8,
        eps: tuple[ScalarOrSchedule | None, ScalarOrSchedule] = (None, 1e-3),
        d: ScalarOrSchedule = 1.0,
        weight_decay: ScalarOrSchedule = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def _check_options(options: Options) -> None:
        """Checks torch's bounds, which are narrower than the links' or have another sign."""
        decay, d = options["beta2_decay"], options["d"]
        if is_plain_number(decay) and not decay <= 0:
            raise ValueError(f"Adafactor: beta2_decay should be <= 0 but is: {decay}. Pass -0.8.")
        if is_plain_number(d) and not d >= 1:
            raise ValueError(
                f"Adafactor: clipping threshold d should be >= 1 but is: {d}. Pass 1.0."
            )

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `Adafactor`."""
        eps, scale_floor = pair(options["eps"], "eps")
        decay = options["beta2_decay"]
        return chain(
            refuse_complex("Adafactor"),
            negate_if(options["maximize"]),
            scale_by_factored_rms(
                decay_rate=_Negative(decay) if callable(decay) else -decay,
                min_dim_size_to_factor=0,
                epsilon=eps,
                dims="last",
                eps_as_floor=True,
            ),
            clip_by_block_rms(options["d"]),
            scale_by_param_block_rms(scale_floor),
            scale_by_relative_step(options["lr"], weight_decay=options["weight_decay"]),
            scale(-1.0),
        )
