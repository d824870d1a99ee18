"""Shampoo: gradients between inverse roots of the second moments of their rows and columns."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from ..core.composed import composed
from ..core.decorators import TreeStats, leaf_rule, renamed
from ..core.numerics.matrices import adjoint, matrix_axes, squares, times
from ..core.numerics.moments import bias_correction
from ..core.numerics.precision import real_dtype, safe_sqrt
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.arguments import (
    Decay,
    Fraction,
    NonNegative,
    Optional_,
    StateDtype,
    Static,
    Within,
)
from ..core.rules.context import Slots, StepContext
from ..core.rules.schedule import check_choice
from ..core.trees.norms import scaled_norm_along
from ..core.trees.placement import auto_sharded
from ..core.trees.varying import cond
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.masking import masked
from ..transforms.matrices import MatrixLeaves, on_matrices
from ..transforms.momentum import trace
from .eigenbases import FACTORS, check_sides
from .factor_roots import METHODS, Damping, inverse_root
from .with_adam import with_adam_for_others

__all__ = ["scale_by_shampoo", "shampoo"]

Array = jax.Array

_momentum = renamed(trace, decay="momentum")

GRAFTING = ("none", "sgd", "adagrad", "rmsprop", "adam")
Steps = Annotated[Hyperparameter, Within("[1, inf)")]


def _check(options: Mapping[str, Any]) -> str | None:
    root, exponent = options["root"], options["exponent"]
    check_choice(root, "scale_by_shampoo: root", METHODS)
    check_choice(options["grafting"], "scale_by_shampoo: grafting", GRAFTING)
    message = check_sides(options, "factor")
    if message is not None:
        return message
    if exponent is not None:
        is_number = isinstance(exponent, (int, float)) and not isinstance(exponent, bool)
        if not is_number or not 0 < exponent < float("inf"):
            return f"exponent must be a positive number, got {exponent!r}. Pass 0.25, or None."
        if root == "newton" and abs(1 / exponent - round(1 / exponent)) > 1e-9:
            return (
                f"the Newton iteration finds powers of -1 / p, got exponent={exponent!r}. Pass "
                "1 / p for an integer p, or root='eigh'."
            )
    if root == "newton" and options["pseudo_inverse"]:
        return "root='newton' has no pseudo_inverse. Pass root='eigh' with it."
    return None


def _sides(shape: tuple[int, ...], max_precond_dim: int, one_sided: bool) -> dict[str, int]:
    """Returns the sides of a matrix that have a factor, with their lengths.

    A vector is a matrix of one column without a factor, so that its rows have one.
    """
    if len(shape) < 2:
        sides = {"left": shape[0] if shape else 1}
    else:
        rows, columns = shape[-2:]
        sides = {"left": rows, "right": columns}
        if one_sided:
            del sides["right" if rows <= columns else "left"]
    return {side: n for side, n in sides.items() if n <= max_precond_dim}


def _slots(
    p: Array,
    b1: Array | None,
    root: str,
    grafting: str,
    max_precond_dim: int,
    one_sided: bool,
) -> dict[str, Array | None]:
    slots: dict[str, Array | None] = {}
    if b1 is not None:
        slots["mu"] = jnp.zeros_like(p)
    if grafting not in ("none", "sgd"):
        slots["nu"] = jnp.zeros_like(p, real_dtype(p.dtype))
    sides = _sides(p.shape, max_precond_dim, one_sided)
    for side in FACTORS:
        factor = one = None
        if side in sides:
            shape = (*p.shape[:-2], sides[side], sides[side])
            factor = jnp.zeros(shape, p.dtype)
            one = jnp.broadcast_to(jnp.eye(sides[side], dtype=p.dtype), shape)
        slots |= {side: factor, f"{side}_root": one}
        if root == "qr":
            slots[f"{side}_basis"] = one
    return slots | {"failed_roots": jnp.zeros((), jnp.int32)}


def _step_scalars(
    t: Array,
    b1: Array | None,
    b2: Array,
    precondition_frequency: Array,
    start_preconditioning_step: Array | None,
    graft_b2: Array,
    use_bias_correction: bool,
    grafting: str,
) -> dict[str, Array]:
    """Computes decays, gains and corrections, and whether update number t computes the roots."""
    start = start_preconditioning_step
    start = precondition_frequency if start is None else start
    # Due are the first update from the start on, and then all multiples of the frequency.
    is_first = (t >= start) & (t - 1 < start)
    is_due = is_first | ((t > start) & (jnp.remainder(t, precondition_frequency) < 1))
    scalars = {"due": is_due, "early": t < start} | _mean(b2, t, "factor", use_bias_correction)
    if b1 is not None:
        scalars |= {"mu_decay": b1, "mu_gain": 1 - b1}
        # 0 * x + 1 is a 1 with the shape of x, which has an axis if x differs by label.
        scalars["mu_correction"] = bias_correction(b1, t) if use_bias_correction else 0 * b1 + 1
    if grafting not in ("none", "sgd"):
        decay = 0 * graft_b2 + 1 if grafting == "adagrad" else graft_b2
        scalars |= _mean(decay, t, "nu", grafting == "adam")
    return scalars


def _mean(decay: Array, t: Array, name: str, corrects_bias: bool) -> dict[str, Array]:
    """Computes decay, gain and bias correction of a moment, which for a decay of 1 is a sum."""
    is_sum = decay >= 1
    # The formulas of a mean are computed for a sum too, and must be finite there.
    mean_decay = jnp.where(is_sum, 0.5, decay)
    correction = bias_correction(mean_decay, t) if corrects_bias else jnp.ones_like(t * decay)
    return {
        f"{name}_decay": decay,
        f"{name}_gain": jnp.where(is_sum, 1.0, 1 - mean_decay),
        f"{name}_correction": jnp.where(is_sum, 1.0, correction),
    }


@leaf_rule(
    slots=_slots,
    step_scalars=_step_scalars,
    tree_stats=TreeStats(sums=("failed_roots",)),
    split_complex=False,
    check=_check,
)
def scale_by_shampoo(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Annotated[Hyperparameter | None, Within("[0, 1)"), Optional_] = 0.9,
    b2: Fraction = 1.0,
    eps: NonNegative = 1e-12,
    precondition_frequency: Steps = 1,
    start_preconditioning_step: Annotated[
        Hyperparameter | None, Within("[1, inf)"), Optional_
    ] = None,
    graft_b2: Decay = 0.999,
    graft_eps: NonNegative = 1e-10,
    *,
    grafting: Static[str] = "none",
    root: Static[str] = "eigh",
    exponent: Static[float | None] = None,
    relative_eps: Static[bool] = False,
    pseudo_inverse: Static[bool] = False,
    one_sided: Static[bool] = False,
    max_precond_dim: Static[int] = 10000,
    use_bias_correction: Static[bool] = True,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Multiplies matrices by inverse roots of the second moments of their rows and columns.

    For one parameter of shape `(..., rows, columns)`, whose last two axes are a matrix, its update
    number t = 1, 2, ..., and transposes T:

        L <- b2 L + (1 - b2) g g^T,    R <- b2 R + (1 - b2) g^T g
        m <- b1 m + (1 - b1) g
        P  = (L / (1 - b2^t) + eps)^(-1/4),    Q = (R / (1 - b2^t) + eps)^(-1/4),    if due
        u  = P m / (1 - b1^t) Q

    With b2 = 1, L and R are sums, and are not divided. P and Q are the identity at first. They are
    due at update number `start_preconditioning_step`, and then whenever t is a multiple of
    `precondition_frequency`. If only one side has a factor, its power is -1/2. A vector is a column
    that has only L, which is full-matrix AdaGrad; several matrices of a parameter are independent
    of each other.

    With `grafting`, each matrix of u is scaled to the norm of the update that another method
    computes from m: "sgd" m itself; "adagrad", "rmsprop" and "adam" m / (sqrt(v) + graft_eps),
    where v is the sum, the running mean with decay graft_b2, or that mean with its bias corrected,
    of g^2. Before the start, u is the update of that method.

    A root that is not finite, and one by "newton" whose error is above 0.1, is not used: the
    matrix keeps its last one. The metric `failed_roots` counts these over the whole run.

    The state keeps m as `mu` and v as `nu` of shape `*p`; L and P as `left` and `left_root` `(...,
    rows, rows)`; R and Q as `right` and `right_root` `(..., columns, columns)`; with "qr" also
    `left_basis` and `right_basis`; and `failed_roots` `()`. Slots that a parameter does not have
    are `NoSlot()`. `b1`, `b2` and `graft_b2` `()` have no unit, `eps` `()` is in units of g^2, and
    `graft_eps` `()` in units of g. u has no unit; with "sgd", it is in units of g.

    Args:
      b1: decay of m, in [0, 1); None for m = g.
      b2: decay of L and of R, in [0, 1]; 1 for sums.
      eps: added to the eigenvalues of L and of R, in units of g^2.
      precondition_frequency: number of updates from one computation of the roots to the next; may
        change during a run without recompilation, like all numbers.
      start_preconditioning_step: None for precondition_frequency.
      graft_b2: decay of v, in [0, 1), for "rmsprop" and "adam".
      graft_eps: added to sqrt(v), in units of g.
      grafting: "none", "sgd", "adagrad", "rmsprop" or "adam".
      root: how powers are computed, in float32 at least. "eigh" decomposes L and R. "newton" is
        the coupled iteration of `matrix_inverse_pth_root`, for which float32 needs an eps of at
        least 1e-6 of the largest eigenvalue. "qr" is a step of the QR algorithm, from the last
        estimate of the eigenvectors.
      exponent: P and Q have the power -exponent; None for 1/4, or 1/2 if one side has a factor.
      relative_eps: whether eps is in units of the largest eigenvalue of L and of R.
      pseudo_inverse: whether eigenvalues that are 0 up to rounding get a root of 0. With eps 0,
        roots of other singular factors fail.
      one_sided: whether only the shorter side has a factor, or the rows if both are equal.
      max_precond_dim: the longest side that has a factor; for longer ones P or Q is the identity.
      use_bias_correction: whether to divide by 1 - b1^t and 1 - b2^t.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the defaults are as in Meta's code. That code flattens small matrices to vectors,
    treats a parameter with three axes as a tensor with three factors, raises an error after some
    failures, and has 0.99 as the graft_b2 of "rmsprop". For "qr" it sorts the eigenvectors from the
    smallest eigenvalue to the largest, an order in which one QR step per update does not converge.
    Google's code corresponds to b2=0.999, eps=1e-6, relative_eps, root="newton", grafting="sgd" and
    start_preconditioning_step=5, except that it applies momentum to u, and tries a larger eps if a
    root fails. In Gupta et al., L and R start as eps times the identity.

    Raises:
      ValueError: a number outside its interval; grafting or root is unknown; the exponent is not
        positive, or not 1 / p with "newton"; max_precond_dim is not a whole number.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_shampoo(b1=None, b2=0.0, eps=0.0)
      >>> g = {"w": jnp.array([[3.0, 0.0], [0.0, -2.0]])}
      >>> updates, state = tx.update(g, tx.init(g))
      >>> updates["w"].round(3).tolist(), float(fo.metrics(state)["failed_roots"])
      ([[1.0, 0.0], [0.0, -1.0]], 0.0)

    Reference: Gupta, Koren & Singer, Shampoo: Preconditioned stochastic tensor optimization, ICML
    2018, Algorithm 1, arXiv:1802.09568. Shi et al., A distributed data-parallel PyTorch
    implementation of the distributed Shampoo optimizer, 2023, arXiv:2309.06497, for eps, start,
    frequency and grafting. Anil et al., Scalable second order optimization for deep learning,
    2020, arXiv:2002.09018, for the Newton iteration.
    """
    del p, b1, b2, precondition_frequency, start_preconditioning_step, graft_b2, state_dtype
    if g.size == 0:
        return g, slots._asdict()
    new_slots: dict[str, Array] = {}
    m = g
    if "mu" in slots._fields:
        mu = new_slots["mu"] = _moment(slots.mu, g, ctx.mu_decay, ctx.mu_gain)
        m = times(ctx.mu_correction, mu) if use_bias_correction else mu
    sides = _sides(g.shape, max_precond_dim, one_sided)
    power = exponent if exponent is not None else 1 / (2 * max(len(sides), 1))
    factors = {k: x for k, x in slots._asdict().items() if k not in ("mu", "nu")}

    def on_matrices(
        g: Array, m: Array, factors: dict[str, Array], ctx: dict[str, Array], eps: Array
    ) -> tuple[Array, dict[str, Array]]:
        new, damping = dict(factors), Damping(eps, relative_eps, pseudo_inverse)
        for side in sides:
            new[side] = _moment(
                factors[side], _second_moment(side, g), ctx["factor_decay"], ctx["factor_gain"]
            )

        def refreshed() -> dict[str, Array]:
            return _refreshed(root, new, sides, power, ctx["factor_correction"], damping)

        new |= cond(ctx["due"], refreshed, lambda: _roots_of(new))
        if "left" in sides:
            m = new["left_root"] @ m
        if "right" in sides:
            m = m @ new["right_root"]
        return m, new

    def specs(shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh | AbstractMesh) -> Any:
        del shape, mesh
        return spec, {k: PartitionSpec(*spec[: max(x.ndim - 2, 0)]) for k, x in factors.items()}

    scalars = {k: getattr(ctx, k) for k in ("due", "factor_decay", "factor_gain")}
    scalars["factor_correction"] = ctx.factor_correction
    column = (-1, 1) if g.ndim < 2 else g.shape
    u, factors = auto_sharded(
        on_matrices, specs, g.reshape(column), m.reshape(column), factors, scalars, eps
    )
    u, new_slots = u.reshape(g.shape), new_slots | factors
    if grafting == "none":
        return u, new_slots
    graft = m
    if grafting != "sgd":
        nu = new_slots["nu"] = _moment(slots.nu, squares(g), ctx.nu_decay, ctx.nu_gain)
        graft = m / (safe_sqrt(ctx.nu_correction * nu) + graft_eps).astype(m.dtype)
    scale = _norms(graft) / (_norms(u) + 1e-16)  # 1e-16 is the constant of Meta's code
    return jnp.where(ctx.early, graft, times(scale, u)), new_slots


def _second_moment(side: str, g: Array) -> Array:
    return g @ adjoint(g) if side == "left" else adjoint(g) @ g


def _roots_of(slots: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the slots that change only when the roots are computed."""
    return {k: x for k, x in slots.items() if k not in FACTORS}


def _refreshed(
    method: str,
    slots: Mapping[str, Array],
    sides: Mapping[str, int],
    exponent: float,
    correction: Array,
    damping: Damping,
) -> dict[str, Array]:
    """Computes new roots of all factors; a matrix whose root fails keeps its last one."""
    new = {"failed_roots": slots["failed_roots"]}
    for side in sides:
        factor = times(correction, slots[side])
        result = inverse_root(method, factor, exponent, damping, slots.get(f"{side}_basis"))
        failed = result.failed[..., None, None]
        new[f"{side}_root"] = jnp.where(failed, slots[f"{side}_root"], result.root)
        if result.basis is not None:
            new[f"{side}_basis"] = jnp.where(failed, slots[f"{side}_basis"], result.basis)
        new["failed_roots"] += jnp.sum(result.failed, dtype=new["failed_roots"].dtype)
    return new


def _moment(old: Array, x: Array, decay: Array, gain: Array) -> Array:
    return times(decay, old) + times(gain, x)


def _norms(x: Array) -> Array:
    """Returns the Frobenius norms of matrices `(..., 1, 1)`, or of a vector."""
    return scaled_norm_along(x, matrix_axes(x))


@composed
def shampoo(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule | None = 0.9,
    b2: ScalarOrSchedule = 1.0,
    eps: ScalarOrSchedule = 1e-12,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    *,
    momentum: ScalarOrSchedule | None = None,
    nesterov: bool = False,
    precondition_frequency: ScalarOrSchedule = 1,
    start_preconditioning_step: ScalarOrSchedule | None = None,
    grafting: str = "none",
    graft_b2: ScalarOrSchedule = 0.999,
    graft_eps: ScalarOrSchedule = 1e-10,
    root: str = "eigh",
    exponent: float | None = None,
    relative_eps: bool = False,
    pseudo_inverse: bool = False,
    one_sided: bool = False,
    max_precond_dim: int = 10000,
    block_size: int | None = 1024,
    use_bias_correction: bool = True,
    state_dtype: StateDtype = None,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """Shampoo for matrices, and Adam for all other parameters.

    The update of a matrix is `scale_by_shampoo`, with decoupled decay, and with optional momentum:

        d  = u + weight_decay p,    u from `scale_by_shampoo`
        M <- momentum M + d,    d <- M, or d + momentum M with nesterov
        p <- p - learning_rate d

    The update of all other parameters is `scale_by_adam` with `adam_weight_decay`, and with the
    same learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p,
    and per unit of g with "sgd" as grafting. A learning rate that is right for Adam is right for
    grafting="adam" too.

    The cost of a root is cubic in the side of a matrix, and its factors have the size of the side
    squared. So longer sides are cut into blocks, each of which is a matrix with its own factors and
    its own grafting. A larger precondition_frequency, such as 10 or 100, makes roots rare.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      momentum: decay of M, usually in (0, 1); None for no momentum. It is in addition to b1, which
        averages gradients.
      nesterov: whether the step is d + momentum M, the look-ahead of the momentum.
      block_size: the longest side of a block; None to leave matrices whole.
      axes: tree of `MatrixAxes`, or a prefix of one, with None for the parameters that Adam trains;
        or a function of the parameters that returns one. None for `axes_by_name()`.
      See `scale_by_shampoo` and `muon` for the others.

    Differences: the defaults are as in Meta's code, whose learning rate is 0.01. That code has
    Shampoo for vectors too, calls block_size max_preconditioner_dim, and joins axes of a parameter
    as long as their product is at most block_size, which flattens small matrices to vectors.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix (the message lists all parameters).

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.ones((6, 4)), "b": jnp.zeros(4)}
      >>> state = fo.shampoo(0.01, block_size=4, grafting="adam").init(params)
      >>> [x.shape for x in state.scale_by_shampoo.left["w"]], state.scale_by_adam.mu["b"].shape
      ([(1, 4, 4), (1, 2, 2)], (4,))

    Reference: Gupta, Koren & Singer, Shampoo: Preconditioned stochastic tensor optimization, ICML
    2018, Algorithm 1, arXiv:1802.09568. Shi et al., A distributed data-parallel PyTorch
    implementation of the distributed Shampoo optimizer, 2023, arXiv:2309.06497.
    """
    leaves = MatrixLeaves.of(axes, "shampoo")
    if block_size is not None:
        block_size = as_count(block_size, "shampoo: block_size", least=1)
    if momentum is None and nesterov:
        raise ValueError(
            "shampoo: nesterov=True needs momentum, got None. Pass a decay, such as 0.9."
        )
    rule = scale_by_shampoo(
        b1,
        b2,
        eps,
        precondition_frequency,
        start_preconditioning_step,
        graft_b2,
        graft_eps,
        grafting=grafting,
        root=root,
        exponent=exponent,
        relative_eps=relative_eps,
        pseudo_inverse=pseudo_inverse,
        one_sided=one_sided,
        max_precond_dim=max_precond_dim,
        use_bias_correction=use_bias_correction,
        state_dtype=state_dtype,
    )
    momentum_links: tuple[GradientTransformation, ...] = ()
    if momentum is not None:
        momentum_links = (masked(_momentum(momentum, nesterov), leaves.where(matrices=True)),)
    return with_adam_for_others(
        (on_matrices(rule, leaves, block_size),),
        leaves,
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        after_decay=momentum_links,
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        adam_eps=adam_eps,
        adam_weight_decay=adam_weight_decay,
        adam_learning_rate=adam_learning_rate,
    )
