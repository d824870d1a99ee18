"""How an oracle of arrays becomes one of trees, and of several steps."""

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

Tree = dict[str, np.ndarray]
Step = Callable[[Tree, Tree], Tree]


def leafwise(maths: Callable[..., Any]) -> Callable[..., Step]:
    """Makes an oracle of trees out of one of arrays, which keeps its own memory for each leaf."""

    @functools.wraps(maths)
    def oracle(**arguments: Any) -> Step:
        steps: Any = defaultdict(lambda: maths(**arguments))
        return lambda grads, params: {k: steps[k](g, params[k]) for k, g in grads.items()}

    oracle.leaf = maths  # type: ignore[attr-defined]
    return oracle


def in_order(*steps: Callable[..., Any]) -> Callable[..., Any]:
    """Applies the steps one after another, each to the result of the last."""
    return lambda g, p: functools.reduce(lambda u, step: step(u, p), steps, g)


def decoupled(direction: Callable[..., Step], default: float) -> Callable[..., Step]:
    """Adds decoupled weight decay: p <- p - learning_rate (u + weight_decay p)."""

    def oracle(learning_rate, weight_decay=default, mask=None, **options) -> Step:
        find = direction(**options)

        def step(grads: Tree, params: Tree) -> Tree:
            where = mask(params) if mask else dict.fromkeys(params, True)
            decay = {k: weight_decay * p * where[k] for k, p in params.items()}
            return {k: -learning_rate * (u + decay[k]) for k, u in find(grads, params).items()}

        return step

    return oracle
