"""Sharpness-aware minimization: gradients at the worst point nearby."""

import dataclasses

import jax
import jax.numpy as jnp

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.leaf.dtypes import as_parameter
from ..core.numerics.precision import compute_dtype
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.apply import apply_updates, no_update
from ..core.trees.arithmetic import choose
from ..core.trees.placement import mesh_placer, sharded_as
from ..core.trees.structure import align, is_absent
from ..core.trees.varying import cond
from .conditional_update import check_leaf_counts, zero_metrics

__all__ = ["sam"]

Array = jax.Array


def sam(
    optimizer: GradientTransformation,
    adv_optimizer: GradientTransformation,
    sync_period: int = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
    batch_axis_name: str | None = None,
) -> GradientTransformation:
    """Takes an optimizer's step with the gradient at a point to which another optimizer climbed.

    All but the last of every `sync_period` updates climb, by minus the steps of adv_optimizer.
    At the last, the parameters return to the point where the climb began, and the optimizer takes
    its step from there with the gradient of the highest point. With `chain(normalize(), sgd(rho))`
    as adv_optimizer this is SAM; with `normalize_adaptively` in place of `normalize`, ASAM.

    The state holds `steps_since_sync`, `opt_state`, `adv_state`, and without opaque_mode `cache`,
    the parameters where the climb began, at which `eval_params` evaluates. Extra arguments go to
    both optimizers. Without opaque_mode a parameter whose gradient is None has an update too: it
    may have to return from a climb.

    Args:
      optimizer: takes the steps.
      adv_optimizer: computes the steps of the climb, whose sign is then reversed.
      sync_period: number of updates to one step of the optimizer.
      reset_state: whether the state of adv_optimizer is reset after each step of the optimizer.
      opaque_mode: whether one update climbs and takes the step: `update` is then called with
        `grad_fn(params, i)`, the gradient at the i-th point of the climb, from 0.
      batch_axis_name: axis over which gradients of the climb are averaged; with opaque_mode.

    Differences: optax drops extra arguments, computes both optimizers at each update, and rounds
    the update that returns from a climb to the parameters' dtype.

    Raises:
      TypeError: an optimizer is not a pair of functions, or sync_period not an integer.
      ValueError: sync_period < 1; batch_axis_name without opaque_mode; `update` is called without
        params, in opaque mode without grad_fn, or with a gradient that is None if the state has no
        leaf counts: wrap the optimizers in `per_leaf_counts`.

    Example:
      >>> import functional_optim as fo
      >>> climb = fo.chain(fo.normalize(), fo.sgd(0.5))
      >>> tx = fo.sam(fo.sgd(0.25), climb, opaque_mode=True)
      >>> params = {"w": jnp.array(1.0)}
      >>> grad_fn = lambda params, i: jax.grad(lambda p: p["w"] ** 2)(params)
      >>> grads = grad_fn(params, 0)
      >>> updates, _ = tx.update(grads, tx.init(params), params, grad_fn=grad_fn)
      >>> print(fo.apply_updates(params, updates)["w"])
      0.25

    Reference: Foret, Kleiner, Mobahi & Neyshabur, Sharpness-aware minimization for efficiently
    improving generalization, ICLR 2021, Algorithm 1, arXiv:2010.01412.
    """
    sync_period = as_count(sync_period, "sam: sync_period")
    if batch_axis_name is not None and not opaque_mode:
        raise ValueError(
            "sam: batch_axis_name is for opaque_mode, where sam computes the gradients of the "
            "climb. Average the gradients that you pass, and leave it out."
        )
    init, update = check_pair("sam: optimizer", optimizer)
    adv_init, adv_update = check_pair("sam: adv_optimizer", adv_optimizer)
    parts = _Parts(
        ExtraArgsAdapter.to(update),
        ExtraArgsAdapter.to(adv_update),
        adv_init,
        sync_period,
        bool(reset_state),
    )
    sam_init = _SamInit(init, adv_init, not opaque_mode)
    if opaque_mode:
        return GradientTransformation(sam_init, _OpaqueSamUpdate.of(parts, batch_axis_name))
    return GradientTransformation(sam_init, _SamUpdate.of(parts))


@named_init
@dataclasses.dataclass(frozen=True)
class _SamInit:
    """`init` of a sharpness-aware optimizer."""

    init: TransformInitFn
    adv_init: TransformInitFn
    has_cache: bool
    name = "sam"

    @property
    def parts(self) -> dict[str, TransformInitFn]:
        """The `init` of each transformation within, by the field of its state."""
        return {"opt_state": self.init, "adv_state": self.adv_init}

    def __call__(self, params: PyTree) -> State:
        """Makes the states of both optimizers."""
        # A copy, because a step donates parameters and state, and a buffer only once.
        cache = jax.tree.map(lambda p: jnp.array(as_parameter(p), copy=True), params)
        return State(
            steps_since_sync=mesh_placer(jax.tree.leaves(params))(jnp.zeros((), jnp.int32)),
            opt_state=self.init(params),
            adv_state=self.adv_init(params),
            **({"cache": cache} if self.has_cache else {}),
        )

    def __repr__(self) -> str:
        return f"sam({self.init!r}, {self.adv_init!r})"


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The two optimizers and the options, as both modes use them."""

    optimizer: ExtraArgsAdapter
    climber: ExtraArgsAdapter
    adv_init: TransformInitFn
    period: int
    reset: bool

    def climb(
        self, updates: PyTree, state: PyTree, params: PyTree, extra: dict[str, object]
    ) -> tuple[PyTree, PyTree]:
        """Takes a step of the climber, upwards."""
        down, state = self.climber(updates, state, params, extra)
        return jax.tree.map(jnp.negative, down), state


def _need_params(params: PyTree | None) -> None:
    if params is None:
        raise ValueError("sam: update needs params. Call update(updates, state, params).")


@dataclasses.dataclass(frozen=True)
class _SamUpdate(Interned):
    """`update` that either climbs or takes a step of the optimizer."""

    parts: _Parts

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Climbs; at the end of a period, takes the optimizer's step from where the climb began."""
        check_state("sam", updates, state, params)
        _need_params(params)
        parts, steps = self.parts, state.steps_since_sync
        current = jax.tree.map(jnp.asarray, params)
        # A climb begins at the present parameters, which may have been changed since the last step.
        cache = choose(steps == 0, current, jax.tree.map(sharded_as, state.cache, current))

        def step() -> tuple[PyTree, ...]:
            u, opt_state = parts.optimizer(updates, state.opt_state, cache, extra)
            check_leaf_counts("sam", state.opt_state, opt_state)
            after = apply_updates(cache, u)
            adv_state = state.adv_state
            if parts.reset:
                adv_state = jax.tree.map(sharded_as, parts.adv_init(cache), adv_state)
            return _difference(updates, current, after), opt_state, zero_metrics(adv_state), after

        def climb() -> tuple[PyTree, ...]:
            u, adv_state = parts.climb(updates, state.adv_state, params, extra)
            check_leaf_counts("sam", state.adv_state, adv_state)
            return _in_precision_of(current, u), zero_metrics(state.opt_state), adv_state, cache

        is_last = steps == parts.period - 1
        # During a climb the cache does not change; a step replaces it by the new parameters.
        new, opt_state, adv_state, next_cache = cond(is_last, step, climb)
        next_cache = jax.tree.map(sharded_as, next_cache, state.cache)
        return new, State(
            steps_since_sync=jnp.where(is_last, 0, steps + 1),
            opt_state=opt_state,
            adv_state=adv_state,
            cache=next_cache,
        )


@dataclasses.dataclass(frozen=True)
class _OpaqueSamUpdate(Interned):
    """`update` that climbs and then takes a step of the optimizer, in opaque mode."""

    parts: _Parts
    axis: str | None

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Climbs, and takes the optimizer's step from where the climb began."""
        check_state("sam", updates, state, params)
        _need_params(params)
        grad_fn = extra.get("grad_fn")
        if not callable(grad_fn):
            raise ValueError(
                "sam: update needs grad_fn in opaque_mode. Call update(updates, state, params, "
                "grad_fn=...), with a function (params, i) -> gradients."
            )
        parts, point, adv_state = self.parts, params, state.adv_state
        for i in range(parts.period - 1):
            up, adv_state = parts.climb(updates, adv_state, point, extra)
            point = apply_updates(point, up)
            updates = grad_fn(point, i)
            if self.axis is not None:
                # Each device has the gradient of its part of the batch.
                updates = jax.lax.pmean(updates, axis_name=self.axis)
        new, opt_state = parts.optimizer(updates, state.opt_state, params, extra)
        if parts.reset:
            adv_state = jax.tree.map(sharded_as, parts.adv_init(params), state.adv_state)
        return new, state._replace(opt_state=opt_state, adv_state=adv_state)


def _in_precision_of(params: PyTree, updates: PyTree) -> PyTree:
    """Casts updates to float32, or to their parameters' dtype if that is wider.

    A gradient of None becomes a zero update, because the way back from a climb needs an array.
    """

    def cast(g: PyTree, p: Array) -> Array | None:
        if not is_absent(g):
            return g.astype(compute_dtype(p.dtype))
        return no_update(p.astype(compute_dtype(p.dtype))) if _is_trained(p) else None

    flat, treedef = jax.tree.flatten(params)
    gradients = align(params, updates, link="sam", name="updates")
    return jax.tree.unflatten(treedef, [cast(g, p) for g, p in zip(gradients, flat, strict=True)])


def _difference(updates: PyTree, start: PyTree, end: PyTree) -> PyTree:
    """Returns end - start, also for leaves whose gradient is None.

    Such a leaf may have climbed at an earlier update, when it had a gradient.
    """

    def leaf_difference(u: PyTree, p: Array, q: Array) -> Array | None:
        dtype = compute_dtype(p.dtype)
        if is_absent(u) and not _is_trained(p):
            return None
        d = q.astype(dtype) - p.astype(dtype)
        if is_absent(u):
            # Adding 0 would turn a parameter of -0 into 0.
            return jnp.where(d == 0, no_update(d), d)
        return sharded_as(d, jnp.asarray(u))

    flat, treedef = jax.tree.flatten(start)
    gradients = align(start, updates, link="sam", name="updates")
    ends = jax.tree.leaves(end)
    return jax.tree.unflatten(
        treedef, [leaf_difference(*leaf) for leaf in zip(gradients, flat, ends, strict=True)]
    )


def _is_trained(p: Array) -> bool:
    return bool(jnp.issubdtype(p.dtype, jnp.inexact))
