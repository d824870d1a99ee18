"""The second moment of Adafactor, kept as the means of rows and of columns."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.moments import MeanWeights, running_mean
from ..core.placement import reduced
from ..core.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..core.schedule import check_choice

__all__ = ["scale_by_factored_rms"]

Array = jax.Array


def _axes(shape: tuple[int, ...], factored: bool, least: int, dims: str) -> tuple[int, int] | None:
    """The axis of the rows and that of the columns; None where all elements are kept."""
    if not factored or len(shape) < 2 or 0 in shape:
        return None
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
    return {"v_row": reduced(p, columns), "v_col": reduced(p, rows), "v": None}


def _clock(
    t: Array,
    last: Mapping[str, Array],
    decay_rate: Array,
    step_offset: Array,
    decay_rate_fn: Callable[[Any, Any], Any] | None,
    **_: Any,
) -> tuple[dict[str, Array], dict[str, Array]]:
    since = jnp.maximum(t - step_offset, 1)
    if decay_rate_fn is not None:
        return {"gain": 1 - decay_rate_fn(since - 1, decay_rate)}, {}
    return {"gain": since**-decay_rate}, {}


def _check(given: Mapping[str, Any]) -> str | None:
    check_choice(given["dims"], "scale_by_factored_rms: dims", ("largest", "last"))
    least = given["min_dim_size_to_factor"]
    if isinstance(least, bool) or not isinstance(least, int):
        return f"min_dim_size_to_factor must be an integer, got {least!r}. Pass 128, for example."
    if given["epsilon"] is None and not given["eps_as_floor"]:
        return "epsilon=None needs eps_as_floor=True. Pass a number, such as 1e-30."
    return None


@leaf_rule(
    slots=_slots,
    clock=_clock,
    static=("factored", "min_dim_size_to_factor", "decay_rate_fn", "dims", "eps_as_floor"),
    optional=("epsilon",),
    bounds={"decay_rate": "[0, inf)", "step_offset": "[0, inf)", "epsilon": "[0, inf)"},
    check=_check,
)
def scale_by_factored_rms(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    factored: bool = True,
    decay_rate: Hyperparameter = 0.8,
    step_offset: Hyperparameter = 0,
    min_dim_size_to_factor: int = 128,
    epsilon: Hyperparameter | None = 1e-30,
    decay_rate_fn: Callable[[Any, Any], Any] | None = None,
    *,
    dims: str = "largest",
    eps_as_floor: bool = False,
) -> tuple[Array, dict[str, Array]]:
    """Divides updates by their running root mean square, of which it keeps rows and columns.

    For one parameter, as a matrix of m rows and n columns (its other axes count matrices), and
    its update number t = 1, 2, ...; `mean_j` is the mean of each row, `mean_i` of each column:

        w     = (t - step_offset)^-decay_rate,    1 at first
        v_row <- v_row + w (mean_j(g^2 + epsilon) - v_row)
        v_col <- v_col + w (mean_i(g^2 + epsilon) - v_col)
        u     = g / sqrt(v_row v_col / mean_i(v_row))

    The state keeps v_row, of shape `(m, 1)`, and v_col, of shape `(1, n)`, in place of the
    `(m, n)` numbers of Adam's second moment: they give the matrix exactly where it has rank 1,
    and otherwise the one of rank 1 that is nearest in the generalized Kullback-Leibler
    divergence. A parameter that is not factored, a vector say, has v of its own shape:

        v <- v + w (g^2 + epsilon - v)
        u  = g / sqrt(v)

    `decay_rate` `()` has no unit, `step_offset` is in updates, `epsilon` `()` in units of g^2;
    u has no unit. The slots that a parameter does not have are `NoSlot()` in the state.

    Args:
      factored: False keeps all elements of every parameter.
      step_offset: number of updates that do not count, for a run that goes on with the state
        of another.
      min_dim_size_to_factor: a parameter is factored if both axes have at least this size.
      epsilon: None is the machine epsilon of the computation; it needs eps_as_floor.
      decay_rate_fn: `(updates since step_offset, from 0; decay_rate) -> 1 - w`, such as one that
        bounds the decay away from 1.
      dims: which axes are rows and columns: `"largest"`, the two largest, of which the larger
        is that of the columns, as in Mesh TensorFlow and optax; or `"last"`, the last two, as in
        the paper, fairseq and torch.
      eps_as_floor: as in torch: epsilon, in units of g, is not added to g^2, but is the least
        that mean_i(v_row) can be, and its square the least of what is under the root.

    Differences: optax reads as the same numbers, but keeps v_row and v_col without the axis of
    size 1 and arrays of one zero for what a parameter does not have, in the parameter's dtype;
    ours are at least float32. Zero gradients with epsilon 0 give 0, and not NaN. In torch, the
    epsilon of the first parameter's dtype serves all others; here each has its own, and narrow
    ones have that of float32.

    Raises:
      ValueError: decay_rate, step_offset or epsilon negative, or dims is something else.

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
    del p, decay_rate, step_offset, decay_rate_fn
    if epsilon is None:
        epsilon = jnp.finfo(g.dtype).eps
    added, least = (0.0, epsilon) if eps_as_floor else (epsilon, 0.0)
    weights = MeanWeights(drift=0.0, gain=now.gain)
    square = jnp.square(g) + added
    axes = _axes(g.shape, factored, min_dim_size_to_factor, dims)
    if axes is None:
        v = running_mean(slots.v, square, weights)
        return g * _inverse_root(jnp.maximum(v, least**2)), {"v": v}
    rows, columns = axes
    v_row = running_mean(slots.v_row, jnp.mean(square, axis=columns, keepdims=True), weights)
    v_col = running_mean(slots.v_col, jnp.mean(square, axis=rows, keepdims=True), weights)
    mean = jnp.mean(v_row, axis=rows, keepdims=True)
    if eps_as_floor:
        v = v_row / _or_one(jnp.maximum(mean, least)) * v_col
        u = g * _inverse_root(jnp.maximum(v, least**2))
    else:
        # Root by root: squares of epsilon are 0.
        u = g * (safe_sqrt(mean) * _inverse_root(v_row)) * _inverse_root(v_col)
    return u, {"v_row": v_row, "v_col": v_col}


def _or_one(x: Array) -> Array:
    """What can be divided by: 1 for 0, which is there only where the dividend is 0, too."""
    return jnp.where(x == 0, 1.0, x)


def _inverse_root(x: Array) -> Array:
    """`1 / sqrt(x)`, and 0 for 0."""
    return jnp.where(x == 0, 0.0, 1 / jnp.sqrt(_or_one(x)))
