"""Measures the distance between two runs, and has the bounds of it."""

from collections.abc import Iterator

import numpy as np

from .cases import Case, decode
from .problem import Problem
from .run import Arrays, Run

_BY_DTYPE = {"float64": 1e-12, "complex128": 1e-12, "float32": 2e-6}

ROUNDED_BETA = {
    ("Adam", "exp_avg_sq"),
    ("Adam", "max_exp_avg_sq"),
    ("AdamW", "exp_avg_sq"),
    ("AdamW", "max_exp_avg_sq"),
    ("NAdam", "exp_avg_sq"),
    ("RAdam", "exp_avg_sq"),
    ("SparseAdam", "exp_avg_sq"),
}
"""Second moments: in float32, 1 - 0.999 is 1.3e-5 off, in them and in their bias corrections.

The runs of torch have 1 - 0.999 in float64; here a beta is a float32 number of the state.
"""

BFLOAT16 = 0.05
"""Tolerance for a step of Muon, because processors that sum in another order round differently."""


def tolerance(case: Case, what: str = "") -> float:
    """Returns the largest difference that is allowed."""
    if case["optimizer"] == "LBFGS":
        return _of_lbfgs(case, what)
    if case["optimizer"] == "Muon" and " after step " in what:
        return max(_BY_DTYPE[case["dtype"]], BFLOAT16 * _largest_lr(case))
    if case["dtype"] == "float32" and (case["optimizer"], what.partition(" ")[0]) in ROUNDED_BETA:
        return 2e-5
    return _BY_DTYPE[case["dtype"]]


def _largest_lr(case: Case) -> float:
    given = [case["kwargs"], case["overrides"], *({e["key"]: e["value"]} for e in case["events"])]
    return max(decode(o.get("lr", 1e-3), lambda data, dtype: float(data)) for o in given)


def _of_lbfgs(case: Case, what: str) -> float:
    """Returns the tolerance of LBFGS.

    A step begins where others ended, so errors grow. The state consists of small differences.
    """
    if case["dtype"] == "float32":
        return 1e-4
    is_of_state = " after step " not in what and not what.startswith("loss")
    return 1e-6 if case["problem"] == "rosen" or is_of_state else 1e-9


def compared_steps(case: Case) -> int:
    """Counts the steps before errors of rounding have grown beyond comparison."""
    if case["optimizer"] != "LBFGS":
        return int(case["steps"])
    if case["dtype"] == "float32":
        return 1
    return 1 if case["problem"] == "rosen" else int(case["steps"])


def distance(ours: np.ndarray, golden: np.ndarray, size: np.ndarray | None = None) -> float:
    """Returns the largest difference, relative to size + 1e-3 max(size).

    Args:
      ours: the array of this library.
      golden: the array of torch.
      size: magnitudes to which the difference is relative; None for |golden|.
    """
    finite = np.isfinite(golden)
    if not np.array_equal(np.isfinite(ours), finite):
        return np.inf
    if not finite.any():
        return 0.0
    size = np.abs(golden if size is None else size)[finite]
    scale = size + 1e-3 * size.max() + np.finfo(size.dtype).tiny
    return float(np.max(np.abs(ours[finite] - golden[finite]) / scale))


def differences(
    case: Case, problem: Problem, ours: Run, golden: Run
) -> Iterator[tuple[str, float]]:
    """Yields each place where two runs are compared, and their distance there."""
    yield from _of_params(case, problem, ours, golden)
    yield from _of_losses(case, ours, golden)
    if compared_steps(case) == case["steps"]:
        yield from _of_states(ours, golden)


def _of_params(case: Case, problem: Problem, ours: Run, golden: Run) -> Iterator[tuple[str, float]]:
    """Yields distances of parameters, in float32 relative to the largest value so far.

    A parameter can keep an error of half an ulp of that value.
    """
    top: Arrays = {k: np.abs(x) for k, x in problem.start.items()}
    for t, theirs in golden.params.items():
        for name, x in theirs.items():
            top[name] = np.maximum(top[name], np.abs(x))
            if t in ours.params and t < compared_steps(case):
                size = top[name] if case["dtype"] == "float32" else None
                yield f"{name} after step {t}", distance(ours.params[t][name], x, size)


def _of_losses(case: Case, ours: Run, golden: Run) -> Iterator[tuple[str, float]]:
    first = len(golden.losses) - len(ours.losses)
    for t in range(first, min(len(golden.losses), compared_steps(case))):
        both = np.array(ours.losses[t - first]), np.array(golden.losses[t])
        yield f"loss of step {t}", distance(*both, np.array(golden.losses[0]))


def _of_states(ours: Run, golden: Run) -> Iterator[tuple[str, float]]:
    """Yields distances of the states, except for parameters that ended as NaN.

    A decay of 0 times NaN is added to the gradient here, and left out in torch.
    """
    last = golden.params[max(golden.params)]
    for name, entry in golden.state.items():
        if np.isfinite(last[name]).all():
            for key, x in entry.items():
                yield f"{key} of {name}", distance(ours.state[name][key], x)


def same_counts(case: Case, ours: Run, golden: Run) -> bool:
    """Tells whether as many iterations and evaluations were made, at each step."""
    first, end = len(golden.counts) - len(ours.counts), compared_steps(case)
    both = zip(golden.counts[first:end], ours.counts, strict=False)
    return all(theirs[:2] == here[:2] for theirs, here in both)


def kept(run: Run) -> dict[str, dict[str, tuple[int, ...]]]:
    """Returns the shapes of the state by parameter."""
    return {k: {name: np.shape(x) for name, x in entry.items()} for k, entry in run.state.items()}
