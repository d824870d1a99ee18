"""Several iterations of L-BFGS as one update: what torch.optim.LBFGS does in a step."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import Hyperparameter
from ..core.tree_rule import tree_rule
from .curvature import Curvature
from .quasi_newton import Limits, Memory, iterate

__all__ = ["search_by_lbfgs"]

Array = jax.Array


def _slots(p: Array, history_size: int) -> dict[str, Array]:
    ring = jnp.zeros((history_size, *p.shape), p.dtype)
    return {
        "direction": jnp.zeros_like(p),
        "grad": jnp.zeros_like(p),
        "diff_params_memory": ring,
        "diff_updates_memory": ring.copy(),
    }


def _scalars(history_size: int) -> dict[str, Any]:
    nothing = {"step": 0.0, "value_before": 0.0, "scale": 1.0, "taken": np.zeros(history_size)}
    counts = dict.fromkeys(("iterations", "evaluations"), np.int32(0))
    return Curvature.start(history_size) | nothing | counts


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
    slots=_slots,
    scalars=_scalars,
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
    curvature = Curvature(
        slots.diff_params_memory, slots.diff_updates_memory, now.weights, now.end, now.size
    )
    memory = Memory(
        curvature,
        now.scale,
        slots.direction,
        slots.grad,
        now.step,
        now.value_before,
        now.taken,
        now.iterations,
        now.evaluations,
    )
    limits = Limits(
        max_iter.astype(jnp.int32), max_eval.astype(jnp.int32), tolerance_grad, tolerance_change
    )
    evaluate = now.value_fn.value_and_grad
    end = iterate(
        evaluate, p, now.value, now.grad, memory, lr, limits, by_wolfe=line_search_fn is not None
    )
    memory, curvature = end.memory, end.memory.curvature
    kept = {
        "direction": memory.direction,
        "grad": memory.grad,
        "diff_params_memory": curvature.s,
        "diff_updates_memory": curvature.y,
    }
    scalars = {
        "weights": curvature.weights,
        "end": curvature.end,
        "size": curvature.size,
        "scale": memory.scale,
        "step": memory.step,
        "value_before": memory.value,
        "taken": memory.taken,
        "iterations": memory.iterations,
        "evaluations": memory.evaluations,
        "status": end.status,
    }
    return jax.tree.map(jnp.subtract, end.x, p), kept, scalars
