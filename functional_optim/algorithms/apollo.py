"""APOLLO: SGD with the step sizes that Adam takes on random projections of the gradients."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.matrices import as_matrices
from ..core.numerics.moments import bias_correction, bias_root, moment
from ..core.numerics.precision import safe_sqrt
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.arguments import (
    Decay,
    NonNegative,
    Optional_,
    RandomKey,
    StateDtype,
    Static,
    Within,
)
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import norm_along
from ..core.trees.placement import auto_sharded
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.matrices import MatrixLeaves, on_matrices
from .galore import projects_rows
from .with_adam import with_adam_for_others

__all__ = ["apollo", "apollo_mini", "scale_by_apollo"]

Array = jax.Array

FLOOR = 1e-8
"""A number that the authors add to norms before they divide by them."""

GENERATOR = "threefry2x32"
"""The generator of the projections, whose keys have two words."""


def _slots(p: Array, rank: int) -> dict[str, Array]:
    *batch, rows, columns = p.shape if p.ndim > 1 else (1, p.size)
    r = min(rank, rows, columns)
    shape = (*batch, r, columns) if projects_rows((rows, columns), "shorter") else (*batch, rows, r)
    real = jnp.finfo(p.dtype).dtype  # for a complex p, the dtype of its real part
    return {
        "mu": jnp.zeros(shape, p.dtype),
        "nu": jnp.zeros(shape, real),
        "norm": jnp.zeros(batch, real),
        "seed": jnp.zeros(2, jnp.uint32),
    }


def _step_scalars(t: Array, b1: Array, b2: Array, update_proj_gap: Array) -> dict[str, Array]:
    return {
        "mu_gain": 1 - b1,
        "nu_gain": 1 - b2,
        "weight": bias_root(b2, t) * bias_correction(b1, t),
        "refresh": jnp.mod(t - 1, update_proj_gap) == 0,
    }


def _check(options: Mapping[str, Any]) -> str | None:
    as_count(options["rank"], "scale_by_apollo: rank")
    return None


@leaf_rule(slots=_slots, step_scalars=_step_scalars, split_complex=False, check=_check)
def scale_by_apollo(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    rank: Static[int] = 256,
    update_proj_gap: Annotated[Hyperparameter, Within("[1, inf)")] = 200,
    scale: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    growth_limit: Annotated[Hyperparameter | None, Within("[1, inf)"), Optional_] = 1.01,
    key: Annotated[Any, RandomKey] = 0,
    *,
    tensor_wise: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Scales each column of an update as Adam scales that column of a random projection.

    For one matrix of shape `(rows, columns)`, the last two axes of a leaf, with rows <= columns,
    r = min(rank, rows), and its update number t = 1, 2, ...:

        P   = normal numbers of variance 1 / r, of shape `(rows, r)`
        R   = P^T g
        mu <- b1 mu + (1 - b1) R,    nu <- b2 nu + (1 - b2) R^2
        s   = |mu / (sqrt(nu) + eps)| / (|R| + 1e-8), the norms of each column
        x   = g s,    scaled down if |x| is more than growth_limit times the last |x|
        u   = sqrt(scale) sqrt(1 - b2^t) / (1 - b1^t) x

    A matrix with more rows than columns is treated as its transpose, and a vector as one row. P
    changes every update_proj_gap updates. It is the same for all matrices of a leaf, and depends
    only on the key, on the update at which it changed, and on the leaf's index. It is computed
    again from its seed at each update, and is not stored.

    The state keeps mu and nu, `(..., r, columns)` or `(..., rows, r)`; the norm of the last x as
    `norm` `(...)`; the seed of P as `seed` `(2,)`; the words of the key under `keys`. `b1`, `b2`,
    `growth_limit` and `scale` `()` have no unit; `eps` `()` is in units of g; u has no unit.

    Args:
      rank: number r of rows of R; at most the shorter side of a matrix is used.
      update_proj_gap: number of updates for which P stays the same.
      scale: square of the factor of u: 1 for a rank of a quarter of the rows, and more for a lower
        rank; 128 for rank 1.
      b1, b2: decays of mu and of nu, in [0, 1).
      eps: added to the root; in units of g.
      growth_limit: bound of the growth of |x| from one update to the next; None for no bound.
      key: an integer, or a key of `jax.random.key`.
      tensor_wise: whether s is one number for each matrix, as in APOLLO-Mini.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: where rank is larger than both sides, the authors draw P with that rank. In their
    code the bound also holds after an x of zeros, from which |x| then grows too slowly.

    Raises:
      TypeError: rank is not an integer, or key is neither an integer nor a key.
      ValueError: an argument is out of its range.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_apollo(rank=2), {"w": jnp.zeros((5, 8))}
      >>> state = tx.init(params)
      >>> state.mu["w"].shape
      (2, 8)
      >>> g = jnp.outer(jnp.ones(5), jnp.array([1.0, -3.0, 0.1, 2.0, 1.0, 1.0, 1.0, 1.0]))
      >>> u = tx.update({"w": g}, state)[0]["w"]
      >>> [round(float(x), 2) for x in u[0, :3] / u[0, 0]]
      [1.0, -1.0, 1.0]

    Reference: Zhu et al., APOLLO: SGD-like memory, AdamW-level performance, MLSys 2025, Algorithm
    1, arXiv:2412.05270.
    """
    del p, state_dtype, update_proj_gap
    if g.size == 0:
        return g, slots._asdict()
    seed = jnp.where(ctx.refresh, jax.random.bits(key, (2,), jnp.uint32), slots.seed)

    def projected(g: Array, seed: Array) -> Array:
        x = as_matrices(g)
        of_rows = projects_rows(x.shape, "shorter")
        n = x.shape[-2] if of_rows else x.shape[-1]
        shape = (n, min(rank, n))
        key = jax.random.wrap_key_data(seed, impl=GENERATOR)
        normal = jax.random.normal(key, shape, x.real.dtype) * shape[1] ** -0.5
        projection = normal.astype(x.dtype)
        return projection.T @ x if of_rows else x @ projection

    low_rank = auto_sharded(projected, lambda *_: PartitionSpec(), g, seed)
    mu = moment(slots.mu, low_rank, b1.astype(g.dtype), ctx.mu_gain.astype(g.dtype))
    # The maths receives all slots of a complex leaf as complex arrays; these are real.
    nu = moment(slots.nu.real, jnp.square(jnp.abs(low_rank)), b2, ctx.nu_gain)

    def scaled(
        g: Array, mu: Array, nu: Array, low_rank: Array, last: Array, scalars: dict[str, Array]
    ) -> tuple[Array, Array]:
        x = as_matrices(g)
        of_rows = projects_rows(x.shape, "shorter")
        axes = (-2, -1) if tensor_wise else (-2,) if of_rows else (-1,)
        direction = jnp.abs(mu) / (safe_sqrt(nu) + scalars["eps"])
        factors = norm_along(direction, axes) / (norm_along(low_rank, axes) + FLOOR)
        x = x * factors.astype(x.dtype)
        norm = norm_along(x, (-2, -1))
        if "limit" in scalars:
            growth = norm / (last[..., None, None] + FLOOR)
            ratio = jnp.maximum(growth, scalars["limit"]) / scalars["limit"]
            # The first norm is not bounded, and neither is a norm after a norm of zero.
            ratio = jnp.where(last[..., None, None] > 0, ratio, 1)
            x, norm = x / ratio.astype(x.dtype), norm / ratio
        return (scalars["weight"].astype(x.dtype) * x).reshape(g.shape), norm[..., 0, 0]

    scalars = {"eps": eps, "weight": safe_sqrt(scale) * ctx.weight}
    if growth_limit is not None:
        scalars["limit"] = growth_limit
    u, norm = auto_sharded(
        scaled,
        lambda shape, spec, mesh: (spec, PartitionSpec()),
        g,
        mu,
        nu,
        low_rank,
        slots.norm.real,
        scalars,
    )
    return u, {"mu": mu, "nu": nu, "norm": norm, "seed": seed}


@composed
def apollo(
    learning_rate: ScalarOrSchedule,
    rank: int = 256,
    update_proj_gap: ScalarOrSchedule = 200,
    scale: ScalarOrSchedule = 1.0,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    key: int | jax.Array = 0,
    *,
    growth_limit: ScalarOrSchedule | None = 1.01,
    tensor_wise: bool = False,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-6,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """APOLLO for matrices, and Adam for all other parameters.

    The update of a matrix is `scale_by_apollo`; decay is decoupled:

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_apollo`

    All other parameters use `scale_by_adam` with `adam_weight_decay`, and the same learning rate
    unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p; 0.01 in the paper.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      axes: tree of `MatrixAxes`, or a prefix of one, with None for the parameters that Adam
        trains; or a function of the parameters that returns one. None for `axes_by_name()`, which
        decides by names and shapes.
      See `scale_by_apollo` and `muon` for the others.

    Differences: see `scale_by_apollo`. The authors decay after the step, and add Adam's eps to the
    root without bias correction.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.ones((4, 8)), "b": jnp.zeros(8)}
      >>> state = fo.apollo(0.01, rank=2).init(params)
      >>> state.scale_by_apollo.mu["w"].shape, state.scale_by_adam.mu["b"].shape
      ((1, 2, 8), (8,))

    Reference: Zhu et al., APOLLO: SGD-like memory, AdamW-level performance, MLSys 2025, Algorithm
    1, arXiv:2412.05270.
    """
    leaves = MatrixLeaves.of(axes, "apollo")
    direction = scale_by_apollo(
        rank,
        update_proj_gap,
        scale,
        b1,
        b2,
        eps,
        growth_limit,
        key,
        tensor_wise=tensor_wise,
        state_dtype=state_dtype,
    )
    return with_adam_for_others(
        (on_matrices(direction, leaves),),
        leaves,
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        adam_eps=adam_eps,
        adam_weight_decay=adam_weight_decay,
        adam_learning_rate=adam_learning_rate,
    )


@composed
def apollo_mini(
    learning_rate: ScalarOrSchedule,
    update_proj_gap: ScalarOrSchedule = 200,
    scale: ScalarOrSchedule = 128.0,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    key: int | jax.Array = 0,
    *,
    growth_limit: ScalarOrSchedule | None = 1.01,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-6,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """APOLLO-Mini: `apollo` of rank 1, with one factor for each matrix.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_apollo`

    The update of a matrix is its gradient times a number, as in SGD, and the state is about as
    large.

    Args:
      See `apollo`, `scale_by_apollo` and `muon`.

    Differences: see `apollo`.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.ones((4, 8)), "b": jnp.zeros(8)}
      >>> fo.apollo_mini(0.01).init(params).scale_by_apollo.mu["w"].shape
      (1, 1, 8)

    Reference: Zhu et al., APOLLO: SGD-like memory, AdamW-level performance, MLSys 2025, section
    4.3, arXiv:2412.05270.
    """
    return apollo(
        learning_rate,
        1,
        update_proj_gap,
        scale,
        b1,
        b2,
        eps,
        weight_decay,
        weight_decay_mask,
        key,
        growth_limit=growth_limit,
        tensor_wise=True,
        axes=axes,
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        adam_eps=adam_eps,
        adam_weight_decay=adam_weight_decay,
        adam_learning_rate=adam_learning_rate,
        state_dtype=state_dtype,
    )
