"""Plays cases with the optimizers of this package."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO

from functional_optim import optim

from .cases import Case, decode
from .losses import loss
from .problem import Groups, Problem, Rows
from .run import Arrays, Run


def run(case: Case, problem: Problem, golden: Run | None = None) -> Run:
    """Plays a case; given torch's run, from the state_dict that was saved in it."""
    optimizer, result, first = make(case, problem), Run(), 0
    if golden is not None:
        first = case["saved"]
        optimizer.params = split(golden.params[first - 1], problem.groups)
        optimizer.load_state_dict(torch_state_dict(golden, problem), names=problem.names)
    for t in range(first, case["steps"]):
        _step(optimizer, case, problem, t, result)
    result.state = state_of(optimizer, problem)
    return result


def save(case: Case, problem: Problem) -> tuple[Arrays, dict[str, Any]]:
    """Plays a case to where it is saved; returns parameters and state_dict."""
    optimizer = make(case, problem)
    for t in range(case["saved"]):
        _step(optimizer, case, problem, t, Run())
    return join(optimizer.params), optimizer.state_dict()


def _step(optimizer: Any, case: Case, problem: Problem, t: int, result: Run) -> None:
    apply_events(optimizer, case, t)
    if problem.loss:
        result.losses.append(float(optimizer.step(closure(problem.loss))))
        result.counts.append(_counts(optimizer))
    else:
        optimizer.step(_gradients(problem, t))
    result.params[t] = join(optimizer.params)


def make(case: Case, problem: Problem) -> Any:
    """Makes the optimizer of a case."""
    groups = [{"params": tree} for tree in split(problem.start, problem.groups)]
    groups[-1] |= options(case["overrides"])
    return getattr(optim, case["optimizer"])(groups, **options(case["kwargs"]))


def apply_events(optimizer: Any, case: Case, step: int) -> None:
    """Applies the edits before a step."""
    for e in case["events"]:
        if e["step"] == step:
            optimizer.param_groups[e["group"]].update(options({e["key"]: e["value"]}))


def options(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of a case, with arrays of JAX."""
    return {k: decode(v, jnp.asarray) for k, v in given.items()}


@functools.cache
def closure(kind: str) -> Any:
    """Makes the loss of a kind, of all parameters but `never`; each is compiled once."""

    def flat(params: Any) -> jax.Array:
        leaves = [p for k, p in params[0].items() if k != "never"]
        parts = [jnp.stack([p.real, p.imag], -1) if jnp.iscomplexobj(p) else p for p in leaves]
        x = jnp.concatenate([p.ravel() for p in parts])
        return loss(kind, x, lambda v: jnp.asarray(v, x.dtype))

    return jax.jit(flat)


def _counts(optimizer: Any) -> list[int]:
    entry = optimizer.state_dict()["state"][0]
    return [int(entry["n_iter"]), int(entry["func_evals"])]


@functools.cache
def _gradients(problem: Problem, step: int) -> list[dict[str, Any]]:
    """Makes gradients, once for all cases.

    They are in the convention of `jax.grad`, which gives the conjugate of torch's.
    """
    found = problem.at(step)
    made: dict[str, Any] = {
        k: _rows(g, problem.start[k].shape) if isinstance(g, Rows) else _conjugate(g)
        for k, g in found.items()
    }
    return [{k: made[k] for k in names} for names in problem.groups]


def _conjugate(g: Any) -> Any:
    return None if g is None else jnp.asarray(np.conj(g))


def _rows(g: Rows, shape: tuple[int, ...]) -> BCOO:
    return BCOO((jnp.asarray(g.values), jnp.asarray(g.indices[:, None])), shape=shape)


def split(arrays: Arrays, groups: Groups) -> list[dict[str, Any]]:
    """Returns the trees of the groups."""
    return [{k: jnp.asarray(arrays[k]) for k in names} for names in groups]


def join(trees: list[dict[str, Any]]) -> Arrays:
    """Returns the arrays of all groups by name."""
    return {k: np.asarray(x) for tree in trees for k, x in tree.items()}


def state_of(optimizer: Any, problem: Problem) -> dict[str, Arrays]:
    """Returns torch's entries by name of the parameter, lists of arrays as one array."""
    saved = optimizer.state_dict()["state"]
    return {
        problem.names[i]: {k: np.asarray(x) for k, x in entry.items() if _is_compared(k)}
        for i, entry in saved.items()
    }


def _is_compared(name: str) -> bool:
    """Tells whether torch keeps the entry too, and not only as scratch space like LBFGS's `al`."""
    return not name.endswith("_ulp") and name != "al"


def torch_state_dict(golden: Run, problem: Problem) -> dict[str, Any]:
    """Restores the state_dict that torch wrote in a run, before it was taken apart."""
    numbers = [[problem.names.index(k) for k in group] for group in problem.groups]
    groups = [
        {**options(given), "params": own}
        for given, own in zip(golden.saved_groups, numbers, strict=True)
    ]
    return {
        "state": {
            problem.names.index(k): {name: _lists(name, x) for name, x in entry.items()}
            for k, entry in golden.saved.items()
        },
        "param_groups": groups,
    }


def _lists(name: str, x: np.ndarray) -> Any:
    return list(x) if name in ("old_dirs", "old_stps", "ro") else x
