"""Muon: orthogonalized momentum."""

from collections.abc import Callable, Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import moment
from ..core.numerics.precision import one_minus_power
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.arguments import Fraction, Optional_, SlotDtype, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..sharding.matrices import MatrixSharding
from ..transforms.masking import masked
from ..transforms.matrices import MatrixLeaves, on_matrices
from .newton_schulz import STANDARD, Rounds, orthogonalize
from .orthogonalize_on_mesh import orthogonalize_by
from .with_adam import with_adam_for_others

__all__ = ["SCALES", "muon", "muon_momentum", "scale_by_muon", "scale_by_shape"]

Array = jax.Array


def _step_scalars(t: Array, beta: Array, nesterov: bool, bias_correction: bool) -> dict[str, Array]:
    """Computes the weight of g in mu, and the weights of mu and g in u."""
    gain = 1 - beta
    scalars = {"gain": gain}
    if bias_correction:
        mean = 1 / one_minus_power(beta, t + 1 if nesterov else t)
        scalars |= {"mean_weight": beta * mean if nesterov else mean}
        scalars |= {"weight": gain / one_minus_power(beta, t)} if nesterov else {}
    return scalars


@leaf_rule(slots=lambda p: {"mu": jnp.zeros_like(p)}, step_scalars=_step_scalars)
def muon_momentum(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    beta: Fraction = 0.95,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    nesterov: Static[bool] = True,
    bias_correction: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by their running mean, as in Muon.

    For one parameter of shape `*p`: mu <- beta mu + (1 - beta) g; u = mu, or with nesterov
    u = beta mu + (1 - beta) g. With bias_correction, as in optax, u = mu / (1 - beta^t), or
    u = beta mu / (1 - beta^(t+1)) + (1 - beta) g / (1 - beta^t). `beta` `()` has no unit; mu and u
    are in units of g.
    """
    del p, mu_dtype, state_dtype
    # g comes first, and in u last: in this order XLA compiles one loop for all leaves of a shape.
    mu = moment(g, slots.mu, ctx.gain, beta)
    if not bias_correction:
        return moment(mu, g, beta, ctx.gain) if nesterov else mu, {"mu": mu}
    u = moment(mu, g, ctx.mean_weight, ctx.weight) if nesterov else ctx.mean_weight * mu
    return u, {"mu": mu}


SCALES = ("original", "match_rms", "unit_rms")


def _check_scale(options: Mapping[str, object]) -> str | None:
    scale, consistent_rms = options["scale"], options["consistent_rms"]
    if scale not in SCALES:
        return f"scale must be one of {', '.join(map(repr, SCALES))}, got {scale!r}."
    if scale == "unit_rms" and consistent_rms is not None:
        return (
            f"consistent_rms must be None with scale='unit_rms', got {consistent_rms!r}. Pass "
            "scale='match_rms' to choose the root mean square of a step."
        )
    return None


@leaf_rule(split_complex=False, check=_check_scale)
def scale_by_shape(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    consistent_rms: Annotated[Hyperparameter | None, Optional_, Within("[0, inf)")] = None,
    *,
    scale: Static[str] = "original",
    rows_are_outputs: Static[bool] = False,
) -> tuple[Array, dict[str, Array]]:
    """Scales orthogonal matrices by their shape, so that one learning rate fits all shapes.

    For a matrix of shape `(inputs, outputs)`, the last two axes of a leaf:

        u = sqrt(max(1, outputs / inputs)) g              scale "original", Jordan et al.
        u = consistent_rms sqrt(max(inputs, outputs)) g   scale "match_rms", Liu et al.
        u = sqrt(outputs / inputs) g                      scale "unit_rms", Pethick et al.

    If g is orthogonal, `consistent_rms` `()` is the root mean square of u; None for 0.2, about the
    root mean square of AdamW's steps. With `"unit_rms"`, u maps inputs of root mean square 1 to
    outputs of root mean square at most 1.

    Args:
      consistent_rms: a number makes the scale `"match_rms"`, as in optax.
      rows_are_outputs: whether the shape is `(outputs, inputs)`, as in torch.
    """
    del slots, p, ctx
    outputs, inputs = g.shape[-2:] if rows_are_outputs else g.shape[:-3:-1]
    if g.size == 0:
        return g, {}
    if scale == "match_rms" and consistent_rms is None:
        consistent_rms = 0.2
    if consistent_rms is None:
        ratio = outputs / inputs
        factor = jnp.asarray((ratio if scale == "unit_rms" else max(1.0, ratio)) ** 0.5)
    else:
        factor = jnp.asarray(consistent_rms) * max(outputs, inputs) ** 0.5
    return factor.astype(g.dtype) * g, {}


@composed
def scale_by_muon(
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int | None = None,
    beta: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-7,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    state_dtype: StateDtype = None,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    method: str = "newton_schulz",
    safety_factor: float | None = None,
    ns_dtype: DTypeLike | None = None,
    eps_as_floor: bool = False,
    gram: bool | None = None,
    bias_correction: bool = False,
) -> GradientTransformation:
    """Orthogonalizes a running mean of updates: `muon_momentum`, then `orthogonalize`.

    For one parameter of shape `*p`, whose last two axes are a matrix:

        mu <- beta mu + (1 - beta) g
        u   = orthogonalize(mu), or orthogonalize(beta mu + (1 - beta) g) with nesterov

    The state keeps mu, of shape `*p`, in units of g. u has no unit: its singular values are
    near 1 for any size of g.

    Args:
      beta: decay of mu, in [0, 1].
      mu_dtype: dtype of mu.
      nesterov: whether to orthogonalize beta mu + (1 - beta) g, the look-ahead of the mean.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.
      bias_correction: whether to correct the bias of mu and of g before they are mixed, as in
        optax.
      See `orthogonalize` for the others.

    Differences: none from the authors' code and from torch, whose documentation writes the mean as
    a sum. With nesterov, optax corrects the bias of mu (with t + 1) and of g, which changes their
    mixture early in a run, as `bias_correction` does here; and its state has the triples of
    coefficients.

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
        muon_momentum(
            beta,
            mu_dtype,
            nesterov=nesterov,
            bias_correction=bias_correction,
            state_dtype=state_dtype,
        ),
        orthogonalize(
            ns_coeffs,
            ns_steps,
            eps,
            adaptive=adaptive,
            preconditioning=preconditioning,
            method=method,
            safety_factor=safety_factor,
            ns_dtype=ns_dtype,
            eps_as_floor=eps_as_floor,
            gram=gram,
        ),
    )


@composed
def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int | None = None,
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
    method: str = "newton_schulz",
    safety_factor: float | None = None,
    ns_dtype: DTypeLike | None = None,
    eps_as_floor: bool = False,
    gram: bool | None = None,
    matrix_sharding: MatrixSharding | None = None,
    bias_correction: bool = False,
    scale: str = "original",
    consistent_rms: ScalarOrSchedule | None = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_eps_root: ScalarOrSchedule = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_nesterov: bool = False,
) -> GradientTransformation:
    """Muon for matrices, and Adam for all other parameters.

    The update of a matrix is `scale_by_muon`, scaled by the shape; decay is decoupled:

        p <- p - learning_rate (s u + weight_decay p),    u from `scale_by_muon`
        s  = sqrt(max(1, outputs / inputs))               scale "original"
        s  = consistent_rms sqrt(max(outputs, inputs))    scale "match_rms"
        s  = sqrt(outputs / inputs)                       scale "unit_rms"

    The update of all other parameters is `scale_by_adam` with `adam_weight_decay`, and with the
    same learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p:
    with the first s, it is about the spectral norm of the step.

    Muon is meant for hidden layers. The authors train embeddings and the last layer with Adam.
    `axes_by_name` recognizes these by their names; `describe` shows what each parameter gets.

    Args:
      learning_rate: learning rate of all parameters; of the matrices alone with adam_learning_rate.
      weight_decay: factor of the decoupled decay of the matrices.
      weight_decay_mask: which matrices decay; see `masked`.
      mu_dtype: dtype of the momentum, and of Adam's first moment.
      muon_weight_dimension_numbers: tree of `MatrixAxes` or `MuonDimensionNumbers`, or a prefix of
        one, with None for the parameters that Adam trains; or a function of the parameters that
        returns one. None for `axes_by_name()`, which decides by names and shapes.
      matrix_sharding: how the devices of a mesh share the orthogonalization; see
        `sharding.MatrixSharding`. None leaves it to the compiler.
      bias_correction: whether to correct the bias of the momentum, as in optax.
      scale: how s depends on the shape: `"original"`, `"match_rms"` or `"unit_rms"`.
      consistent_rms: root mean square of a step with scale `"match_rms"`, 0.2 for learning rates of
        AdamW; a number makes this the scale, as in optax.
      adam_b1, adam_b2, adam_eps, adam_eps_root, adam_nesterov: arguments of `scale_by_adam`, for
        the parameters that are not matrices.
      adam_weight_decay: factor of the decoupled decay of the parameters that Adam trains.
      adam_learning_rate: learning rate of the parameters that Adam trains; None for the learning
        rate of the matrices.
      See `scale_by_muon` and `orthogonalize` for the others.

    `muon_preset` returns arguments that reproduce the authors' code, Moonlight, torch, optax or
    Dion: `muon(1e-3, **muon_preset("moonlight"))`.

    Differences: see `scale_by_muon` and `orthogonalize`. Adam has its usual arguments; in optax it
    has nesterov and Muon's eps, and all parameters of two axes are matrices. The authors' defaults
    for Adam are b2 0.95 and eps 1e-10, and their matrices are `(outputs, inputs)`, as in torch.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix (the message lists all parameters).

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.eye(2), "b": jnp.zeros(2), "embedding": jnp.ones((5, 2))}
      >>> state = fo.muon(0.02).init(params)
      >>> state.muon_momentum.mu["b"], state.scale_by_adam.mu["b"].shape
      (MaskedNode(), (2,))

    Reference: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024,
    kellerjordan.github.io/posts/muon. Liu et al., Muon is Scalable for LLM Training, 2025,
    arXiv:2502.16982, for consistent_rms.
    """
    leaves = MatrixLeaves.of(muon_weight_dimension_numbers, "muon", "muon_weight_dimension_numbers")
    rounds = orthogonalize_by(matrix_sharding)(
        ns_coeffs,
        ns_steps,
        eps,
        adaptive=adaptive,
        preconditioning=preconditioning,
        method=method,
        safety_factor=safety_factor,
        ns_dtype=ns_dtype,
        eps_as_floor=eps_as_floor,
        gram=gram,
    )
    momentum = muon_momentum(beta, mu_dtype, nesterov=nesterov, bias_correction=bias_correction)
    direction = (
        masked(momentum, leaves.where(matrices=True)),
        on_matrices(rounds, leaves),
        on_matrices(scale_by_shape(consistent_rms, scale=scale), leaves),
    )
    return with_adam_for_others(
        direction,
        leaves,
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        adam_eps=adam_eps,
        adam_eps_root=adam_eps_root,
        adam_weight_decay=adam_weight_decay,
        adam_learning_rate=adam_learning_rate,
        adam_nesterov=adam_nesterov,
        adam_mu_dtype=mu_dtype,
    )
