"""Plays cases with the optimizers of this package."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functional_optim import optim

from .cases import Case, decode
from .problem import GROUPS, Problem
from .run import Arrays, Run

NAMES = [k for names in GROUPS for k in names]
"""In the order of torch's numbers."""


def run(case: Case, problem: Problem, golden: Run | None = None) -> Run:
    """Plays a case; given torch's run, from the state_dict that was saved in it."""
    optimizer = make(case, problem.start)
    result = Run(groups=[group.options for group in optimizer.param_groups])
    first = 0
    if golden is not None:
        first = case["saved"]
        optimizer.params = split(golden.params[first - 1])
        optimizer.load_state_dict(torch_state_dict(golden), names=NAMES)
    for t in range(first, case["steps"]):
        apply_events(optimizer, case, t)
        optimizer.step(split(problem.at(t), conjugate=True))
        result.params.append(join(optimizer.params))
    result.state = state_of(optimizer)
    return result


def make(case: Case, start: Arrays) -> Any:
    """The optimizer of a case."""
    trees = split(start)
    groups = [{"params": trees[0]}, {"params": trees[1], **options(case["overrides"])}]
    return getattr(optim, case["optimizer"])(groups, foreach=False, **options(case["kwargs"]))


def apply_events(optimizer: Any, case: Case, step: int) -> None:
    """The edits before a step."""
    for e in case["events"]:
        if e["step"] == step:
            optimizer.param_groups[e["group"]].update(options({e["key"]: e["value"]}))


def options(given: dict[str, Any]) -> dict[str, Any]:
    """Options of a case, with arrays of JAX."""
    return {k: decode(v, jnp.asarray) for k, v in given.items()}


def split(arrays: dict[str, Any], conjugate: bool = False) -> list[dict[str, Any]]:
    """Trees of the groups; `conjugate` turns torch's gradients into those of `jax.grad`."""
    change = np.conj if conjugate else np.asarray
    arrays = {k: None if x is None else jnp.asarray(change(x)) for k, x in arrays.items()}
    return [{k: arrays[k] for k in names} for names in GROUPS]


def join(trees: list[dict[str, Any]]) -> Arrays:
    """The arrays of all groups by name."""
    return {k: np.asarray(x) for tree in trees for k, x in tree.items()}


def state_of(optimizer: Any) -> dict[str, Arrays]:
    """torch's entries by name of the parameter."""
    saved = jax.tree.map(np.asarray, optimizer.state_dict()["state"])
    return {NAMES[i]: entry for i, entry in saved.items()}


def torch_state_dict(golden: Run) -> dict[str, Any]:
    """The state_dict that torch wrote in a run, before it was taken apart."""
    numbers = [[NAMES.index(k) for k in group] for group in GROUPS]
    groups = [
        {**options(given), "params": own}
        for given, own in zip(golden.saved_groups, numbers, strict=True)
    ]
    return {"state": {NAMES.index(k): e for k, e in golden.saved.items()}, "param_groups": groups}
