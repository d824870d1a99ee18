"""Optimizers of matrices, with Adam for all other parameters."""

from collections.abc import Sequence

from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.decorators import renamed
from ..core.protocol import GradientTransformation
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.masking import masked
from ..transforms.matrices import MatrixLeaves
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam

__all__ = ["with_adam_for_others"]

_adam = renamed(scale_by_adam, b1="adam_b1", b2="adam_b2", eps="adam_eps", eps_root="adam_eps_root")
_adam_decay = renamed(add_decayed_weights, weight_decay="adam_weight_decay")
_adam_rate = renamed(scale_by_learning_rate, learning_rate="adam_learning_rate")


def with_adam_for_others(
    direction: Sequence[GradientTransformation],
    leaves: MatrixLeaves,
    learning_rate: ScalarOrSchedule,
    *,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    after_decay: Sequence[GradientTransformation] = (),
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_eps_root: ScalarOrSchedule = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_nesterov: bool = False,
    adam_mu_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """Chains the direction of matrices, Adam's of all other parameters, decay and learning rate.

    Args:
      direction: links that act on the matrices only: `on_matrices(...)` or `masked(...)`.
      leaves: which parameters have matrices.
      learning_rate: learning rate of all parameters, or of the matrices alone if
        `adam_learning_rate` is not None.
      weight_decay: decoupled decay of the matrices.
      weight_decay_mask: which matrices decay; see `masked`.
      after_decay: links that act on the decayed direction of the matrices only.
      adam_mu_dtype: dtype of Adam's first moment.
    """
    matrices, others = leaves.where(matrices=True), leaves.where(matrices=False)
    steps: tuple[GradientTransformation, ...]
    if adam_learning_rate is None:
        steps = (scale_by_learning_rate(learning_rate),)
    else:
        steps = (
            masked(scale_by_learning_rate(learning_rate), matrices),
            masked(_adam_rate(adam_learning_rate), others),
        )
    adam = _adam(adam_b1, adam_b2, adam_eps, adam_eps_root, adam_mu_dtype, nesterov=adam_nesterov)
    return chain(
        *direction,
        masked(add_decayed_weights(weight_decay, weight_decay_mask), matrices),
        *after_decay,
        masked(adam, others),
        masked(_adam_decay(adam_weight_decay), others),
        *steps,
    )
