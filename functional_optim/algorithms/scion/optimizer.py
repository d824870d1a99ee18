"""Scion: momentum, the minimizers over balls, and steps towards them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef
from jax.typing import DTypeLike

from ...core.caching import Interned
from ...core.chain import chain
from ...core.composed import composed
from ...core.decorators import leaf_rule
from ...core.functions import can_be_cached
from ...core.numerics.moments import moment
from ...core.numerics.precision import compute_dtype
from ...core.protocol import GradientTransformation, PyTree
from ...core.rules.arguments import Fraction, NonNegative, StateDtype
from ...core.rules.by_label import by_label
from ...core.rules.context import Slots, StepContext
from ...core.signatures import named_init
from ...core.trees.labels import FrozenTree, resolve_labels
from ...core.trees.placeholders import is_any_params
from ...core.trees.placement import auto_sharded
from ...core.trees.structure import align, is_absent
from ...core.types import EmptyState, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ...transforms.weight_decay import add_decayed_weights
from ..newton_schulz import STANDARD, Rounds, check_rounds
from .balls import Ball, Orthogonalizer, ScionNorm
from .roles import RADII, Labels, Roles

__all__ = ["LabelsOrFn", "Norms", "Radius", "scale_by_scion", "scion"]

Array = jax.Array
LabelsOrFn = PyTree | Callable[[PyTree], PyTree] | None
Norms = Mapping[str, ScionNorm | str] | None
Radius = ScalarOrSchedule | Mapping[str, ScalarOrSchedule] | None


@leaf_rule(slots=lambda p: {"mu": jnp.zeros_like(p)}, step_scalars=lambda alpha: {"b": 1 - alpha})
def scion_momentum(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    alpha: Fraction = 0.1,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by their running mean: mu <- (1 - alpha) mu + alpha g, and u = mu.

    `alpha` `()` has no unit; mu, of shape `*p`, and u are in units of g.
    """
    del p, state_dtype
    mu = moment(slots.mu, g, ctx.b, alpha)
    return mu, {"mu": mu}


@leaf_rule()
def scale_by_radius(
    g: Array, slots: Slots, p: None, ctx: StepContext, radius: NonNegative
) -> tuple[Array, dict[str, Array]]:
    """Scales elements of unit balls to balls of a radius: u = radius g."""
    del slots, p, ctx
    return radius * g, {}


@named_init
@dataclasses.dataclass(frozen=True)
class MinimizerInit:
    """`init` of the minimizers, whose state is empty."""

    roles: Roles
    name = "minimizer"

    def __repr__(self) -> str:
        return "minimizer(roles)"

    def __call__(self, params: PyTree) -> EmptyState:
        """Finds the balls, so that an error is raised before the first update."""
        if not is_any_params(params):
            self.roles(params)
        return EmptyState()


@dataclasses.dataclass(frozen=True)
class MinimizerUpdate(Interned):
    """`update` that replaces updates by elements of unit balls."""

    roles: Roles
    orthogonalizer: Orthogonalizer

    @property
    def is_cacheable(self) -> bool:
        """Whether the labels and the axes may be kept alive."""
        functions = (self.roles.leaves.labeller, self.roles.labeller)
        return all(f is None or isinstance(f, FrozenTree) or can_be_cached(f) for f in functions)

    def __call__(
        self, updates: PyTree, state: EmptyState, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, EmptyState]:
        """Replaces each update that is not missing."""
        del extra
        name = self.roles.rule
        balls = resolve_labels(name, "param_labels", self.roles, params, updates)
        treedef: PyTreeDef
        flat, treedef = jax.tree.flatten(balls)
        leaves = align(balls, updates, link=name, name="updates")
        new = [
            g if is_absent(g) else _minimizer(ball, self.orthogonalizer, jnp.asarray(g))
            for ball, g in zip(flat, leaves, strict=True)
        ]
        return treedef.unflatten(new), state


# Traced once for all leaves of one shape and ball.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _minimizer(ball: Ball, orthogonalizer: Orthogonalizer, g: Array) -> Array:
    """Computes the minimizer in at least float32."""

    def minimizer(g: Array) -> Array:
        return ball.minimizer(g.astype(compute_dtype(g.dtype)), orthogonalizer)

    return auto_sharded(minimizer, lambda shape, spec, mesh: spec, g).astype(g.dtype)


def _radius_by_label(radius: Radius, roles: Roles) -> Any:
    """Returns the radius as a hyperparameter, by label where it is not one number."""
    if radius is not None and not isinstance(radius, Mapping):
        return radius
    return by_label(RADII | dict(radius or {}), Labels(roles))


@composed
def scale_by_scion(
    radius: Radius = None,
    alpha: ScalarOrSchedule = 0.1,
    *,
    norms: Norms = None,
    param_labels: LabelsOrFn = None,
    axes: LabelsOrFn = None,
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int | None = None,
    ns_dtype: DTypeLike | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Replaces updates by the points of balls that have the largest product with their mean.

    For one parameter of shape `*p`, with the ball of its layer:

        mu <- (1 - alpha) mu + alpha g
        u   = radius times the X with |X| <= 1 that has the largest <mu, X>

    The state keeps mu, of shape `*p`, in units of g. `alpha` `()` has no unit; `radius` `()` and u
    are in units of p. The radius may differ by label, and is then `radius.<label>` in the state.

    Args:
      radius: one number for all parameters; or label -> number, where labels that are missing have
        the radius of their role. None is 50 for `hidden` and `vector`, 1 for `embedding` and 3000
        for `head`.
      alpha: weight of a new gradient: 0.1 is a decay of 0.9, and with 1 there is no momentum.
      norms: label -> `ScionNorm` or its name, in addition to the norms of the roles: `spectral` for
        `hidden`, `sign` for `head` and, not normalized, for `embedding`, `bias_rms` for `vector`.
      param_labels: tree of labels shaped like the parameters, or a function of the parameters that
        returns one, such as `path_labels`. None, for the tree or for a parameter, means the role
        that follows from name and axes. An embedding that is also the head is a `head`.
      axes: tree of `MatrixAxes`, or a prefix of one, with None for a parameter without matrices; or
        a function of the parameters that returns one. None for `axes_by_name()`. The axes of
        embeddings and heads with two axes follow from their names.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.
      See `orthogonalize` for the others.

    Differences: the authors' code rounds to bfloat16, has alpha 1 by default, and matrices
    `(outputs, inputs)`.

    Raises:
      ValueError: alpha outside [0, 1]; a radius is negative; the name of a norm is unknown; or, by
        `init`, a parameter has no role or no axes.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.eye(2), "head": jnp.ones((2, 3)), "b": jnp.zeros(2)}
      >>> tx = fo.scale_by_scion(alpha=1.0, ns_coeffs=(1.5, -0.5, 0.0), ns_steps=20)
      >>> grads = {"w": jnp.eye(2), "head": -jnp.ones((2, 3)), "b": jnp.array([3.0, 4.0])}
      >>> u, _ = tx.update(grads, tx.init(params), params)
      >>> [round(float(u[k].ravel()[0]), 1) for k in ("w", "head", "b")]
      [50.0, -1500.0, 42.4]

    Reference: Pethick et al., Training deep learning models with norm-constrained LMOs, ICML 2025,
    Algorithm 1, arXiv:2502.07529.
    """
    message = check_rounds({"ns_coeffs": ns_coeffs, "ns_steps": ns_steps})
    if message is not None:
        raise ValueError(f"scale_by_scion: {message}")
    roles = Roles.of("scale_by_scion", norms, param_labels, axes)
    orthogonalizer = Orthogonalizer(ns_coeffs, ns_steps, ns_dtype)
    minimizer = MinimizerUpdate.of(roles, orthogonalizer)
    return chain(
        scion_momentum(alpha, state_dtype=state_dtype),
        GradientTransformation(MinimizerInit(roles), minimizer),
        scale_by_radius(_radius_by_label(radius, roles)),
    )


@composed
def scion(
    learning_rate: ScalarOrSchedule,
    radius: Radius = None,
    alpha: ScalarOrSchedule = 0.1,
    *,
    constrained: bool = True,
    norms: Norms = None,
    param_labels: LabelsOrFn = None,
    axes: LabelsOrFn = None,
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int | None = None,
    ns_dtype: DTypeLike | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Scion: `scale_by_scion`, then a step towards minus its result, or along it.

        p <- (1 - learning_rate) p - learning_rate u    constrained
        p <- p - learning_rate u                        not constrained

    With the first step, parameters that start in the ball of their radius stay in it; `scion_init`
    makes such parameters. It is decoupled weight decay of 1, which the state has as `weight_decay`.
    The second step with radius 1, learning rate learning_rate radius and weight decay 1 / radius is
    the same. `learning_rate` `()` has no unit, and must be less than 1; the authors use 2^-12 for
    GPT.

    Args:
      learning_rate: share of the way to -u, less than 1; or factor of u, if not constrained.
      constrained: whether to take the first of these steps.
      See `scale_by_scion` and `orthogonalize` for the others.

    Raises:
      ValueError: as `scale_by_scion`; or learning_rate < 0.

    Example:
      >>> import functional_optim as fo
      >>> labels = fo.path_labels({"^out": "head"}, default=None)
      >>> tx = fo.scion(2**-12, {"hidden": 8.0, "head": 128.0}, param_labels=labels)
      >>> params = {"w": jnp.ones((4, 8)), "b": jnp.ones(8), "out": jnp.ones((8, 3))}
      >>> params = fo.scion_init(params, 0, {"hidden": 8.0, "head": 128.0}, param_labels=labels)
      >>> print(f"{jnp.linalg.norm(params['w'], 2):.2f}, {params['out'].max():.2f}")
      11.31, 16.00
      >>> {k: float(v) for k, v in fo.get_hyperparams(tx.init(params)).items() if "radius" in k}
      {'radius.embedding': 1.0, 'radius.head': 128.0, 'radius.hidden': 8.0, 'radius.vector': 50.0}

    Reference: Pethick et al., Training deep learning models with norm-constrained LMOs, ICML 2025,
    Algorithms 1 and 2, arXiv:2502.07529.
    """
    direction = scale_by_scion(
        radius,
        alpha,
        norms=norms,
        param_labels=param_labels,
        axes=axes,
        ns_coeffs=ns_coeffs,
        ns_steps=ns_steps,
        ns_dtype=ns_dtype,
        state_dtype=state_dtype,
    )
    # The decay is not an argument, because with any other number radius has another meaning.
    decay = (add_decayed_weights(1.0),) if constrained else ()
    return chain(direction, *decay, scale_by_learning_rate(learning_rate))
