"""torch.optim.Adam and AdamW."""

from typing import ClassVar

import jax
import numpy as np

from ...algorithms.adam import scale_by_adam
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import Pair, moments, negate_if, pair, with_decay

__all__ = ["Adam", "AdamW"]


class _AdamFamily(TorchOptimizer):
    """The common base of Adam and AdamW, which differ in their options."""

    entries: ClassVar = {
        "step": StateEntry("scale_by_adam", "leaf_counts"),
        **moments("scale_by_adam"),
        "max_exp_avg_sq": StateEntry("scale_by_adam", "nu_max"),
    }

    @staticmethod
    def _check_options(options: Options) -> None:
        """Raises ValueError for combinations with arrays that torch does not accept."""
        b1, b2 = pair(options["betas"])
        numbers = {"lr": options["lr"], "betas[0]": b1, "betas[1]": b2}
        arrays = [k for k, v in numbers.items() if isinstance(v, (jax.Array, np.ndarray))]
        if ("betas[0]" in arrays) != ("betas[1]" in arrays):
            raise ValueError(
                f"betas must be either both floats or both Tensors, got {options['betas']!r}. Pass "
                "two numbers, or two arrays."
            )
        if arrays and options["foreach"] and not options["capturable"]:
            raise ValueError(
                f"{arrays[0]} as a Tensor is not supported for capturable=False and foreach=True. "
                "Leave foreach out: there is one implementation here."
            )


class Adam(_AdamFamily):
    """torch.optim.Adam: `scale_by_adam`, then a step of minus `lr`.

    Weight decay is an L2 penalty, or decoupled with `decoupled_weight_decay`.

    Args:
      params: a tree of arrays, or groups of parameters with options; see `Optimizer`.
      lr: learning rate, a number or a schedule.
      betas: decays of the first and of the second moment, each in [0, 1).
      eps: added to the root; in units of g.
      weight_decay: multiple of p in the decay, which is an L2 penalty unless it is decoupled.
      amsgrad: whether to divide by the largest second moment so far.
      foreach, fused, capturable: choices of torch's implementation, which are only checked: there
        is one implementation here.
      maximize: whether to climb: the gradients get the other sign.
      differentiable: whether old arrays stay valid, so that a step can be differentiated.
      decoupled_weight_decay: whether weight decay is decoupled.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Adam({"w": jnp.ones(2)}, lr=0.5)
      >>> opt.step({"w": jnp.array([3.0, -0.1])})
      >>> opt.params["w"].round(4).tolist()
      [0.5, 1.5]
    """

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-3,
        betas: Pair = (0.9, 0.999),
        eps: ScalarOrSchedule = 1e-8,
        weight_decay: ScalarOrSchedule = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `Adam`."""
        return _compose(options, decoupled=options["decoupled_weight_decay"])


class AdamW(_AdamFamily):
    """torch.optim.AdamW: `scale_by_adam`, decoupled weight decay, then a step of minus `lr`.

    Args:
      weight_decay: factor of the decoupled decay, which is multiplied by `lr`.
      See `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.AdamW({"w": jnp.ones(2)}, lr=0.5, weight_decay=0.1)
      >>> opt.step({"w": jnp.zeros(2)})
      >>> opt.params
      {'w': Array([0.95, 0.95], dtype=float32)}
    """

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-3,
        betas: Pair = (0.9, 0.999),
        eps: ScalarOrSchedule = 1e-8,
        weight_decay: ScalarOrSchedule = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `AdamW`."""
        return _compose(options, decoupled=True)


def _compose(options: Options, decoupled: bool) -> GradientTransformation:
    adam = scale_by_adam(*pair(options["betas"]), eps=options["eps"], amsgrad=options["amsgrad"])
    links = with_decay(adam, options["weight_decay"], decoupled)
    return chain(negate_if(options["maximize"]), *links, scale_by_learning_rate(options["lr"]))
