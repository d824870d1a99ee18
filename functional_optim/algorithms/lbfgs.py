"""L-BFGS as a transformation, and with a line search."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import tree_rule
from ..core.protocol import GradientTransformation, PyTree, identity
from ..core.rules.arguments import Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.arithmetic import choose, dot, scaled
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale, scale_by_learning_rate
from ..transforms.zoom import scale_by_zoom_linesearch
from .curvature import Curvature, is_curved

__all__ = ["lbfgs", "scale_by_lbfgs"]

Array = jax.Array

_ZOOM = scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one")


def _slots(p: Array, memory_size: int) -> dict[str, Array]:
    last = {"params": jnp.zeros_like(p), "updates": jnp.zeros_like(p)}
    return last | Curvature.rings(p, memory_size)


def _check(options: Mapping[str, object]) -> str | None:
    size = options["memory_size"]
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        return f"memory_size must be an integer from 1, got {size!r}."
    return None


@tree_rule(
    slots=_slots,
    scalars=lambda memory_size: Curvature.start(memory_size) | {"scale": 1.0},
    needs=("params",),
    check=_check,
)
def scale_by_lbfgs(
    g: PyTree,
    slots: Slots,
    p: PyTree,
    ctx: StepContext,
    memory_size: Static[int] = 10,
    scale_init_precond: Static[bool] = True,
) -> tuple[PyTree, dict[str, PyTree], dict[str, Array]]:
    """Multiplies the gradient by the inverse Hessian that the last steps approximate.

    For all parameters as one vector x with gradient g, and the last memory_size pairs
    s = x_{k+1} - x_k, y = g_{k+1} - g_k, from the oldest to the newest:

        H <- V^T H V + s s^T / s.y,    V = I - y s^T / s.y
        u = H g

    H starts as I s.y / y.y of the newest pair; before there is a pair, as I min(1, 1 / |g|).
    Without `scale_init_precond` it starts as I. u `*p` is in units of p if the loss has no unit.

    The state keeps the last parameters and gradient, and the pairs as leaves `(memory_size, *p)`. A
    pair is stored if s.y > eps |s| |y|, with eps of the parameters' precision: a step that does not
    satisfy the Wolfe conditions may have negative curvature, and then H is not positive definite.
    Therefore -u is a direction of descent; if rounding prevents this, u = g min(1, 1 / |g|). A leaf
    without a gradient does not change.

    Args:
      memory_size: number of pairs that are kept.
      scale_init_precond: whether H starts as a multiple of I that fits the newest pair, or as I.

    Differences: optax stores pairs of any curvature, and may then return a direction of ascent. For
    complex parameters, g is the conjugate of the result of `jax.grad`, as in optax.

    Raises:
      ValueError: memory_size < 1.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_lbfgs()
      >>> params = jnp.array([3.0, 1.0])
      >>> state = tx.init(params)
      >>> for _ in range(3):  # of the loss |x|^2
      ...     updates, state = tx.update(2 * params, state, params)
      ...     params = params - updates
      >>> bool(jnp.abs(params).max() < 1e-6)
      True

    Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithms 7.4 and 7.5;
    Liu & Nocedal, On the limited memory BFGS method, Mathematical Programming 1989.
    """
    curvature = Curvature(
        slots.diff_params_memory, slots.diff_updates_memory, ctx.weights, ctx.end, ctx.size
    )
    s = jax.tree.map(jnp.subtract, p, slots.params)
    y = jax.tree.map(jnp.subtract, g, slots.updates)
    sy = dot(s, y)
    accepted = (ctx.count > 0) & is_curved(s, y, sy)
    curvature = curvature.push(s, y, sy, accepted)
    last = jnp.where(accepted, sy / jnp.where(accepted, dot(y, y), 1), ctx.scale)
    # Without a pair the curvature is unknown, and the step has at most length 1.
    norm = jnp.sqrt(dot(g, g))
    bounded_scale = 1 / jnp.maximum(norm, 1)
    scale = jnp.where(curvature.size > 0, last, bounded_scale)
    direction, _ = curvature.apply(
        g, scale if scale_init_precond else jnp.ones_like(scale), memory_size
    )
    u = choose(dot(g, direction) > 0, direction, scaled(bounded_scale, g))
    new_slots = {
        "params": p,
        "updates": g,
        "diff_params_memory": curvature.s,
        "diff_updates_memory": curvature.y,
    }
    scalars = {
        "weights": curvature.weights,
        "end": curvature.end,
        "size": curvature.size,
        "scale": last,
    }
    return u, new_slots, scalars


@composed
def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: GradientTransformation | None = _ZOOM,
) -> GradientTransformation:
    """L-BFGS: `scale_by_lbfgs`, a step of minus the learning rate, and a line search.

    `update` needs the arguments of the line search: `value=`, `grad=` and `value_fn=`. To minimize
    a function until convergence, call `minimize`.

    Args:
      learning_rate: the first step length of the line search; None for 1.
      linesearch: a transformation that scales the step, or None; the default satisfies the
        strong Wolfe conditions, and begins with step length 1.
      See `scale_by_lbfgs` for the others.

    Raises:
      ValueError: memory_size < 1.

    Example:
      >>> import functional_optim as fo
      >>> def f(x):
      ...     return jnp.sum((x - 1.0) ** 2)
      >>> tx, params = fo.lbfgs(), jnp.zeros(3)
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     value, grad = jax.value_and_grad(f)(params)
      ...     updates, state = tx.update(
      ...         grad, state, params, value=value, grad=grad, value_fn=f
      ...     )
      ...     params = fo.apply_updates(params, updates)
      >>> params.round(5).tolist()
      [1.0, 1.0, 1.0]

    Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithm 7.5.
    """
    down = scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)
    direction = scale_by_lbfgs(memory_size, scale_init_precond)
    return chain(direction, down, identity() if linesearch is None else linesearch)
