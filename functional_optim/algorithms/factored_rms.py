"""The second moment of Adafactor, factored into the means of rows and of columns."""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..core.decorators import leaf_rule
from ..core.numerics.moments import moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rules.arguments import NonNegative, Optional_, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.rules.schedule import check_choice
from ..core.trees.placement import sharded_as, zeros_like_mean

__all__ = ["scale_by_factored_rms"]

Array = jax.Array
Dims = Literal["largest", "last"]
DecayRate = Callable[[Array, Array], Array]


def _axes(shape: tuple[int, ...], factored: bool, least: int, dims: str) -> tuple[int, int] | None:
    """Returns the axes of the rows and of the columns; None for an unfactored parameter."""
    if not factored or len(shape) < 2 or 0 in shape:
        return None
    # The sort is stable, so that the last of several equal axes are chosen.
    by_size = np.argsort(shape, kind="stable") if dims == "largest" else np.arange(len(shape))
    rows, columns = (int(i) for i in by_size[-2:])
    return (rows, columns) if min(shape[rows], shape[columns]) >= least else None


def _slots(
    p: Array, factored: bool, min_dim_size_to_factor: int, dims: str
) -> dict[str, Array | None]:
    axes = _axes(p.shape, factored, min_dim_size_to_factor, dims)
    if axes is None:
        return {"v_row": None, "v_col": None, "v": jnp.zeros_like(p)}
    rows, columns = axes
    return {"v_row": zeros_like_mean(p, columns), "v_col": zeros_like_mean(p, rows), "v": None}


def _step_scalars(
    t: Array,
    decay_rate: Array,
    step_offset: Array,
    decay_rate_fn: DecayRate | None,
) -> dict[str, Array]:
    """Computes the weights of the old mean and of the new squares at update number t."""
    count = jnp.maximum(t - step_offset, 1)
    if decay_rate_fn is not None:
        decay = decay_rate_fn(count - 1, decay_rate)
        return {"decay": decay, "gain": 1 - decay}
    gain = count**-decay_rate
    return {"decay": 1 - gain, "gain": gain}


def _check(options: Mapping[str, object]) -> str | None:
    check_choice(options["dims"], "scale_by_factored_rms: dims", ("largest", "last"))
    least = options["min_dim_size_to_factor"]
    if isinstance(least, bool) or not isinstance(least, int):
        return f"min_dim_size_to_factor must be an integer, got {least!r}. Pass 128, for example."
    if least < 0:
        return f"min_dim_size_to_factor must be at least 0, got {least}."
    if options["epsilon"] is None and not options["eps_as_floor"]:
        return "epsilon=None needs eps_as_floor=True. Pass a number, such as 1e-30."
    return None


@leaf_rule(slots=_slots, step_scalars=_step_scalars, check=_check)
def scale_by_factored_rms(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    factored: Static[bool] = True,
    decay_rate: NonNegative = 0.8,
    step_offset: NonNegative = 0,
    min_dim_size_to_factor: Static[int] = 128,
    epsilon: Annotated[Hyperparameter | None, Within("[0, inf)"), Optional_] = 1e-30,
    decay_rate_fn: Static[DecayRate | None] = None,
    *,
    dims: Static[Dims] = "largest",
    eps_as_floor: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides updates by their running root mean square, factored into rows and columns.

    For one parameter, as a matrix of m rows and n columns (its other axes are batch axes), and its
    update number t = 1, 2, ..., with mean_j the mean over each row, and mean_i over each column:

        w     = max(t - step_offset, 1)^-decay_rate
        v_row <- v_row + w (mean_j(g^2 + epsilon) - v_row)
        v_col <- v_col + w (mean_i(g^2 + epsilon) - v_col)
        u     = g / sqrt(v_row v_col / mean_i(v_row))

    The state keeps v_row, of shape `(m, 1)`, and v_col, of shape `(1, n)`, in place of the
    `(m, n)` elements of Adam's second moment. Their product is exact for a matrix of rank 1, and
    otherwise the matrix of rank 1 that is nearest in the generalized Kullback-Leibler divergence.
    A parameter that is not factored, such as a vector, has v of the parameter's shape:

        v <- v + w (g^2 + epsilon - v)
        u  = g / sqrt(v)

    `decay_rate` `()` has no unit, `step_offset` is in updates, `epsilon` `()` in units of g^2;
    u has no unit. Slots that a parameter does not have are `NoSlot()` in the state.

    Args:
      factored: whether to factor at all; False keeps v for every parameter.
      decay_rate: exponent of the decay of w, the weight of a new square.
      step_offset: number of updates that are subtracted from t, for a run that continues with the
        state of another.
      min_dim_size_to_factor: a parameter is factored if both axes have at least this size.
      epsilon: added to g^2, in units of g^2; None for the machine epsilon of the computation, which
        needs eps_as_floor.
      decay_rate_fn: replaces the formula of w: `(count, decay_rate) -> 1 - w`, where count is the
        number of updates since step_offset, from 0; for example a decay with an upper bound below
        1.
      dims: the axes of rows and columns: `"largest"` for the two largest, the larger one for
        the columns, as in Mesh TensorFlow and optax; or `"last"` for the last two, as in the
        paper, fairseq and torch.
      eps_as_floor: as in torch: epsilon, in units of g, is not added to g^2, but is a lower bound
        of mean_i(v_row), and its square is a lower bound of the value under the root.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: optax computes the same updates, but keeps v_row and v_col without the axis of
    size 1, arrays of one zero for slots that a parameter does not have, and all of them in the
    parameter's dtype; here they are at least float32. Zero gradients with epsilon 0 give 0, and
    not NaN. torch uses the machine epsilon of the first parameter's dtype for all parameters; here
    it is the epsilon of each parameter's computation.

    Raises:
      ValueError: decay_rate, step_offset or epsilon negative, or dims is unknown.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_factored_rms(min_dim_size_to_factor=2)
      >>> params = {"w": jnp.zeros((2, 3))}
      >>> state = tx.init(params)
      >>> state.v_row["w"].shape, state.v_col["w"].shape, state.v["w"]
      ((2, 1), (1, 3), NoSlot())
      >>> rank_one = jnp.outer(jnp.array([1.0, -10.0]), jnp.array([3.0, 0.2, 1.0]))
      >>> tx.update({"w": rank_one}, state)[0]["w"].round(5).tolist()
      [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]

    Reference: Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost,
    ICML 2018, Algorithms 2 to 4, arXiv:1804.04235. Zhai et al., Scaling Vision Transformers,
    CVPR 2022, section 3.4, arXiv:2106.04560, for a bounded decay.
    """
    del p, decay_rate, step_offset, decay_rate_fn, state_dtype
    limits = jnp.finfo(g.dtype)
    if epsilon is None:
        epsilon = float(limits.eps)
    square = jnp.square(g) if eps_as_floor else epsilon + jnp.square(g)
    axes = _axes(g.shape, factored, min_dim_size_to_factor, dims)
    # The square of epsilon may underflow to 0, and a divisor must not be 0.
    tiny = float(limits.tiny)
    least = jnp.maximum(epsilon * epsilon, tiny) if eps_as_floor else tiny
    if axes is None:
        v = moment(slots.v, square, ctx.decay, ctx.gain)
        return g / jnp.sqrt(jnp.maximum(v, least)), {"v": v}
    rows, columns = axes
    row_means = jnp.mean(square, axis=columns, keepdims=True)
    column_means = jnp.mean(square, axis=rows, keepdims=True)
    v_row = moment(sharded_as(slots.v_row, row_means), row_means, ctx.decay, ctx.gain)
    v_col = moment(sharded_as(slots.v_col, column_means), column_means, ctx.decay, ctx.gain)
    mean = jnp.mean(v_row, axis=rows, keepdims=True)
    # Where squares overflow, the quotient of infinite means is NaN, and the update is set to 0.
    overflows = mean == jnp.inf
    if eps_as_floor:
        share = v_row / jnp.maximum(mean, jnp.maximum(epsilon, tiny))
        v = jnp.where(overflows, 1, share) * jnp.where(overflows, mean, v_col)
        u = g / jnp.sqrt(jnp.maximum(v, least))
    else:
        # One root after the other, because a product of two means near epsilon underflows to 0.
        row_factor = safe_sqrt(mean) / jnp.sqrt(jnp.maximum(v_row, tiny))
        row_factor = jnp.where(overflows, 0, row_factor)
        u = row_factor * g / jnp.sqrt(jnp.maximum(v_col, tiny))
    return u, {"v_row": v_row, "v_col": v_col}
