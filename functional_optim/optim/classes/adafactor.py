"""torch.optim.Adafactor."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ...algorithms.adafactor import scale_by_relative_step
from ...algorithms.factored_rms import scale_by_factored_rms
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.blocks import clip_by_block_rms, scale_by_param_block_rms
from ...transforms.scaling import scale
from ..plain import is_plain_number
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import pair, refuse_complex, signed

__all__ = ["Adafactor"]


def _check(options: Mapping[str, Any]) -> None:
    """torch's own limits, which are narrower than those of the links or of another sign."""
    decay, d = options["beta2_decay"], options["d"]
    if is_plain_number(decay) and not decay <= 0:
        raise ValueError(f"Adafactor: beta2_decay should be <= 0 but is: {decay}. Pass -0.8.")
    if is_plain_number(d) and not d >= 1:
        raise ValueError(f"Adafactor: clipping threshold d should be >= 1 but is: {d}. Pass 1.0.")


@dataclasses.dataclass(frozen=True)
class _Negative:
    """A schedule with the other sign."""

    schedule: Callable[[Any], Any]

    def __call__(self, step: Any) -> Any:
        return -self.schedule(step)


@torch_class(
    kept={
        "step": Kept("scale_by_factored_rms", "steps"),
        "row_var": Kept("scale_by_factored_rms", "v_row"),
        "col_var": Kept("scale_by_factored_rms", "v_col"),
        "variance": Kept("scale_by_factored_rms", "v"),
    },
    check=_check,
)
def Adafactor(
    lr: Any = 1e-2,
    beta2_decay: Any = -0.8,
    eps: tuple[Any, Any] = (None, 1e-3),
    d: Any = 1.0,
    weight_decay: Any = 0.0,
    *,
    foreach: bool | None = None,
    maximize: bool = False,
) -> GradientTransformation:
    """torch.optim.Adafactor: `scale_by_factored_rms` of the last two axes, in relative steps.

    The relative step is min(lr, 1 / sqrt(t)), and the decay p <- p (1 - lr weight_decay). As
    `eps[0]`, None is the machine epsilon of the parameter's dtype, at least float32's; torch
    takes that of the group's first parameter. Parameters without elements stay as they are;
    in torch they divide by zero.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adafactor({"w": jnp.ones((2, 3))})
      >>> opt.step({"w": jnp.full((2, 3), 5.0)})
      >>> round(float(opt.params["w"][0, 0]), 6), opt.state_dict()["state"][0]["row_var"].shape
      (0.99, (2, 1))
    """
    least, scale_floor = pair(eps, "eps")
    return chain(
        refuse_complex("Adafactor"),
        signed(maximize),
        scale_by_factored_rms(
            decay_rate=_Negative(beta2_decay) if callable(beta2_decay) else -beta2_decay,
            min_dim_size_to_factor=0,
            epsilon=least,
            dims="last",
            eps_as_floor=True,
        ),
        clip_by_block_rms(d),
        scale_by_param_block_rms(scale_floor),
        scale_by_relative_step(lr, weight_decay=weight_decay),
        scale(-1.0),
    )
