"""Sophia: momentum over an estimate of the Hessian's diagonal, which is updated every few steps."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction as correction_of
from ..core.numerics.moments import moment
from ..core.numerics.precision import real_dtype
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree, TransformInitFn
from ..core.rules.arguments import (
    Decay,
    NonNegative,
    Optional_,
    Positive,
    SlotDtype,
    StateDtype,
    Static,
    Within,
)
from ..core.rules.context import Slots, StepContext
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.varying import cond
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..second_order.hutchinson import hutchinson_estimator_diag_hessian
from ..transforms.conditional_update import check_leaf_counts, zero_metrics
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["scale_by_sophia", "sophia"]

Array = jax.Array
Interval = Annotated[Hyperparameter, Within("[1, inf)")]
Threshold = Annotated[Hyperparameter | None, Within("(0, inf)"), Optional_]


def _slots(p: Array) -> dict[str, Array]:
    return {k: jnp.zeros_like(p) for k in ("mu", "nu")}


def _step_scalars(t: Array, b1: Array, b2: Array, bias_correction: bool) -> dict[str, Array]:
    """Computes the weights of the new gradient and estimate, and the bias correction."""
    correction = {"correction": correction_of(b1, t)} if bias_correction else {}
    return {"mu_gain": 1 - b1, "nu_gain": 1 - b2} | correction


def _step_scalars_of_examples(
    t: Array, b1: Array, b2: Array, rho: Array, batch_size: Array
) -> dict[str, Array]:
    """Computes `_step_scalars`, and gamma for a loss that is a mean over a batch's examples."""
    return _step_scalars(t, b1, b2, bias_correction=False) | {"gamma": rho * batch_size}


def _direction(
    g: Array,
    slots: Slots,
    ctx: StepContext,
    b1: Array,
    eps: Array,
    gamma: Array,
    clip_threshold: Array | None,
    bias_correction: bool,
) -> tuple[Array, Array]:
    """Computes the update, and the new momentum."""
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    mean = ctx.correction * mu if bias_correction else mu
    u = mean / jnp.maximum(gamma * slots.nu, eps)
    if clip_threshold is not None:
        u = jnp.minimum(jnp.maximum(u, -clip_threshold), clip_threshold)
    return u, mu


@leaf_rule(slots=_slots, step_scalars=_step_scalars)
def sophia_step(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.965,
    b2: Decay = 0.99,
    eps: Positive = 1e-8,
    gamma: NonNegative = 0.01,
    clip_threshold: Threshold = 1.0,
    update_interval: Interval = 10,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    bias_correction: Static[bool] = True,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes a step of Sophia at which the estimate of the curvature does not change."""
    del p, b2, update_interval, mu_dtype, state_dtype
    u, mu = _direction(g, slots, ctx, b1, eps, gamma, clip_threshold, bias_correction)
    return u, {"mu": mu, "nu": slots.nu}


@leaf_rule(slots=_slots, step_scalars=_step_scalars_of_examples)
def sophia_step_of_examples(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.965,
    b2: Decay = 0.99,
    rho: NonNegative = 0.04,
    batch_size: NonNegative = 5120.0,
    eps: Positive = 1e-15,
) -> tuple[Array, dict[str, Array]]:
    """Takes `sophia_step` as the authors' SophiaG does: with gamma = rho batch_size."""
    del p, b2, rho, batch_size
    threshold = jnp.ones((), real_dtype(g.dtype))
    u, mu = _direction(g, slots, ctx, b1, eps, ctx.gamma, threshold, bias_correction=False)
    return u, {"mu": mu, "nu": slots.nu}


@leaf_rule(slots=_slots, step_scalars=_step_scalars, needs_trees=("hessian_diagonal",))
def sophia_step_and_estimate(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.965,
    b2: Decay = 0.99,
    eps: Positive = 1e-8,
    gamma: NonNegative = 0.01,
    clip_threshold: Threshold = 1.0,
    update_interval: Interval = 10,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    bias_correction: Static[bool] = True,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes `sophia_step`, and then averages a new estimate into the curvature."""
    del p, update_interval, mu_dtype, state_dtype
    u, mu = _direction(g, slots, ctx, b1, eps, gamma, clip_threshold, bias_correction)
    return u, {"mu": mu, "nu": moment(slots.nu, ctx.hessian_diagonal, b2, ctx.nu_gain)}


@composed
def scale_by_sophia(
    b1: ScalarOrSchedule = 0.965,
    b2: ScalarOrSchedule = 0.99,
    eps: ScalarOrSchedule = 1e-8,
    gamma: ScalarOrSchedule = 0.01,
    clip_threshold: ScalarOrSchedule | None = 1.0,
    update_interval: ScalarOrSchedule = 10,
    hessian_diagonal_fn: GradientTransformation | None = None,
    mu_dtype: DTypeLike | None = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: int = 0,
    *,
    bias_correction: bool = True,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Divides a momentum by an estimate of the Hessian's diagonal, and clips the quotient.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + (1 - b1) g
        u  = clip(m / (1 - b1^t) / max(gamma h, eps), -clip_threshold, clip_threshold)
        h <- b2 h + (1 - b2) estimate            at every update_interval-th update, from the first

    An element whose curvature is small, negative or not yet known is clipped: it moves by the sign
    of m. The state has `sophia_step`, with m as `mu` and h as `nu`, and `hessian_fn_state`. `b1`,
    `b2` `()` have no unit; if u has no unit, `gamma` `()` is in units of g / h, and `eps` `()` in
    units of g.

    hessian_diagonal_fn is a transformation whose updates are the estimate; it runs only at the
    steps that need it, by a condition within one program, and gets all extra arguments of `update`:
    `hutchinson_estimator_diag_hessian` (Sophia-H, the default) needs `obj_fn`, or the `value_fn`
    that line searches get; `gauss_newton_bartlett_estimator` (Sophia-G) needs `logits_fn`. Both
    need real parameters: for complex ones, wrap Sophia in `split_real_and_imaginary`.

    Args:
      b1, b2: decays of m and of h, in [0, 1).
      eps: the least divisor of m.
      gamma: factor of h in the divisor: with a smaller one, more elements are clipped.
      clip_threshold: bound of the elements of u; None for no bound.
      update_interval: number of updates from one estimate to the next. It may change during a run
        without recompilation; a schedule's value at the last update counts.
      hessian_diagonal_fn: the transformation that computes the estimate, as above; None for
        `hutchinson_estimator_diag_hessian()`.
      mu_dtype: dtype in which m is kept.
      verbose: whether to print the share of elements that are not clipped, which the authors want
        between 0.1 and 0.5; at every print_win_rate_every_n_steps-th update.
      print_win_rate_every_n_steps: number of updates from one print to the next, with verbose.
      bias_correction: False leaves out 1 - b1^t, as the authors' SophiaG does.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from optax except for the random signs. The paper's Algorithm 3 makes the
    estimate before the step that uses it, and has no bias correction. The authors' SophiaG is
    `bias_correction=False, eps=1e-15`, with gamma = rho bs, where bs is the number of examples over
    which the loss is a mean: 0.04 times 5120 by default. Their training script makes the estimate
    at the end of an interval, and not at its start.

    Raises:
      TypeError: hessian_diagonal_fn is not a pair of functions.
      ValueError: a number outside its interval, or an argument that the estimate needs is missing.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_sophia(gamma=1.0), {"w": jnp.array([2.0, 2.0])}
      >>> loss = lambda p: jnp.sum(jnp.array([100.0, 1.0]) * p["w"] ** 2 / 2)
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     grads = jax.grad(loss)(params)
      ...     updates, state = tx.update(grads, state, params, obj_fn=loss)
      >>> print(state.sophia_step.nu["w"].round(3))
      [1.   0.01]

    Reference: Liu et al., Sophia: a scalable stochastic second-order optimizer for language model
    pre-training, ICLR 2024, Algorithms 1 to 3, arXiv:2305.14342.
    """
    if hessian_diagonal_fn is None:
        hessian_diagonal_fn = hutchinson_estimator_diag_hessian()
    init, update = check_pair("scale_by_sophia: hessian_diagonal_fn", hessian_diagonal_fn)
    period = as_count(
        print_win_rate_every_n_steps, "scale_by_sophia: print_win_rate_every_n_steps", least=0
    )
    numbers = (b1, b2, eps, gamma, clip_threshold, update_interval, mu_dtype)
    options: Mapping[str, Any] = {"bias_correction": bias_correction, "state_dtype": state_dtype}
    plain = sophia_step(*numbers, **options)
    estimating = sophia_step_and_estimate(*numbers, **options)
    links = (
        ExtraArgsAdapter.to(plain.update),
        ExtraArgsAdapter.to(estimating.update),
        ExtraArgsAdapter.to(update),
    )
    return GradientTransformation(
        _SophiaInit(plain.init, init), _Sophia.of(*links, period if verbose else 0)
    )


@named_init
@dataclasses.dataclass(frozen=True)
class _SophiaInit:
    """`init` of Sophia."""

    step: TransformInitFn
    estimator: TransformInitFn
    name = "scale_by_sophia"

    @property
    def parts(self) -> dict[str, TransformInitFn]:
        """The `init` of each transformation within, by the field of its state."""
        return {"sophia_step": self.step, "hessian_fn_state": self.estimator}

    def __call__(self, params: PyTree) -> State:
        """Makes the states of the step and of the estimator."""
        return State(sophia_step=self.step(params), hessian_fn_state=self.estimator(params))

    def __repr__(self) -> str:
        return f"{self.name}({self.step!r}, {self.estimator!r})"


@dataclasses.dataclass(frozen=True)
class _Sophia(Interned):
    """`update` of Sophia."""

    plain: ExtraArgsAdapter
    estimating: ExtraArgsAdapter
    estimator: ExtraArgsAdapter
    period: int

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Takes the step, and computes an estimate if one is due."""
        check_state("scale_by_sophia", updates, state, params)
        before = state.sophia_step

        def estimate() -> tuple[PyTree, PyTree, PyTree]:
            diagonal, inner = self.estimator(updates, state.hessian_fn_state, params, extra)
            check_leaf_counts("scale_by_sophia", state.hessian_fn_state, inner)
            needs = {"hessian_diagonal": diagonal}
            return *self.estimating(updates, before, params, needs), inner

        def step() -> tuple[PyTree, PyTree, PyTree]:
            return *self.plain(updates, before, params, {}), zero_metrics(state.hessian_fn_state)

        interval = before.hyperparams["update_interval"]
        due = jnp.remainder(before.count.astype(interval.dtype), interval) < 1
        new, after, inner = cond(due, estimate, step)
        if self.period:
            self._print(new, after)
        return new, State(sophia_step=after, hessian_fn_state=inner)

    def _print(self, updates: PyTree, state: State) -> None:
        """Prints the share of elements that are not clipped, once in `period` updates."""
        bound, leaves = state.hyperparams.get("clip_threshold", jnp.inf), jax.tree.leaves(updates)
        inside = sum((jnp.sum(jnp.abs(u) < bound) for u in leaves), start=jnp.zeros((), jnp.int32))
        rate = inside / max(sum(u.size for u in leaves), 1)

        def print_rate() -> None:
            jax.debug.print("Sophia: the share of elements that are not clipped is {}", rate)

        jax.lax.cond(state.count % self.period == 0, print_rate, lambda: None)


@composed
def sophia(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.965,
    b2: ScalarOrSchedule = 0.99,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    weight_decay_mask: MaskOrFn = None,
    gamma: ScalarOrSchedule = 0.01,
    clip_threshold: ScalarOrSchedule | None = 1.0,
    update_interval: ScalarOrSchedule = 10,
    hessian_diagonal_fn: GradientTransformation | None = None,
    mu_dtype: DTypeLike | None = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: int = 0,
    *,
    bias_correction: bool = True,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Sophia: `scale_by_sophia`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_sophia`

    `learning_rate` `()` is in units of p: no element moves by more than that and its decay.

    Args:
      weight_decay_mask: parameters that decay: a tree of booleans, or a function that returns one;
        None for all.
      See `scale_by_sophia`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.sophia(0.05, gamma=1.0), {"w": jnp.array([1.0, -2.0])}
      >>> loss = lambda p: jnp.sum(jnp.array([100.0, 1.0]) * p["w"] ** 2)
      >>> @jax.jit
      ... def step(params, state):
      ...     grads = jax.grad(loss)(params)
      ...     updates, state = tx.update(grads, state, params, obj_fn=loss)
      ...     return fo.apply_updates(params, updates), state
      >>> state = tx.init(params)
      >>> for _ in range(200):
      ...     params, state = step(params, state)
      >>> bool(jnp.abs(params["w"]).max() < 0.05)
      True

    Reference: Liu et al., Sophia: a scalable stochastic second-order optimizer for language model
    pre-training, ICLR 2024, Algorithm 3, arXiv:2305.14342.
    """
    return chain(
        scale_by_sophia(
            b1,
            b2,
            eps,
            gamma,
            clip_threshold,
            update_interval,
            hessian_diagonal_fn,
            mu_dtype,
            verbose,
            print_win_rate_every_n_steps,
            bias_correction=bias_correction,
            state_dtype=state_dtype,
        ),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )
