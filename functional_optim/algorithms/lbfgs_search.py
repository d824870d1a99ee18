"""Several iterations of L-BFGS as one update: what torch.optim.LBFGS does in a step."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.decorators import tree_rule
from ..core.protocol import PyTree
from ..core.rules.arguments import NonNegative, Static
from ..core.rules.context import Slots, StepContext
from .lbfgs_memory import Memory
from .quasi_newton import Limits, iterate

__all__ = ["search_by_lbfgs"]


def _check(options: Mapping[str, Any]) -> str | None:
    if options["line_search_fn"] not in (None, "strong_wolfe"):
        return (
            "line_search_fn: only 'strong_wolfe' is supported, or None, got "
            f"{options['line_search_fn']!r}."
        )
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
    g: Any,
    slots: Slots,
    p: Any,
    ctx: StepContext,
    lr: NonNegative,
    max_iter: NonNegative,
    max_eval: NonNegative,
    tolerance_grad: NonNegative,
    tolerance_change: NonNegative,
    history_size: Static[int],
    line_search_fn: Static[str | None],
    maximize: Static[bool] = False,
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Moves by up to `max_iter` iterations of L-BFGS; see `functional_optim.optim.LBFGS`.

    The state carries over from one update to the next: pairs of steps and changes of the gradient,
    leaves of shape `(history_size, *p)`, and the last direction and gradient, `*p`. Its metric
    `status` says why the update ended, by the numbers of `Status`. With `maximize` all of this is
    of the negative loss, for a search compares values as well as gradients.
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


def _negated(evaluate: Callable[[PyTree], Any]) -> Callable[[PyTree], Any]:
    return lambda x: _negative(evaluate(x))


def _negative(tree: PyTree) -> Any:
    return jax.tree.map(jnp.negative, tree)
