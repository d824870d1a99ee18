"""Accumulating the gradients of several calls into one step."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.functions import as_function
from ..core.leaf.dtypes import as_parameter, slot_dtype
from ..core.numerics.precision import compute_dtype, real_dtype, safe_increment
from ..core.numerics.validation import as_float_dtype
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn, TransformUpdateFn
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.norms import global_norm
from ..core.trees.placement import place_on_mesh_of, shard_like, sharded_as
from ..core.trees.sparse_rows import dense
from ..core.trees.structure import align, is_absent
from ..core.trees.varying import varying_as
from .conditional_update import run_if

__all__ = ["MultiSteps", "skip_large_updates", "skip_not_finite"]

Array = jax.Array
Skip = Callable[..., tuple[Array, Mapping[str, Array]]]


def skip_not_finite(
    updates: PyTree, gradient_step: Array, params: PyTree | None
) -> tuple[Array, dict[str, Array]]:
    """Tells `MultiSteps` to skip a mini-step if a gradient is not finite.

    Returns:
      Whether to skip it, and the `skip_state` of the state: `should_skip`, the same boolean, and
      `num_not_finite`, the number of elements that are not finite.
    """
    del gradient_step, params
    number = sum(
        (_count_not_finite(x) for x in jax.tree.leaves(updates)), start=jnp.array(0, jnp.int32)
    )
    return number > 0, {"should_skip": number > 0, "num_not_finite": number}


def _count_not_finite(x: Array) -> Array:
    return jnp.sum(~jnp.isfinite(x), dtype=jnp.int32)


def skip_large_updates(
    updates: PyTree,
    gradient_step: Array,
    params: PyTree | None,
    max_squared_norm: float,
) -> tuple[Array, dict[str, Array]]:
    """Tells `MultiSteps` to skip a mini-step if the gradients' norm is large or not finite.

    Bind `max_squared_norm` with `functools.partial`; a squared norm equal to it is skipped too.

    Returns:
      Whether to skip it, and the `skip_state` of the state: `should_skip` and `norm_squared`.
    """
    del gradient_step, params
    squared = jnp.square(global_norm(updates))
    bad = ~(squared < max_squared_norm)
    return bad, {"should_skip": bad, "norm_squared": squared}


class MultiSteps(GradientTransformation):
    """Accumulates the gradients of k calls, the mini-steps, into one step of a transformation.

    At every k-th mini-step the inner transformation gets the mean of the k gradients, which is the
    gradient of a batch k times as large; the updates of the other mini-steps are zero. The inner
    transformation runs only then, and gets the extra arguments of that call.

    The state holds `mini_step` and `gradient_step`, the numbers of mini-steps in the current
    step and of steps so far; `inner_opt_state`; `acc_grads`, sums of gradients shaped like the
    parameters, in float32 or wider; `updated`, whether the last call was a step; and
    `skip_state`. The sums are reset after each step, so that numbers that are not finite do not
    stay in them.

    To keep one gradient in memory instead of a gradient and a sum, accumulate within the step: see
    `microbatch`. If a gradient may be None, wrap `opt` in `per_leaf_counts`.

    Args:
      opt: the transformation.
      every_k_schedule: k, at least 1; or a function of the number of steps so far.
      use_grad_mean: whether `opt` gets the mean, or else the sum.
      should_skip_update_fn: `(updates, gradient_step, params) -> (skip, dict)`: whether to skip
        a mini-step, which then does not count. See `skip_not_finite`.
      accumulator_dtype: dtype of the sums, and of the mean that `opt` gets.

    Differences: this is a transformation itself. optax runs the inner transformation at each
    mini-step, keeps numbers that are not finite for later mini-steps, and rounds the mean to the
    dtype of the gradients.

    Raises:
      TypeError: opt is not a pair of functions, k neither an integer nor a function, or
        accumulator_dtype is not a floating-point dtype.
      ValueError: k < 1; or (by `update`) a gradient is None, and the state has no leaf counts.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.MultiSteps(fo.sgd(1.0), every_k_schedule=2)
      >>> state = tx.init({"w": 0.0})
      >>> for g in (1.0, 3.0):
      ...     updates, state = tx.update({"w": g}, state)
      ...     print(updates["w"], bool(tx.has_updated(state)))
      -0.0 False
      -2.0 True
    """

    __slots__ = ()

    def __new__(
        cls,
        opt: GradientTransformation,
        every_k_schedule: int | Callable[[Array], Array],
        use_grad_mean: bool = True,
        should_skip_update_fn: Skip | None = None,
        accumulator_dtype: DTypeLike | None = None,
    ) -> "MultiSteps":
        """Makes the pair."""
        init, update = check_pair("MultiSteps: opt", opt)
        is_number = isinstance(every_k_schedule, int) and not isinstance(every_k_schedule, bool)
        if not is_number and not callable(every_k_schedule):
            raise TypeError(
                "MultiSteps: every_k_schedule must be an integer or a function of the step, got "
                f"{every_k_schedule!r}."
            )
        if isinstance(every_k_schedule, int) and every_k_schedule < 1:
            raise ValueError(
                f"MultiSteps: every_k_schedule must be at least 1, got {every_k_schedule}."
            )
        schedule = as_function(every_k_schedule) if callable(every_k_schedule) else None
        skip = None if should_skip_update_fn is None else as_function(should_skip_update_fn)
        k = None if callable(every_k_schedule) else every_k_schedule
        multi_update = _MultiStepsUpdate.of(
            ExtraArgsAdapter.to(update), schedule, bool(use_grad_mean), skip
        )
        dtype = accumulator_dtype
        if dtype is not None:
            dtype = as_float_dtype(dtype, "MultiSteps: accumulator_dtype")
        multi_init = _MultiStepsInit(init, k, skip, dtype)
        return super().__new__(cls, multi_init, multi_update)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles as a pair, because `__new__` takes other arguments."""
        return _restore, tuple(self)

    def has_updated(self, state: State) -> Array:
        """Tells whether the last call was a step of the inner transformation."""
        return state.updated

    def gradient_transformation(self) -> GradientTransformation:
        """Returns the transformation itself, for code that is written for optax."""
        return self


def _restore(init: TransformInitFn, update: TransformUpdateFn) -> MultiSteps:
    return tuple.__new__(MultiSteps, (init, update))


@named_init
@dataclasses.dataclass(frozen=True)
class _MultiStepsInit:
    """`init` of `MultiSteps`."""

    init: TransformInitFn
    k: int | None
    skip: Skip | None
    dtype: DTypeLike | None = None
    name = "MultiSteps"

    def __call__(self, params: PyTree) -> State:
        """Makes the inner state, and sums of zero."""
        fields = {} if self.k is None else {"every_k": jnp.array(self.k, jnp.int32)}
        start = jnp.zeros((), jnp.int32)
        sums = jax.tree.map(self._zero_sum, params)
        # Run the skip function abstractly to get the shapes of its result for init.
        skip_info = {} if self.skip is None else jax.eval_shape(self.skip, sums, start, params)[1]
        state = State(
            **fields,
            mini_step=start,
            gradient_step=jnp.zeros((), jnp.int32),  # a second array, because both are donated
            updated=jnp.array(False),
            inner_opt_state=self.init(params),
            acc_grads=sums,
            skip_state={k: jnp.zeros(v.shape, v.dtype) for k, v in skip_info.items()},
        )
        # With a skip function, a step depends on gradients, which may vary over a mesh.
        if self.skip is not None:
            state = varying_as(state, params)
        return place_on_mesh_of(params, state)

    def _zero_sum(self, p: ArrayLike) -> Array:
        p = as_parameter(p)
        zeros = jnp.zeros_like(p, dtype=slot_dtype(compute_dtype(p.dtype), self.dtype))
        return shard_like(zeros, p)

    def __repr__(self) -> str:
        return f"MultiSteps({self.init!r}, {self.k})"


@dataclasses.dataclass(frozen=True)
class _MultiStepsUpdate(Interned):
    """`update` of `MultiSteps`."""

    inner: ExtraArgsAdapter
    schedule: Callable[[Array], Array] | None
    mean: bool
    skip: Skip | None

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Adds the gradients, and takes a step if there are enough of them."""
        check_state("MultiSteps", updates, state, params)
        skipped, skip_state = jnp.array(False), state.skip_state
        if self.skip is not None:
            skipped, skip_state = self.skip(updates, state.gradient_step, params)
        # k is in the state, so that its value does not shape the program.
        k = state.every_k if self.schedule is None else self.schedule(state.gradient_step)
        sums = self._add(updates, state.acc_grads, skipped)
        number = state.mini_step + 1
        emit = ~skipped & (number >= k)
        divisor = number if self.mean else jnp.ones_like(number)

        def step() -> tuple[PyTree, PyTree]:
            means = _divide_sums(updates, sums, divisor)
            return self.inner(means, state.inner_opt_state, params, extra)

        new, inner_state = run_if("MultiSteps", emit, step, state.inner_opt_state)
        return new, state._replace(
            mini_step=jnp.where(emit, 0, jnp.where(skipped, state.mini_step, number)),
            gradient_step=jnp.where(emit, safe_increment(state.gradient_step), state.gradient_step),
            updated=emit,
            inner_opt_state=inner_state,
            acc_grads=_reset_sums(updates, sums, emit),
            skip_state=dict(skip_state),
        )

    def _add(self, updates: PyTree, sums: PyTree, skipped: Array) -> PyTree:
        """Adds these gradients to the sums, unless the mini-step is skipped."""
        flat, treedef = jax.tree.flatten(sums)
        gradients = align(sums, updates, link="MultiSteps", name="updates")
        return jax.tree.unflatten(
            treedef,
            [
                s
                if is_absent(g)
                else jnp.where(skipped, s, s + sharded_as(_dense(g), s).astype(s.dtype))
                for g, s in zip(gradients, flat, strict=True)
            ],
        )


def _dense(g: PyTree) -> Array:
    return jnp.asarray(dense(g))


def _reset_sums(updates: PyTree, sums: PyTree, emit: Array) -> PyTree:
    """Returns the sums for the next mini-step: 0 after a step, except where a gradient is None."""
    flat, treedef = jax.tree.flatten(sums)
    gradients = align(sums, updates, link="MultiSteps", name="updates")
    return jax.tree.unflatten(
        treedef,
        [
            s if is_absent(g) else jnp.where(emit, jnp.zeros_like(s), s)
            for g, s in zip(gradients, flat, strict=True)
        ],
    )


def _divide_sums(updates: PyTree, sums: PyTree, divisor: Array) -> PyTree:
    """Divides the sums; the result is None where the gradient of this mini-step is None."""

    def mean(s: Array) -> Array:
        return s / divisor.astype(real_dtype(s.dtype)).astype(s.dtype)

    flat, treedef = jax.tree.flatten(sums)
    gradients = align(sums, updates, link="MultiSteps", name="updates")
    pairs = zip(gradients, flat, strict=True)
    quotients = [g if is_absent(g) else mean(sharded_as(s, _dense(g))) for g, s in pairs]
    return jax.tree.unflatten(treedef, quotients)
