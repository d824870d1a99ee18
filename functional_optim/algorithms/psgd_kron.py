"""PSGD with a Kronecker product as preconditioner, which is fitted so that it whitens updates."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.array_namespace import namespace
from ..core.numerics.matrices import as_matrices
from ..core.numerics.moments import bias_correction, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.arguments import (
    Decay,
    InitOnly,
    NonNegative,
    Optional_,
    Positive,
    RandomKey,
    StateDtype,
    Static,
    Within,
)
from ..core.rules.context import Slots, StepContext
from ..core.rules.schedule import Number, check_choice, schedule
from ..core.trees.placement import auto_sharded
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.masking import masked
from ..transforms.matrices import MatrixLeaves, on_matrices
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .kronecker_factors import AXES, balanced, fit_symmetric, fit_triangular, precondition

__all__ = ["precond_update_prob_schedule", "psgd_kron", "scale_by_psgd_kron"]

Array = jax.Array

GEOMETRIES = ("EQ", "Q0.5EQ1.5")
MEMORY_SAVE_MODES = ("smart_one_diag", "one_diag", "all_diag")

BALANCE_EVERY = 100
"""Updates of the factors from one balancing to the next; the authors balance one in 100."""


@schedule(
    bounds={
        "max_prob": "[0, 1]",
        "min_prob": "[0, 1]",
        "decay": "[0, inf)",
        "flat_start": "[0, inf)",
    },
    ordered=("min_prob", "max_prob"),
)
def precond_update_prob_schedule(
    step: Array,
    max_prob: Number = 1.0,
    min_prob: Number = 0.03,
    decay: Number = 0.001,
    flat_start: Number = 500,
) -> Array:
    """Makes the schedule of how often PSGD fits its preconditioner: often at first, then rarely.

        probability = max(min_prob, max_prob exp(-decay max(0, step - flat_start)))

    `step` and `flat_start` `()` are in updates, `decay` is per update; probabilities have no unit.

    Args:
      max_prob: the probability until flat_start.
      min_prob: the least probability.
      decay: rate of the decay per update.
      flat_start: the update after which the probability falls.

    Raises:
      ValueError: a probability is outside [0, 1], max_prob is less than min_prob, or decay or
        flat_start is negative.

    Example:
      >>> probability = precond_update_prob_schedule()
      >>> [round(float(probability(step)), 2) for step in (0, 500, 1500, 4500)]
      [1.0, 1.0, 0.37, 0.03]

    Reference: `precond_update_prob_schedule` of github.com/evanatyourservice/kron_torch.
    """
    xp = namespace(step)
    falling = max_prob * xp.exp(-decay * xp.maximum(step - flat_start, 0.0))
    return xp.maximum(falling, min_prob)


UPDATE_PROBABILITY = precond_update_prob_schedule()


def _as_matrices(x: Array, diagonal: bool) -> Array:
    """Reshapes a leaf to `(..., rows, columns)`; a vector is one row."""
    return x.reshape(1, -1) if diagonal else as_matrices(x)


def _dense_axes(
    shape: tuple[int, ...],
    diagonal: bool,
    max_size_triangular: float,
    max_skew_triangular: float,
    memory_save_mode: str | None,
) -> dict[str, bool]:
    """Returns the axes that have a factor; True if it is a matrix, False if it is diagonal."""
    if diagonal or len(shape) < 2:
        return {"columns": False}
    rows, columns = shape[-2:]
    longer = "rows" if rows > columns else "columns"
    dense = {}
    for axis, n in zip(AXES, (rows, columns), strict=True):
        saved = memory_save_mode == "all_diag" or (
            axis == longer
            and (memory_save_mode == "one_diag")
            | (memory_save_mode == "smart_one_diag" and rows != columns)
        )
        fits = 1 < n <= max_size_triangular and n * n <= max_skew_triangular * rows * columns
        dense[axis] = fits and not saved
    return dense


def _slots(
    p: Array,
    preconditioner_init_scale: float,
    geometry: str,
    diagonal: bool,
    max_size_triangular: float,
    max_skew_triangular: float,
    memory_save_mode: str | None,
) -> dict[str, Array | None]:
    dense = _dense_axes(
        p.shape, diagonal, max_size_triangular, max_skew_triangular, memory_save_mode
    )
    *batch, rows, columns = (1, p.size) if diagonal or p.ndim < 2 else p.shape
    batch = [] if diagonal or p.ndim < 2 else batch
    scale = jnp.asarray(preconditioner_init_scale ** (1 / len(dense)), p.dtype)
    slots: dict[str, Array | None] = {"mu": jnp.zeros_like(p)}
    for axis, n in zip(AXES, (rows, columns), strict=True):
        slots[f"q_{axis}"] = None
        if axis in dense:
            start = jnp.eye(n, dtype=p.dtype) if dense[axis] else jnp.ones(n, p.dtype)
            slots[f"q_{axis}"] = jnp.broadcast_to(scale * start, (*batch, *start.shape))
    for axis in AXES:
        has_bound = axis in dense and geometry != "EQ"
        slots[f"l_{axis}"] = jnp.zeros(batch, jnp.finfo(p.dtype).dtype) if has_bound else None
    return slots


def _step_scalars(
    t: Array, b1: Array, preconditioner_update_probability: Array, waited: Array, fits: Array
) -> dict[str, Array]:
    """Decides whether to fit the preconditioner: once in 1 / probability updates."""
    waited = waited + 1
    fit = waited >= 1 / preconditioner_update_probability
    fits = jnp.where(fit, jnp.mod(fits + 1, BALANCE_EVERY), fits)
    return {
        "gain": 1 - b1,
        "weight": bias_correction(b1, t),
        "fit": fit,
        "balance": fit & (fits == 0),
        "waited": jnp.where(fit, 0, waited),
        "fits": fits,
    }


def _check(options: Mapping[str, object]) -> str | None:
    name = "scale_by_psgd_kron"
    check_choice(options["geometry"], f"{name}: geometry", GEOMETRIES)
    if options["memory_save_mode"] is not None:
        mode = options["memory_save_mode"]
        check_choice(mode, f"{name}: memory_save_mode", MEMORY_SAVE_MODES)
    for key in ("max_size_triangular", "max_skew_triangular"):
        value = options[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            return f"{key} must be a number from 0, got {value!r}. Pass 0 for diagonal factors."
    return None


@leaf_rule(
    slots=_slots,
    step_scalars=_step_scalars,
    carry=lambda: {"waited": 0.0, "fits": 0.0},
    split_complex=False,
    check=_check,
)
def scale_by_psgd_kron(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    preconditioner_update_probability: Annotated[
        Hyperparameter, Within("(0, 1]")
    ] = UPDATE_PROBABILITY,
    preconditioner_lr: Positive = 0.1,
    max_rms: Positive = 1.1,
    max_abs: Annotated[Hyperparameter | None, Within("(0, inf)"), Optional_] = None,
    key: Annotated[Any, RandomKey] = 0,
    *,
    geometry: Static[str] = "EQ",
    momentum_into_preconditioner: Static[bool] = True,
    preconditioner_init_scale: Annotated[float, Within("(0, inf)"), InitOnly] = 1.0,
    lipschitz_decay: Decay = 0.9,
    damping: NonNegative = 1e-9,
    max_size_triangular: Static[float] = 8192,
    max_skew_triangular: Static[float] = math.inf,
    memory_save_mode: Static[str | None] = None,
    diagonal: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Whitens the momentum by a Kronecker product that is fitted to it step by step.

    For one matrix of shape `(rows, columns)`, the last two axes of a leaf, and its update number
    t = 1, 2, ...:

        mu <- b1 mu + (1 - b1) g,    m = mu / (1 - b1^t)
        Q_rows, Q_columns <- fitted to m, so that E[P m m^T P] -> I
        u = Q_rows^T Q_rows m Q_columns^T Q_columns
        u <- u min(1, max_rms / rms(u)),    then clipped to [-max_abs, max_abs]

    With the geometry `"EQ"`, a factor is upper triangular, and is fitted by solving a triangular
    system with a random matrix V:

        x  = m + sqrt(eps) mean(|m|) V
        A  = Q_rows x Q_columns^T,    B = Q_rows^-T V Q_columns^-1
        Q_rows    <- Q_rows - preconditioner_lr triu(A A^T - B B^T) / |A A^T + B B^T| Q_rows
        Q_columns <- likewise with A^T A and B^T B

    With the geometry `"Q0.5EQ1.5"`, a factor is nearly symmetric, and no system is solved:

        x  = P (m + (damping + eps |m|) V)
        l  = |x x^T| + columns
        L_rows <- max(l, lipschitz_decay L_rows + (1 - lipschitz_decay) l)
        Q_rows <- Q_rows - preconditioner_lr / L_rows (x x^T - columns I) Q_rows
        Q_rows <- a rotation of Q_rows towards a symmetric matrix; the columns likewise

    A vector has one diagonal factor. The factors are fitted once in 1 /
    preconditioner_update_probability updates, and every 100th time their largest elements are made
    equal. V is the same for all matrices of a leaf, and depends only on the key, on the number of
    updates, and on the leaf's index. If the gradient is zero, or a factor would not be finite, the
    factors do not change.

    The state keeps mu of shape `*p`, in units of g; Q as `q_rows` `(..., rows, rows)` and
    `q_columns`, or `(..., rows)` where they are diagonal; L as `l_rows` and `l_columns` `(...)`;
    the words of the key under `keys`. Slots that a parameter does not have are `NoSlot()`. u has no
    unit. `b1`, `lipschitz_decay`, `preconditioner_lr`, `preconditioner_update_probability`,
    `max_rms` and `max_abs` `()` have no unit; `damping` `()` is in units of g.

    Args:
      b1: decay of mu, in [0, 1).
      preconditioner_update_probability: how often to fit, as a share of the updates.
      preconditioner_lr: step size of the fit.
      max_rms: bound of the root mean square of u; 2 in the authors' newer code.
      max_abs: bound of the elements of u, 10 in the authors' newer code; None for no bound.
      key: an integer, or a key of `jax.random.key`.
      geometry: `"EQ"` or `"Q0.5EQ1.5"`, which the authors recommend where triangular systems are
        slow.
      momentum_into_preconditioner: whether the factors are fitted to m, or else to g.
      preconditioner_init_scale: Q starts as this number times I; in units of g^-0.5.
      lipschitz_decay: decay of L, for `"Q0.5EQ1.5"`.
      damping: deviation of the noise, for `"Q0.5EQ1.5"`, which bounds P by 1 / damping.
      max_size_triangular: longest axis with a matrix as its factor; longer ones are diagonal.
      max_skew_triangular: an axis of n elements is diagonal too if n^2 is more than this times
        rows columns; 1 in the authors' newer code.
      memory_save_mode: `"one_diag"` makes the factor of the longer axis diagonal,
        `"smart_one_diag"` does so where the matrix is not square, `"all_diag"` makes both diagonal.
      diagonal: whether a leaf of any shape is one vector, with one diagonal factor.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: `"EQ"` is the code of evanatyourservice/kron_torch, where the noise of x stays in
    m, and thus in u. `"Q0.5EQ1.5"` is the code of the paper's author, lixilinx/psgd_torch, except
    for its momentum, whose decay grows from 0 to b1, and for its first scale, which may be
    measured. Both balance at random, 1 time in 100, and treat a leaf of three axes or more as one
    matrix, or give each axis a factor; here its first axes are batch axes. Both also fit the
    factors to zero gradients, which makes the factors of `"EQ"` overflow.

    Raises:
      TypeError: key is neither an integer nor a key.
      ValueError: an argument is out of its range, or geometry or memory_save_mode is unknown.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}
      >>> tx = fo.scale_by_psgd_kron(preconditioner_lr=0.5, geometry="Q0.5EQ1.5")
      >>> state = tx.init(params)
      >>> state.q_rows["w"].shape, state.q_columns["w"].shape, state.q_columns["b"].shape
      ((2, 2), (3, 3), (3,))
      >>> g = {"w": jnp.ones((2, 3)), "b": jnp.array([3.0, 1.0, 0.3])}
      >>> for _ in range(40):
      ...     u, state = tx.update(g, state)
      >>> [round(float(x), 1) for x in u["b"]]
      [1.0, 1.0, 1.0]

    Reference: Li, Preconditioned stochastic gradient descent, 2018, arXiv:1512.04202. Pooladzandi
    & Li, Curvature-informed SGD via general purpose Lie-group preconditioners, 2024,
    arXiv:2402.11858.
    """
    del p, state_dtype, preconditioner_init_scale, max_size_triangular, max_skew_triangular
    del memory_save_mode, preconditioner_update_probability
    if g.size == 0:
        return g, slots._asdict()
    mu = moment(slots.mu, g, b1.astype(g.dtype), ctx.gain.astype(g.dtype))
    # The maths receives all slots of a complex leaf as complex arrays; L is real.
    state = {
        k: x if k.startswith("q_") else x.real for k, x in slots._asdict().items() if k != "mu"
    }
    numbers = {"lr": preconditioner_lr, "decay": lipschitz_decay, "damping": damping}
    scalars = {"weight": ctx.weight, "fit": ctx.fit, "balance": ctx.balance, "rms": max_rms}
    scalars |= numbers if max_abs is None else numbers | {"abs": max_abs}

    def whitened(
        g: Array, mu: Array, state: dict[str, Array], key: Array, scalars: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        m = _as_matrices(scalars["weight"].astype(g.dtype) * mu, diagonal)
        target = m if momentum_into_preconditioner else _as_matrices(g, diagonal)

        def fit(state: dict[str, Array]) -> dict[str, Array]:
            return _fitted(state, target, key, geometry, scalars)

        state = jax.lax.cond(scalars["fit"], fit, lambda state: state, state)
        u = precondition(_by_axis(state, "q"), m)
        return _clipped(u, scalars["rms"], scalars.get("abs")).reshape(g.shape), state

    u, state = auto_sharded(
        whitened,
        lambda shape, spec, mesh: (spec, dict.fromkeys(state, PartitionSpec())),
        g,
        mu,
        state,
        key,
        scalars,
    )
    return u, {"mu": mu, **state}


def _by_axis(state: Mapping[str, Array], letter: str) -> dict[str, Array]:
    return {axis: state[f"{letter}_{axis}"] for axis in AXES if f"{letter}_{axis}" in state}


def _fitted(
    state: dict[str, Array], x: Array, key: Array, geometry: str, scalars: Mapping[str, Array]
) -> dict[str, Array]:
    """Fits the factors to matrices, except if a matrix is zero or its factors are not finite."""
    batch_ndim = x.ndim - 2
    factors = balanced(_by_axis(state, "q"), batch_ndim, scalars["balance"])
    bounds = _by_axis(state, "l")
    lr = scalars["lr"]
    new_bounds: dict[str, Array] = {}
    if geometry == "EQ":
        new = fit_triangular(factors, x, key, lr)
    else:
        new, new_bounds = fit_symmetric(
            factors, bounds, x, key, lr, scalars["decay"], scalars["damping"]
        )
    is_valid = jnp.any(x != 0, axis=(-2, -1))
    for q in new.values():
        is_valid &= jnp.all(jnp.isfinite(q), axis=tuple(range(batch_ndim, q.ndim)))
    results = {f"q_{k}": q for k, q in new.items()} | {f"l_{k}": b for k, b in new_bounds.items()}

    def unless_failed(k: str, new: Array) -> Array:
        use = jnp.expand_dims(is_valid, tuple(range(is_valid.ndim, new.ndim)))
        return jnp.where(use, new, state[k])

    return {k: unless_failed(k, x) for k, x in results.items()}


def _clipped(u: Array, max_rms: Array, max_abs: Array | None) -> Array:
    """Bounds the root mean square of each matrix, and then the magnitude of its elements."""
    square = jnp.mean(jnp.square(jnp.abs(u)), axis=(-2, -1), keepdims=True)
    # The authors add 1e-12 so that zero is not divided by zero.
    u = u * jnp.minimum(1, max_rms / (safe_sqrt(square) + 1e-12)).astype(u.dtype)
    if max_abs is None:
        return u
    return u / jnp.maximum(jnp.abs(u) / max_abs, 1).astype(u.dtype)


@composed
def psgd_kron(
    learning_rate: ScalarOrSchedule = 3e-4,
    b1: ScalarOrSchedule = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    preconditioner_update_probability: ScalarOrSchedule = UPDATE_PROBABILITY,
    preconditioner_lr: ScalarOrSchedule = 0.1,
    max_rms: ScalarOrSchedule = 1.1,
    max_abs: ScalarOrSchedule | None = None,
    key: int | jax.Array = 0,
    *,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    geometry: str = "EQ",
    momentum_into_preconditioner: bool = True,
    preconditioner_init_scale: float = 1.0,
    lipschitz_decay: ScalarOrSchedule = 0.9,
    damping: ScalarOrSchedule = 1e-9,
    max_size_triangular: float = 8192,
    max_skew_triangular: float = math.inf,
    memory_save_mode: str | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """PSGD-Kron: `scale_by_psgd_kron`, decay of matrices, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_psgd_kron`

    All parameters that are not matrices have a diagonal preconditioner, and do not decay.
    `learning_rate` `()` is in units of p, lower than for Adam by a factor of about 3.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      axes: tree of `MatrixAxes`, or a prefix of one, with None for the parameters that are not
        matrices; or a function of the parameters that returns one. None for `axes_by_name()`,
        which decides by names and shapes.
      See `scale_by_psgd_kron`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: see `scale_by_psgd_kron`. The authors whiten embeddings as matrices too.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.psgd_kron(0.1), {"w": jnp.ones((2, 2))}
      >>> updates, _ = tx.update({"w": jnp.full((2, 2), 100.0)}, tx.init(params), params)
      >>> [f"{u:.2f}" for u in updates["w"].ravel()]
      ['-0.11', '-0.11', '-0.11', '-0.11']

    Reference: Pooladzandi & Li, Curvature-informed SGD via general purpose Lie-group
    preconditioners, 2024, arXiv:2402.11858.
    """

    def whiten(diagonal: bool) -> GradientTransformation:
        return scale_by_psgd_kron(
            b1,
            preconditioner_update_probability,
            preconditioner_lr,
            max_rms,
            max_abs,
            key,
            geometry=geometry,
            momentum_into_preconditioner=momentum_into_preconditioner,
            preconditioner_init_scale=preconditioner_init_scale,
            lipschitz_decay=lipschitz_decay,
            damping=damping,
            max_size_triangular=max_size_triangular,
            max_skew_triangular=max_skew_triangular,
            memory_save_mode=memory_save_mode,
            diagonal=diagonal,
            state_dtype=state_dtype,
        )

    leaves = MatrixLeaves.of(axes, "psgd_kron")
    return chain(
        on_matrices(whiten(diagonal=False), leaves),
        masked(whiten(diagonal=True), leaves.where(matrices=False)),
        masked(add_decayed_weights(weight_decay, weight_decay_mask), leaves.where(matrices=True)),
        scale_by_learning_rate(learning_rate),
    )
