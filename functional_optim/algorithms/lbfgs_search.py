"""Several iterations of L-BFGS as one update, like a step of torch.optim.LBFGS."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from ..core.decorators import tree_rule
from ..core.protocol import PyTree
from ..core.rules.arguments import NonNegative, Static
from ..core.rules.context import Slots, StepContext
from .lbfgs_memory import Memory
from .quasi_newton import Limits, iterate

__all__ = ["search_by_lbfgs"]

Array = jax.Array
ValueAndGrad = Callable[[PyTree], tuple[Array, PyTree]]


def _check(options: Mapping[str, object]) -> str | None:
    if options["line_search_fn"] not in (None, "strong_wolfe"):
        return f"line_search_fn must be 'strong_wolfe' or None, got {options['line_search_fn']!r}."
    size = options["history_size"]
    if not isinstance(size, int) or size < 1:
        return f"history_size must be an integer from 1, got {size!r}."
    return None


@tree_rule(
    slots=Memory.slots_of,
    scalars=Memory.scalars_of,
    metrics=("status",),
    needs=("params", "value", "value_fn"),
    needs_trees=("grad",),
    keep_compute_dtype=True,
    check=_check,
)
def search_by_lbfgs(
    g: PyTree,
    slots: Slots,
    p: PyTree,
    ctx: StepContext,
    lr: NonNegative,
    max_iter: NonNegative,
    max_eval: NonNegative,
    tolerance_grad: NonNegative,
    tolerance_change: NonNegative,
    history_size: Static[int],
    line_search_fn: Static[str | None],
    maximize: Static[bool] = False,
) -> tuple[PyTree, dict[str, PyTree], dict[str, Array]]:
    """Moves by up to `max_iter` iterations of L-BFGS; see `functional_optim.optim.LBFGS`.

    The state has pairs of steps and changes of the gradient, leaves of shape `(history_size, *p)`,
    and the last direction and gradient, `*p`; the next update continues with them. The metric
    `status` is the reason why the update ended, a value of `Status`. With `maximize` the search
    runs on the negative loss, because it compares values as well as gradients.
    """
    del g, history_size  # `grad` is the gradient as passed, before any conjugation
    iterations, evaluations = max_iter.astype(jnp.int32), max_eval.astype(jnp.int32)
    limits = Limits(iterations, evaluations, evaluations, tolerance_grad, tolerance_change)
    evaluate, start = ctx.value_fn.value_and_grad, (ctx.value, ctx.grad)
    if maximize:
        evaluate, start = _negated(evaluate), _negative(start)
    memory, by_wolfe = Memory.of(slots, ctx), line_search_fn is not None
    end = iterate(evaluate, p, *start, memory, lr, limits, by_wolfe=by_wolfe)
    delta = jax.tree.map(jnp.subtract, end.x, p)
    return delta, end.memory.slots(), {**end.memory.scalars(), "status": end.status}


def _negated(evaluate: ValueAndGrad) -> ValueAndGrad:
    return lambda x: _negative(evaluate(x))


def _negative(value_and_grad: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
    value, grad = value_and_grad
    return -value, jax.tree.map(jnp.negative, grad)
