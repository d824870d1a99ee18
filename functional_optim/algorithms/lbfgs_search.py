"""Several iterations of L-BFGS as one update: what torch.optim.LBFGS does in a step."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import Hyperparameter
from ..core.tree_rule import tree_rule
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
    static=("history_size", "line_search_fn"),
    bounds={
        "lr": "[0, inf)",
        "max_iter": "[0, inf)",
        "max_eval": "[0, inf)",
        "tolerance_grad": "[0, inf)",
        "tolerance_change": "[0, inf)",
    },
    requires=("params", "value", "value_fn"),
    requires_trees=("grad",),
    exact=True,
    check=_check,
)
def search_by_lbfgs(
    g: Any,
    slots: Any,
    p: Any,
    now: Any,
    lr: Hyperparameter,
    max_iter: Hyperparameter,
    max_eval: Hyperparameter,
    tolerance_grad: Hyperparameter,
    tolerance_change: Hyperparameter,
    history_size: int,
    line_search_fn: str | None,
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Moves by up to `max_iter` iterations of L-BFGS; see `functional_optim.optim.LBFGS`.

    The state goes on from one update to the next: pairs of steps and changes of the gradient,
    leaves of shape `(history_size, *p)`, and the last direction and gradient, `*p`. Its metric
    `status` says why the update ended, by the numbers of `Status`.
    """
    del g, history_size  # `grad` is what came in, before any conjugation
    iterations, evaluations = max_iter.astype(jnp.int32), max_eval.astype(jnp.int32)
    limits = Limits(iterations, evaluations, evaluations, tolerance_grad, tolerance_change)
    evaluate, memory = now.value_fn.value_and_grad, Memory.of(slots, now)
    end = iterate(
        evaluate, p, now.value, now.grad, memory, lr, limits, by_wolfe=line_search_fn is not None
    )
    delta = jax.tree.map(jnp.subtract, end.x, p)
    return delta, end.memory.slots(), {**end.memory.scalars(), "status": end.status}
