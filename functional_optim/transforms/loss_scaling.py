"""Loss scaling: keeps small gradients from underflowing in float16."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.numerics.precision import compute_dtype, real_dtype, safe_increment
from ..core.numerics.validation import Interval, as_number, as_state
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn
from ..core.signatures import named_init
from ..core.state import State, nested_states
from ..core.trees.placement import mesh_placer
from ..core.trees.varying import varying_as
from .conditional_update import run_if
from .guard import all_finite, count_finite, init_finite_counters

__all__ = ["loss_scale", "scale_loss"]

Array = jax.Array

BOUNDS = {
    "init_scale": Interval("(0, inf)"),
    "growth_factor": Interval("(1, inf)"),
    "backoff_factor": Interval("(0, 1)"),
    "growth_interval": Interval("[1, inf)"),
    "min_scale": Interval("[0, inf)"),
}


def loss_scale(
    inner: GradientTransformation,
    init_scale: ArrayLike = 2.0**16,
    growth_factor: ArrayLike = 2.0,
    backoff_factor: ArrayLike = 0.5,
    growth_interval: ArrayLike = 2000,
    min_scale: ArrayLike = 1.0,
) -> GradientTransformation:
    """Divides gradients of a scaled loss by the scale, and adapts the scale to float16.

    Gradients of `scale_loss(loss, state)` are divided in float32, and passed to `inner`. If one is
    not finite, the step is skipped, as if it had not happened, and the scale is multiplied by
    backoff_factor, but does not fall below min_scale. After growth_interval finite steps in a row,
    the scale is multiplied by growth_factor. The scale grows up to the largest number of float32.

    The state holds `hyperparams` (the factors, the interval and min_scale); `growth_tracker`, the
    number of finite steps in a row, `()` int32; `scale` `()`; under `metrics` `last_finite`, and
    how many steps were skipped: `notfinite_count` in a row, and `total_notfinite`; and
    `inner_state`. If `notfinite_count` continues to grow at min_scale, the gradients do not
    overflow because of the scale.

    Differences: torch's `GradScaler` computes the same scale outside of the optimizer, and without
    min_scale: its scale can become 0, after which all gradients are NaN. optax has no such
    transformation.

    Args:
      inner: the whole optimizer, with clipping; in `per_leaf_counts`, if a gradient may be None.
      init_scale: the scale at the start.
      growth_factor: factor of the scale after growth_interval finite steps.
      backoff_factor: factor of the scale after a step that is not finite.
      growth_interval: number of finite steps in a row after which the scale grows.
      min_scale: the least scale.

    Raises:
      TypeError: inner is not a pair of functions, or another argument is not a number.
      ValueError: init_scale not positive, growth_factor not above 1, backoff_factor outside
        (0, 1), growth_interval < 1, or min_scale negative.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.loss_scale(fo.sgd(0.5)), {"w": jnp.float16(1.0)}
      >>> state = tx.init(params)
      >>> loss = lambda params, state: fo.scale_loss(1e-8 * jnp.float32(params["w"]), state)
      >>> grads = jax.grad(loss)(params, state)
      >>> updates, state = tx.update(grads, state, params)
      >>> print(f"{updates['w']:.1e}", fo.metrics(state)["last_finite"])
      -5.0e-09 1

    Reference: Micikevicius et al., Mixed precision training, ICLR 2018, section 3.2,
    arXiv:1710.03740.
    """
    init, update = check_pair("loss_scale: inner", inner)
    arguments = {
        "init_scale": init_scale,
        "growth_factor": growth_factor,
        "backoff_factor": backoff_factor,
        "growth_interval": growth_interval,
        "min_scale": min_scale,
    }
    hyperparams = tuple(
        (k, as_number(v, f"loss_scale: {k}", BOUNDS[k])) for k, v in arguments.items()
    )
    return GradientTransformation(
        _LossScaleInit(init, hyperparams), _LossScaleUpdate.of(ExtraArgsAdapter.to(update))
    )


def scale_loss(loss: ArrayLike, state: PyTree) -> Array:
    """Multiplies a loss by the scale of the one `loss_scale` in a state, in float32 or wider.

    Raises:
      ValueError: the state does not have exactly one `loss_scale`.
    """
    scales = [node.scale for _, node in nested_states(state) if "growth_tracker" in node]
    if len(scales) != 1:
        raise ValueError(
            f"scale_loss: the state must have one loss_scale, and has {len(scales)}. Pass the "
            "state of a transformation that is wrapped in loss_scale."
        )
    loss = jnp.asarray(loss)
    dtype = compute_dtype(loss.dtype)
    return loss.astype(dtype) * scales[0].astype(dtype)


@named_init
@dataclasses.dataclass(frozen=True)
class _LossScaleInit:
    """`init` of a transformation of scaled gradients."""

    init: TransformInitFn
    hyperparams: tuple[tuple[str, ArrayLike], ...]
    name = "loss_scale"

    def __call__(self, params: PyTree) -> State:
        """Makes the inner state, the scale and the counts."""
        hyperparams = {k: as_state(v) for k, v in self.hyperparams}
        scale = hyperparams.pop("init_scale")
        fields = {
            "hyperparams": hyperparams,
            "growth_tracker": jnp.array(0, jnp.int32),
            "scale": scale,
            "metrics": init_finite_counters(),
        }
        place = mesh_placer(jax.tree.leaves(params))
        state = State(**jax.tree.map(place, fields), inner_state=self.init(params))
        # Whether a step is taken depends on gradients, which may vary over a mesh.
        return varying_as(state, params)

    def __repr__(self) -> str:
        return f"loss_scale({self.init!r})"


@dataclasses.dataclass(frozen=True)
class _LossScaleUpdate(Interned):
    """`update` of a transformation of scaled gradients."""

    inner: ExtraArgsAdapter

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Takes the inner step if the gradients are finite, and computes the next scale."""
        check_state("loss_scale", updates, state, params)
        grads = jax.tree.map(lambda g: _unscaled(g, state.scale), updates)
        finite = all_finite(grads)

        def step() -> tuple[PyTree, PyTree]:
            return self.inner(grads, state.inner_state, params, extra)

        new, inner_state = run_if("loss_scale", finite, step, state.inner_state)
        scale, tracker = _next_scale(state, finite)
        return new, state._replace(
            scale=scale,
            growth_tracker=tracker,
            metrics=count_finite(state.metrics, finite),
            inner_state=inner_state,
        )


def _unscaled(g: ArrayLike, scale: Array) -> Array:
    g = jnp.asarray(g)
    if not jnp.issubdtype(g.dtype, jnp.inexact):
        return g  # the indices of a sparse gradient
    wide = g.astype(compute_dtype(g.dtype))
    return wide / scale.astype(real_dtype(wide.dtype)).astype(wide.dtype)


def _next_scale(state: State, finite: Array) -> tuple[Array, Array]:
    """Computes the scale and the number of finite steps in a row."""
    hyperparams, in_a_row = state.hyperparams, safe_increment(state.growth_tracker)
    grows = in_a_row.astype(state.scale.dtype) >= hyperparams["growth_interval"]
    grown = state.scale * hyperparams["growth_factor"]
    larger = jnp.where(grows & jnp.isfinite(grown), grown, state.scale)
    # A scale that starts below min_scale does not jump up to it.
    least = jnp.minimum(state.scale, hyperparams["min_scale"])
    smaller = jnp.maximum(state.scale * hyperparams["backoff_factor"], least)
    scale = jnp.where(finite, larger, smaller)
    return scale, jnp.where(finite & ~grows, in_a_row, 0)
