"""torch.optim's classes: each a recipe from the options of a group to a transformation."""

from collections.abc import Mapping
from typing import Any

from ..algorithms.adam import scale_by_adam
from ..algorithms.lion import scale_by_lion
from ..algorithms.rmsprop import scale_by_rms
from ..core.chain import chain
from ..core.protocol import GradientTransformation
from ..core.rule import renamed
from ..transforms.momentum import trace
from ..transforms.scaling import scale, scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .torch_class import torch_class
from .torch_state import Kept

__all__ = ["SGD", "Adam", "AdamW", "Lion", "RMSprop"]


def _signed(maximize: bool) -> GradientTransformation:
    """The gradient to descend along; a number, so that the option can be edited."""
    return scale(-1.0 if maximize else 1.0)


_trace = renamed(trace, decay="momentum")


def _check_nesterov(options: Mapping[str, Any]) -> None:
    momentum, dampening = options["momentum"], options["dampening"]
    if options["nesterov"] and (not momentum or dampening):
        raise ValueError(
            "SGD: Nesterov momentum requires a momentum and zero dampening, got "
            f"momentum={momentum}, dampening={dampening}. Pass momentum=0.9, for example."
        )


def _pair(betas: Any) -> tuple[Any, Any]:
    if not isinstance(betas, tuple):
        raise TypeError(f"betas must be a pair of numbers, got {betas!r}. Pass (0.9, 0.99).")
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {len(betas)}. Pass (0.9, 0.99).")
    return betas


@torch_class(
    kept={"momentum_buffer": Kept("trace", "trace")},
    optional={"momentum": "momentum_buffer"},
    check=_check_nesterov,
)
def SGD(
    lr: Any = 1e-3,
    momentum: Any = 0,
    dampening: Any = 0,
    weight_decay: Any = 0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
    foreach: bool | None = None,
    differentiable: bool = False,
    fused: bool | None = None,
) -> GradientTransformation:
    """torch.optim.SGD: `add_decayed_weights`, `trace`, then a step of minus `lr`.

    With weight decay as an L2 penalty; see `functional_optim.sgd` for the maths. A group
    keeps no momentum buffer until its `momentum` is first not zero.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.SGD({"w": jnp.ones(2)}, lr=0.5, momentum=0.9)
      >>> opt.step({"w": jnp.ones(2)})
      >>> opt.params
      {'w': Array([0.5, 0.5], dtype=float32)}
    """
    return chain(
        _signed(maximize),
        add_decayed_weights(weight_decay),
        _trace(momentum, nesterov, dampening=0.0 if momentum is None else dampening),
        scale_by_learning_rate(lr),
    )


_ADAM = {
    "step": Kept("scale_by_adam", "steps"),
    "exp_avg": Kept("scale_by_adam", "mu", ("b1", lambda group: group["betas"][0])),
    "exp_avg_sq": Kept("scale_by_adam", "nu", ("b2", lambda group: group["betas"][1])),
    "max_exp_avg_sq": Kept("scale_by_adam", "nu_max"),
}


@torch_class(kept=_ADAM)
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
    decay = add_decayed_weights(weight_decay)
    adam = scale_by_adam(*_pair(betas), eps=eps, amsgrad=amsgrad)
    middle = (adam, decay) if decoupled_weight_decay else (decay, adam)
    return chain(_signed(maximize), *middle, scale_by_learning_rate(lr))


@torch_class(kept=_ADAM)
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
        _signed(maximize),
        scale_by_adam(*_pair(betas), eps=eps, amsgrad=amsgrad),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(lr),
    )


@torch_class(
    kept={
        "step": Kept("scale_by_rms", "steps"),
        "square_avg": Kept("scale_by_rms", "nu"),
        "momentum_buffer": Kept("trace", "trace"),
        "grad_avg": Kept("scale_by_rms", "mu"),
    },
    optional={"momentum": "momentum_buffer"},
)
def RMSprop(
    lr: Any = 1e-2,
    alpha: Any = 0.99,
    eps: Any = 1e-8,
    weight_decay: Any = 0,
    momentum: Any = 0,
    centered: bool = False,
    capturable: bool = False,
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
) -> GradientTransformation:
    """torch.optim.RMSprop: `scale_by_rms` with eps outside the root, `trace`, minus `lr`.

    A centred variance that rounding makes negative counts as 0; in torch it gives NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.RMSprop({"w": jnp.ones(1)}, lr=0.1, alpha=0.75)
      >>> opt.step({"w": jnp.array([3.0])})
      >>> opt.params
      {'w': Array([0.8], dtype=float32)}
    """
    return chain(
        _signed(maximize),
        add_decayed_weights(weight_decay),
        scale_by_rms(alpha, eps, eps_in_sqrt=False, centered=centered),
        _trace(momentum),
        scale_by_learning_rate(lr),
    )


@torch_class(kept={"exp_avg": Kept("scale_by_lion", "mu")})
def Lion(
    lr: Any = 1e-4,
    betas: tuple[Any, Any] = (0.9, 0.99),
    weight_decay: Any = 0.0,
    *,
    maximize: bool = False,
    foreach: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
) -> GradientTransformation:
    """Lion, with the signature of the authors' torch code: see `functional_optim.lion`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Lion({"w": jnp.ones(2)}, lr=0.1)
      >>> opt.step({"w": jnp.array([3.0, -0.2])})
      >>> opt.params
      {'w': Array([0.9, 1.1], dtype=float32)}
    """
    return chain(
        _signed(maximize),
        scale_by_lion(*_pair(betas)),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(lr),
    )
