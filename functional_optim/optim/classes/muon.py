"""torch.optim.Muon."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from ...algorithms.muon import muon_momentum, scale_by_shape
from ...algorithms.newton_schulz import orthogonalize
from ...core.chain import chain
from ...core.protocol import GradientTransformation, Hyperparameter
from ...core.rules.schedule import check_choice
from ...core.trees.structure import leaf_paths
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..params.param_group import ParamGroup
from ..state_dict.entries import StateEntry
from ..step.optimizer_group import OptimizerGroup
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import refuse_complex

__all__ = ["Muon"]

_SCALES = {
    None: scale_by_shape(rows_are_outputs=True),
    "original": scale_by_shape(rows_are_outputs=True),
    "match_rms_adamw": scale_by_shape(0.2, rows_are_outputs=True),
    "spectral_unclamped": scale_by_shape(scale="unit_rms", rows_are_outputs=True),
}
"""`adjust_lr_fn` -> the transformation that scales a step by its shape."""


class Muon(TorchOptimizer):
    """torch.optim.Muon: the momentum of Muon, orthogonalized in bfloat16, in decayed steps.

    The learning rate is `lr` times sqrt(max(1, rows / columns)) if `adjust_lr_fn` is None or
    `"original"`, `lr` times 0.2 sqrt(max(rows, columns)) if it is `"match_rms_adamw"`, and `lr`
    times sqrt(rows / columns) if it is `"spectral_unclamped"`. As in torch, the outputs are the
    rows of a matrix; layers of JAX have them in the columns: transpose, or use
    `functional_optim.muon`.

    Args:
      momentum: decay of the momentum, in [0, 1].
      nesterov: whether to orthogonalize the look-ahead of the momentum.
      ns_coefficients: (a, b, c) of `orthogonalize`.
      eps: the least norm by which a matrix is divided, in units of g.
      ns_steps: number of rounds of `orthogonalize`.
      adjust_lr_fn: how `lr` depends on the shape, as above.
      See `AdamW` and `Adam` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.Muon({"w": jnp.eye(2)}, lr=0.5, weight_decay=0.0)
      >>> opt.step({"w": 7 * jnp.eye(2)})
      >>> bool(jnp.abs(opt.params["w"] - 0.5 * jnp.eye(2)).max() < 0.2)
      True
    """

    entries: ClassVar = {"momentum_buffer": StateEntry("muon_momentum", "mu")}

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-3,
        weight_decay: ScalarOrSchedule = 0.1,
        momentum: ScalarOrSchedule = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: ScalarOrSchedule = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `Muon`."""
        adjust_lr_fn = options["adjust_lr_fn"]
        check_choice(adjust_lr_fn, "adjust_lr_fn", tuple(_SCALES))  # type: ignore[arg-type]
        return chain(
            refuse_complex("Muon"),
            muon_momentum(options["momentum"], nesterov=options["nesterov"]),
            orthogonalize(
                _static_numbers(options["ns_coefficients"]),
                options["ns_steps"],
                options["eps"],
                ns_dtype=jnp.bfloat16,
                eps_as_floor=True,
            ),
            _SCALES[adjust_lr_fn],
            add_decayed_weights(options["weight_decay"]),
            scale_by_learning_rate(options["lr"]),
        )

    def _make_group(self, where: str, options: ParamGroup) -> OptimizerGroup:
        params = options["params"]
        for path, p in zip(leaf_paths(params), jax.tree.leaves(params), strict=True):
            if jnp.ndim(p) != 2:
                raise ValueError(
                    f"{where}: Muon only supports 2D parameters whereas we found a parameter with "
                    f"size {jnp.shape(p)}, at '{path}'. Give it to AdamW, or all parameters to "
                    "functional_optim.muon."
                )
        return super()._make_group(where, options)


def _static_numbers(coefficients: Hyperparameter) -> Hyperparameter:
    """Returns the coefficients as Python numbers, because they are constants of the program."""
    if not isinstance(coefficients, tuple):
        return coefficients
    if any(map(callable, coefficients)):
        raise TypeError(
            f"ns_coefficients must be numbers, got {coefficients!r}. They shape the program, so "
            "they cannot follow a schedule."
        )
    return tuple(map(float, coefficients))
