"""torch.optim.Adam and AdamW."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ...algorithms.adam import scale_by_adam
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import moments, pair, signed, with_decay

__all__ = ["Adam", "AdamW"]


_ADAM = {
    "step": Kept("scale_by_adam", "steps"),
    **moments("scale_by_adam"),
    "max_exp_avg_sq": Kept("scale_by_adam", "nu_max"),
}


def _check_arrays(options: Mapping[str, Any]) -> None:
    """torch's exclusions of numbers that are arrays, which have no meaning here."""
    arrays = {"lr": options["lr"]} | {
        f"betas[{i}]": b for i, b in enumerate(pair(options["betas"]))
    }
    given = [k for k, v in arrays.items() if isinstance(v, (jax.Array, np.ndarray))]
    if len({"betas[0]", "betas[1]"} & set(given)) == 1:
        raise ValueError(
            f"betas must be either both floats or both Tensors, got {options['betas']!r}. Pass "
            "two numbers, or two arrays."
        )
    if given and options["foreach"] and not options["capturable"]:
        raise ValueError(
            f"{given[0]} as a Tensor is not supported for capturable=False and foreach=True. "
            "Leave foreach out: there is one implementation here."
        )


@torch_class(kept=_ADAM, check=_check_arrays)
def Adam(
    lr: Any = 1e-3,
    betas: tuple[Any, Any] = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 0,
    amsgrad: bool = False,
    *,
    foreach: bool | None = None,
    maximize: bool = False,
    capturable: bool = False,
    differentiable: bool = False,
    fused: bool | None = None,
    decoupled_weight_decay: bool = False,
) -> GradientTransformation:
    """torch.optim.Adam: `scale_by_adam`, then a step of minus `lr`.

    Weight decay is an L2 penalty, or decoupled with `decoupled_weight_decay`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adam({"w": jnp.ones(2)}, lr=0.5)
      >>> opt.step({"w": jnp.array([3.0, -0.1])})
      >>> opt.params["w"].round(4).tolist()
      [0.5, 1.5]
    """
    adam = scale_by_adam(*pair(betas), eps=eps, amsgrad=amsgrad)
    links = with_decay(adam, weight_decay, decoupled_weight_decay)
    return chain(signed(maximize), *links, scale_by_learning_rate(lr))


@torch_class(kept=_ADAM, check=_check_arrays)
def AdamW(
    lr: Any = 1e-3,
    betas: tuple[Any, Any] = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    foreach: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
    fused: bool | None = None,
) -> GradientTransformation:
    """torch.optim.AdamW: `scale_by_adam`, decoupled weight decay, then a step of minus `lr`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.AdamW({"w": jnp.ones(2)}, lr=0.5, weight_decay=0.1)
      >>> opt.step({"w": jnp.zeros(2)})
      >>> opt.params
      {'w': Array([0.95, 0.95], dtype=float32)}
    """
    return chain(
        signed(maximize),
        scale_by_adam(*pair(betas), eps=eps, amsgrad=amsgrad),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(lr),
    )
