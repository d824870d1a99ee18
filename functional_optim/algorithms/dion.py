"""Dion: orthonormal updates of low rank, with error feedback."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.matrices import (
    adjoint,
    as_matrices,
    matrix_shape,
    precise_product,
    transposed,
)
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.arguments import Fraction, NonNegative, RandomKey, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import scaled_norm_along
from ..core.trees.placement import auto_sharded, sharded_as, zeros_like_mean
from ..core.trees.varying import cond
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.matrices import MatrixLeaves, on_matrices
from .muon import scale_by_shape
from .with_adam import with_adam_for_others

__all__ = ["check_fraction", "dion", "scale_by_dion"]

Array = jax.Array

QR_METHODS = ("qr", "rcqr")


def _is_tall(x: Array) -> bool:
    return x.shape[-2] > x.shape[-1]


def _rank(shorter: int, fraction: float, multiple: int) -> int:
    """Returns the rank for matrices whose shorter side has this length."""
    # Rounded, because 0.1 * 30 in binary is more than 3.
    wanted = round(fraction * shorter, 9)
    return min(multiple * math.ceil(wanted / multiple), shorter)


def _slots(p: Array, rank_fraction: float, rank_multiple_of: int) -> dict[str, Array]:
    matrices = as_matrices(p)
    tall = _is_tall(matrices)
    # One column of q, sharded as the parameter is along its shorter side.
    column = zeros_like_mean(matrices, -2 if tall else -1)
    column = transposed(column) if tall else column
    rank = _rank(column.shape[-2], rank_fraction, rank_multiple_of)
    q = jnp.broadcast_to(column, (*column.shape[:-1], rank))
    return {"mu": jnp.zeros_like(p), "q": q}


def check_fraction(options: Mapping[str, Any], name: str) -> str | None:
    """Returns an error message if an option is not a share in (0, 1], or else None."""
    fraction = options[name]
    is_number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
    if not is_number or not 0 < fraction <= 1:
        return f"{name} must be in (0, 1], got {fraction!r}. Pass a number in that range."
    return None


def _check(options: Mapping[str, object]) -> str | None:
    multiple = options["rank_multiple_of"]
    message = check_fraction(options, "rank_fraction")
    if message is not None:
        return message
    if isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1:
        return f"rank_multiple_of must be an integer from 1, got {multiple!r}. Pass 1, for one."
    if options["qr_method"] not in QR_METHODS:
        methods = " or ".join(map(repr, QR_METHODS))
        return f"qr_method must be {methods}, got {options['qr_method']!r}."
    return None


@leaf_rule(
    slots=_slots,
    step_scalars=lambda beta: {"feedback": 1 - beta},
    split_complex=False,
    stack_leaves=True,
    check=_check,
)
def scale_by_dion(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    beta: Fraction = 0.95,
    eps: NonNegative = 1e-8,
    key: Annotated[Any, RandomKey] = 0,
    *,
    rank_fraction: Static[float] = 1.0,
    rank_multiple_of: Static[int] = 1,
    qr_method: Static[str] = "qr",
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Replaces the momentum of matrices by an orthonormal matrix of low rank.

    The last two axes of a leaf are a matrix, and all other axes are batch axes; a vector is a
    matrix of one row. For one matrix whose shape is `(longer, shorter)`, or transposed:

        M <- M + g
        P  = orthonormal columns with the span of M Q, by qr_method
        R  = M^T P
        M <- M - (1 - beta) P R^T
        Q <- R, each column divided by its norm + eps
        u  = P Q^T

    One step of power iteration finds the leading singular vectors of M: P for the longer side, and
    Q for the shorter one. The part of M along these vectors decays by beta. The rest of M, the
    error of the approximation, stays in M until it is large enough. At full rank P R^T is M, so
    that M is the decaying sum of momentum.

    The state keeps M as `mu`, of the leaf's shape, in units of g, and Q as `q`, of shape
    `(..., shorter, rank)`. The rank is `rank_fraction` times the shorter side, rounded up to a
    multiple of `rank_multiple_of`, and at most the shorter side. `beta` `()` has no unit, and
    `eps` `()` is in units of g. u has no unit: it has rank singular values near 1.

    The first update draws Q from a normal distribution in float32, except where the q of the state
    was set before. The numbers depend on the key and on the leaf's index. If M is 0, u is 0, and Q
    does not change.

    Args:
      beta: decay of the part of M that was applied, in [0, 1]; the paper calls it mu.
      eps: added to the norm of each column, in units of g.
      key: an integer, or a key of `jax.random.key`, which may be traced.
      rank_fraction: rank as a share of the shorter side, in (0, 1]; 1 for all singular vectors.
      rank_multiple_of: the rank is rounded up to a multiple of this number.
      qr_method: how columns become orthonormal. `"qr"` is the QR decomposition by Householder
        reflections. `"rcqr"` is a randomized Cholesky QR, as in the authors' code: it consists of
        products, and of decompositions of small matrices, so that it takes less than half of the
        time, and a mesh that shards the longer side does not gather it. P differs by signs only,
        which cancel in u, and by rounding. Ranks above 0.8 of the longer side less 16 use `"qr"`.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the paper, and the authors' simple code, have P on the side of the outputs. Their
    distributed code has P on the longer side, as here, which is the same for a matrix with at least
    as many outputs as inputs. Its default is `qr_method="rcqr"`, with one Cholesky QR after the
    random one; here there are two, and a little noise in M Q, so that P is orthonormal even where
    M Q has dependent columns. Their `"cqr"` fails there, and is not available. Where M has fewer
    singular vectors than the rank, columns of R are rounding errors: these columns are 0 in Q here,
    and have norm 1 in their code.

    Raises:
      ValueError: beta outside [0, 1], eps negative, rank_fraction outside (0, 1],
        rank_multiple_of is not a positive integer, or qr_method is unknown.
      TypeError: key is neither an integer nor a key.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_dion(rank_fraction=0.5)
      >>> g = jnp.outer(jnp.array([3.0, 4.0, 0.0]), jnp.array([0.6, 0.8]))
      >>> state = tx.init(g)
      >>> state.q.shape
      (2, 1)
      >>> [round(float(u), 2) for u in tx.update(g, state)[0].ravel()]
      [0.36, 0.48, 0.48, 0.64, 0.0, 0.0]

    Reference: Ahn et al., Dion: Distributed orthonormalized updates, 2025, Algorithm 1,
    arXiv:2504.05295. Fan et al., A novel randomized XR-based preconditioned CholeskyQR algorithm,
    2021, arXiv:2111.11148, for `"rcqr"`.
    """
    del p, beta, rank_fraction, rank_multiple_of, state_dtype
    if g.size == 0:
        return g, {"mu": slots.mu, "q": slots.q}

    old_q = slots.q

    def drawn_q() -> Array:
        # In float32 whatever the dtype of the slot, so that the numbers do not depend on it.
        single = jnp.complex64 if jnp.iscomplexobj(old_q) else jnp.float32
        normal = jax.random.normal(key, old_q.shape, single).astype(old_q.dtype)
        return jnp.where(jnp.any(old_q != 0), old_q, sharded_as(normal, old_q))

    q = cond(ctx.count == 0, drawn_q, lambda: old_q)
    # Q is drawn from the key itself.
    sketch_key = jax.random.fold_in(key, 1) if qr_method == "rcqr" else None

    def approximate(
        mu: Array, q: Array, feedback: Array, eps: Array, key: Array | None
    ) -> tuple[Array, ...]:
        matrices = as_matrices(mu)
        tall = _is_tall(matrices)
        m = matrices if tall else transposed(matrices)
        p, r = _factors(m, q, key)
        q = _normalized(r, eps, m.shape[-2])
        m = m - feedback.astype(m.dtype) * (p @ adjoint(r))
        u = p @ adjoint(q)
        mu, u = ((x if tall else transposed(x)).reshape(mu.shape) for x in (m, u))
        return u, mu, q

    u, mu, q = auto_sharded(approximate, _specs, slots.mu + g, q, ctx.feedback, eps, sketch_key)
    return u, {"mu": mu, "q": q}


def _factors(m: Array, q: Array, key: Array | None) -> tuple[Array, Array]:
    """Returns orthonormal P, and R = M^H P: one step of power iteration from Q.

    With a key, P is computed by a randomized Cholesky QR.
    """
    zero = jnp.all(m == 0, axis=(-2, -1), keepdims=True)
    image = m @ q
    # The derivative of a QR decomposition is not finite at zeros.
    unit = jnp.eye(image.shape[-2], image.shape[-1], dtype=image.dtype)
    image = jnp.where(zero, unit, image)
    p = jnp.linalg.qr(image)[0] if key is None else randomized_cholesky_qr(image, key)
    r = adjoint(m) @ p
    return jnp.where(zero, 0, p), jnp.where(zero, q, r)


def randomized_cholesky_qr(x: Array, key: Array) -> Array:
    """Returns orthonormal columns with the span of those of x, of shape `(..., longer, rank)`.

    A random sketch S x has about the singular values of x, and few rows. With its triangular factor
    R, the columns of x R^-1 are nearly orthonormal, so that two Cholesky QRs make them so up to
    rounding. Noise of the size of rounding errors gives dependent columns, and columns of zeros,
    their own directions. All products are in full precision: the inverse of R may be large.
    """
    longer, rank = x.shape[-2:]
    rows = rank + max(math.ceil(rank / 4), 16)
    if rows >= longer:
        return jnp.linalg.qr(x)[0]
    norms = scaled_norm_along(x, -2)
    y = x / jnp.where(norms == 0, 1.0, norms).astype(x.dtype)
    sketch = jax.random.normal(key, (*x.shape[:-1], rows), norms.dtype).astype(x.dtype)
    noise = 16 * float(jnp.finfo(norms.dtype).eps) / longer**0.5
    y = y + noise * sketch[..., :rank]
    small = precise_product(transposed(sketch), y) / rows**0.5
    y = _times_inverse(y, jnp.linalg.qr(small, mode="r"))
    for _ in range(2):
        y = _times_inverse(y, adjoint(jnp.linalg.cholesky(precise_product(adjoint(y), y))))
    return y


def _times_inverse(x: Array, upper: Array) -> Array:
    """Multiplies by the inverse of triangular matrices; only these small matrices are inverted."""
    identity = jnp.broadcast_to(jnp.eye(upper.shape[-1], dtype=x.dtype), upper.shape)
    return precise_product(x, jax.scipy.linalg.solve_triangular(upper, identity))


def _normalized(r: Array, eps: Array, longer: int) -> Array:
    """Divides each column by its norm + eps; a column with only rounding errors becomes 0."""
    norms = scaled_norm_along(r, -2)
    limits = jnp.finfo(norms.dtype)
    least = jnp.max(norms, axis=-1, keepdims=True) * (longer * float(limits.eps))
    size = jnp.where(norms > least, norms + eps.astype(norms.dtype), jnp.inf)
    return r / size.astype(r.dtype)


def _specs(
    shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh | AbstractMesh
) -> tuple[PartitionSpec, PartitionSpec, PartitionSpec]:
    """Returns the specs of update, momentum and Q: Q is sharded as the parameter's shorter side."""
    *batch, rows, columns = (None,) * (2 - len(shape)) + tuple(spec)
    n, m = matrix_shape(shape)[-2:]
    return spec, spec, PartitionSpec(*batch, columns if n > m else rows, None)


@composed
def dion(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    weight_decay_mask: MaskOrFn = None,
    key: int | jax.Array = 0,
    *,
    rank_fraction: float = 1.0,
    rank_multiple_of: int = 1,
    qr_method: str = "qr",
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    state_dtype: StateDtype = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.95,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """Dion for matrices, and Adam for all other parameters.

    The update of a matrix is `scale_by_dion`, scaled by its shape; decay is decoupled:

        p <- p - learning_rate (sqrt(outputs / inputs) u + weight_decay p)

    The update of all other parameters is `scale_by_adam` with `adam_weight_decay`, and with the
    same learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p:
    it bounds how much a step changes the root mean square of a layer's outputs, relative to its
    inputs. The authors use 0.01 and 0.02.

    With a small `rank_fraction` the state and the cost of a step grow with the rank. The authors
    find 1/4 as good as 1 for 3 billion parameters, and expect less to suffice for larger models.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      key: an integer, or a key of `jax.random.key`, for the first Q.
      axes: tree of `MatrixAxes`, or a prefix of one, with None for the parameters that Adam
        trains; or a function of the parameters that returns one. None for `axes_by_name()`.
      See `scale_by_dion` and `muon` for the others.

    Differences: see `scale_by_dion`. In the authors' code other parameters decay too, unless their
    group has another weight decay; in their training script embeddings and the last layer do not.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.ones((4, 8)), "b": jnp.zeros(8), "embedding": jnp.ones((9, 4))}
      >>> state = fo.dion(0.01, rank_fraction=0.5).init(params)
      >>> state.scale_by_dion.q["w"].shape, state.scale_by_adam.mu["embedding"].shape
      ((1, 4, 2), (9, 4))

    Reference: Ahn et al., Dion: Distributed orthonormalized updates, 2025, arXiv:2504.05295.
    """
    leaves = MatrixLeaves.of(axes, "dion")
    rule = scale_by_dion(
        beta,
        eps,
        key,
        rank_fraction=rank_fraction,
        rank_multiple_of=rank_multiple_of,
        qr_method=qr_method,
        state_dtype=state_dtype,
    )
    return with_adam_for_others(
        (on_matrices(rule, leaves), on_matrices(scale_by_shape(scale="unit_rms"), leaves)),
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
