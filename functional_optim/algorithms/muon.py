"""Muon: orthogonalized momentum."""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.decorators import leaf_rule, renamed
from ..core.numerics.moments import moment
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.arguments import Fraction, Optional_, SlotDtype, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.masking import masked
from ..transforms.matrices import MatrixLeaves, on_matrices
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam
from .newton_schulz import STANDARD, Rounds, orthogonalize

__all__ = ["muon", "muon_momentum", "scale_by_muon", "scale_by_shape"]

Array = jax.Array


@leaf_rule(slots=lambda p: {"mu": jnp.zeros_like(p)}, step_scalars=lambda beta: {"gain": 1 - beta})
def muon_momentum(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    beta: Fraction = 0.95,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    nesterov: Static[bool] = True,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by their running mean, without bias correction, as in Muon.

    For one parameter of shape `*p`: mu <- beta mu + (1 - beta) g; u = mu, or with nesterov
    u = beta mu + (1 - beta) g. `beta` `()` has no unit; mu and u are in units of g.
    """
    del p, mu_dtype, state_dtype
    mu = moment(slots.mu, g, beta, ctx.gain)
    return moment(mu, g, beta, ctx.gain) if nesterov else mu, {"mu": mu}


@leaf_rule(split_complex=False)
def scale_by_shape(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    consistent_rms: Annotated[Hyperparameter | None, Optional_] = None,
    *,
    rows_are_outputs: Static[bool] = False,
    clamped: Static[bool] = True,
) -> tuple[Array, dict[str, Array]]:
    """Scales orthogonal matrices by their shape, so that one learning rate fits all shapes.

    For a matrix of shape `(inputs, outputs)`, the last two axes of a leaf:

        u = sqrt(max(1, outputs / inputs)) g                   Jordan et al.
        u = sqrt(outputs / inputs) g                           the same, not clamped
        u = consistent_rms sqrt(max(inputs, outputs)) g        Liu et al., with consistent_rms

    `consistent_rms` `()` is the root mean square of u if g is orthogonal; steps of AdamW have
    about 0.2.

    Args:
      rows_are_outputs: whether the shape is `(outputs, inputs)`, as in torch.
      clamped: whether the factor is at least 1; it has no effect with `consistent_rms`.
    """
    del slots, p, ctx
    outputs, inputs = g.shape[-2:] if rows_are_outputs else g.shape[:-3:-1]
    if g.size == 0:
        return g, {}
    if consistent_rms is None:
        ratio = outputs / inputs
        factor = jnp.asarray((max(1.0, ratio) if clamped else ratio) ** 0.5)
    else:
        factor = consistent_rms * max(outputs, inputs) ** 0.5
    return factor.astype(g.dtype) * g, {}


def scale_by_muon(
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int = 5,
    beta: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-7,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    state_dtype: StateDtype = None,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    ns_dtype: DTypeLike | None = None,
    eps_as_floor: bool = False,
) -> GradientTransformation:
    """Orthogonalizes a running mean of updates: `muon_momentum`, then `orthogonalize`.

    For one parameter of shape `*p`, whose last two axes are a matrix:

        mu <- beta mu + (1 - beta) g
        u   = orthogonalize(mu), or orthogonalize(beta mu + (1 - beta) g) with nesterov

    The state keeps mu, of shape `*p`, in units of g. u has no unit: its singular values are
    near 1 for any size of g.

    Args:
      mu_dtype: dtype of mu.
      nesterov: whether to orthogonalize beta mu + (1 - beta) g, the look-ahead of the mean.
      ns_coeffs: coefficients of the iteration; see `orthogonalize` for these and for the other
        arguments.

    Differences: none from the authors' code and from torch, whose documentation writes the mean as
    a sum. With nesterov, optax corrects the bias of mu (with t + 1) and of g, which changes their
    mixture early in a run; and it has the triples in its state.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_muon(ns_steps=10, ns_coeffs=((1.5, -0.5, 0.0),))
      >>> g = {"w": jnp.array([[3.0, 4.0], [4.0, -3.0]])}
      >>> [round(float(u), 3) for u in tx.update(g, tx.init(g))[0]["w"].ravel()]
      [0.6, 0.8, 0.8, -0.6]

    Reference: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024,
    kellerjordan.github.io/posts/muon.
    """
    return chain(
        muon_momentum(beta, mu_dtype, nesterov=nesterov, state_dtype=state_dtype),
        orthogonalize(
            ns_coeffs,
            ns_steps,
            eps,
            adaptive=adaptive,
            preconditioning=preconditioning,
            ns_dtype=ns_dtype,
            eps_as_floor=eps_as_floor,
        ),
    )


_adam = renamed(scale_by_adam, b1="adam_b1", b2="adam_b2", eps="adam_eps", eps_root="adam_eps_root")
_adam_decay = renamed(add_decayed_weights, weight_decay="adam_weight_decay")
_adam_rate = renamed(scale_by_learning_rate, learning_rate="adam_learning_rate")


def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int = 5,
    beta: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-7,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    muon_weight_dimension_numbers: PyTree | Callable[[PyTree], PyTree] | None = None,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    ns_dtype: DTypeLike | None = None,
    consistent_rms: ScalarOrSchedule | None = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_eps_root: ScalarOrSchedule = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """Muon: steps of orthogonal matrices, and `scale_by_adam` for all other parameters.

    The update of a matrix is `scale_by_muon`, scaled by the shape; decay is decoupled:

        p <- p - learning_rate (s u + weight_decay p),    u from `scale_by_muon`
        s  = sqrt(max(1, outputs / inputs)), or consistent_rms sqrt(max(outputs, inputs))

    The update of all other parameters is `scale_by_adam` with `adam_weight_decay`, and with the
    same learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p:
    with the first s, it is about the spectral norm of the step.

    Muon is meant for hidden layers. The authors train embeddings and the last layer with Adam.
    These are matrices too, so pass `muon_weight_dimension_numbers` to select Muon's parameters.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      mu_dtype: dtype of the momentum, and of Adam's first moment.
      consistent_rms: root mean square of a step; 0.2 for learning rates of AdamW.
      muon_weight_dimension_numbers: tree of `MuonDimensionNumbers`, or a prefix of one, with
        None for the parameters that Adam trains; or a function of the parameters that returns one.
        None for matrices `(inputs, outputs)`, exactly the parameters with two axes.

    Differences: see `scale_by_muon` and `orthogonalize`. Adam has its usual arguments; in optax it
    has nesterov and Muon's eps. The authors' defaults for Adam are b2 0.95 and eps 1e-10, and
    their matrices are `(outputs, inputs)`, as in torch.

    Raises:
      ValueError: an argument is out of its range; or axes do not fit a parameter.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.eye(2), "b": jnp.zeros(2), "embedding": jnp.ones((5, 2))}
      >>> tx = fo.muon(
      ...     0.02,
      ...     muon_weight_dimension_numbers={
      ...         "w": fo.MuonDimensionNumbers(0, 1), "b": None, "embedding": None
      ...     },
      ... )
      >>> state = tx.init(params)
      >>> state.muon_momentum.mu["b"], state.scale_by_adam.mu["b"].shape
      (MaskedNode(), (2,))

    Reference: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024,
    kellerjordan.github.io/posts/muon. Liu et al., Muon is Scalable for LLM Training, 2025,
    arXiv:2502.16982, for consistent_rms.
    """
    leaves = MatrixLeaves.of(muon_weight_dimension_numbers)
    matrices, others = leaves.where(matrices=True), leaves.where(matrices=False)
    rounds = orthogonalize(
        ns_coeffs,
        ns_steps,
        eps,
        adaptive=adaptive,
        preconditioning=preconditioning,
        ns_dtype=ns_dtype,
    )
    steps: tuple[GradientTransformation, ...]
    if adam_learning_rate is None:
        steps = (scale_by_learning_rate(learning_rate),)
    else:
        steps = (
            masked(scale_by_learning_rate(learning_rate), matrices),
            masked(_adam_rate(adam_learning_rate), others),
        )
    return chain(
        masked(muon_momentum(beta, mu_dtype, nesterov=nesterov), matrices),
        on_matrices(rounds, leaves),
        on_matrices(scale_by_shape(consistent_rms), leaves),
        masked(add_decayed_weights(weight_decay, weight_decay_mask), matrices),
        masked(_adam(adam_b1, adam_b2, adam_eps, adam_eps_root, mu_dtype), others),
        masked(_adam_decay(adam_weight_decay), others),
        *steps,
    )
