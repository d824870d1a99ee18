"""torch.optim.Muon."""

from typing import Any

import jax
import jax.numpy as jnp

from ...algorithms.muon import muon_momentum, scale_by_shape
from ...algorithms.newton_schulz import orthogonalize
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ...core.schedule import check_choice
from ...core.trees import leaf_paths
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..group import Group
from ..param_group import ParamGroup
from ..torch_class import TorchOptimizer, torch_class
from ..torch_state import Kept
from .common import refuse_complex

__all__ = ["Muon"]

_RMS = {None: None, "original": None, "match_rms_adamw": 0.2}
"""Root mean square of a step, by `adjust_lr_fn`."""


class _OfMatrices(TorchOptimizer):
    """An optimizer that refuses parameters which are no matrices."""

    def _make(self, where: str, options: ParamGroup) -> Group:
        params = options["params"]
        for path, p in zip(leaf_paths(params), jax.tree.leaves(params), strict=True):
            if jnp.ndim(p) != 2:
                raise ValueError(
                    f"{where}: Muon only supports 2D parameters whereas we found a parameter with "
                    f"size {jnp.shape(p)}, at '{path}'. Give it to AdamW, or all parameters to "
                    "functional_optim.muon."
                )
        return super()._make(where, options)


@torch_class(kept={"momentum_buffer": Kept("muon_momentum", "mu")}, base=_OfMatrices)
def Muon(
    lr: Any = 1e-3,
    weight_decay: Any = 0.1,
    momentum: Any = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: Any = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
) -> GradientTransformation:
    """torch.optim.Muon: the momentum of Muon, orthogonalized in bfloat16, in decayed steps.

    `adjust_lr_fn` is None or `"original"`, for sqrt(max(1, rows / columns)) times `lr`, or
    `"match_rms_adamw"`, for 0.2 sqrt(max(rows, columns)). As in torch, the rows of a matrix are
    outputs, where layers of JAX have columns; transpose, or use `functional_optim.muon`.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Muon({"w": jnp.eye(2)}, lr=0.5, weight_decay=0.0)
      >>> opt.step({"w": 7 * jnp.eye(2)})
      >>> bool(jnp.abs(opt.params["w"] - 0.5 * jnp.eye(2)).max() < 0.2)
      True
    """
    check_choice(adjust_lr_fn, "adjust_lr_fn", tuple(_RMS))  # type: ignore[arg-type]
    return chain(
        refuse_complex("Muon"),
        muon_momentum(momentum, nesterov=nesterov),
        orthogonalize(
            _plain(ns_coefficients), ns_steps, eps, ns_dtype=jnp.bfloat16, eps_as_floor=True
        ),
        scale_by_shape(_RMS[adjust_lr_fn], rows_are_outputs=True),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(lr),
    )


def _plain(coefficients: Any) -> Any:
    """Three numbers of Python: they shape the program."""
    if not isinstance(coefficients, tuple):
        return coefficients
    if any(map(callable, coefficients)):
        raise TypeError(
            f"ns_coefficients must be numbers, got {coefficients!r}. They shape the program, and "
            "follow no schedule."
        )
    return tuple(map(float, coefficients))
