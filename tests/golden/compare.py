"""How far two runs are apart, and how far they may be."""

from collections.abc import Iterator

import numpy as np

from .cases import Case
from .run import Arrays, Run

TOLERANCE = {"float64": 1e-12, "complex128": 1e-12, "float32": 2e-6}

ROUNDED_BETA = 2e-5
"""Of torch's `max_exp_avg_sq`, biased: in float32, 1 - 0.999 is 1.3e-5 off; no step sees it."""

EXCEPTIONS = {
    ("Adam", "amsgrad on late"): "torch raises KeyError; ours starts the maximum there",
    ("RMSprop", "momentum on late"): "torch raises KeyError; ours starts the buffer there",
    ("RMSprop", "alpha 0 and centered"): "torch's variance rounds below 0, and it gives NaN",
}
"""Cases that are not compared, by optimizer and origin, and why."""


def is_excepted(case: Case) -> bool:
    """Whether a case is not compared."""
    return (case["optimizer"], case["origin"]) in EXCEPTIONS


def tolerance(what: str, dtype: str) -> float:
    """How large a difference may be."""
    if what.startswith("max_exp_avg_sq") and dtype == "float32":
        return ROUNDED_BETA
    return TOLERANCE[dtype]


def distance(ours: np.ndarray, golden: np.ndarray, size: np.ndarray | None = None) -> float:
    """The largest difference, relative to size + 1e-3 max size: near 0, it counts less.

    Args:
      ours: the array to judge.
      golden: the right one.
      size: what to be relative to, of the array's shape; |golden| where it is not given.
    """
    finite = np.isfinite(golden)
    if not np.array_equal(np.isfinite(ours), finite):
        return np.inf
    if not finite.any():
        return 0.0
    size = np.abs(golden if size is None else size)[finite]
    scale = size + 1e-3 * size.max() + np.finfo(size.dtype).tiny
    return float(np.max(np.abs(ours[finite] - golden[finite]) / scale))


def differences(ours: Run, golden: Run, dtype: str) -> Iterator[tuple[str, float]]:
    """Where two runs were compared, and how far they are apart there.

    In float32 a parameter carries half an ulp of the largest that it has been, and a
    difference is relative to that. Where a parameter ended as NaN, so may its state: a decay
    of 0 times NaN is added to the gradient here, and left out in torch.
    """
    top: Arrays = {}
    for t, theirs in enumerate(golden.params, len(ours.params) - len(golden.params)):
        for name, x in theirs.items():
            if dtype == "float32":
                top[name] = np.maximum(top.get(name, 0), np.abs(x))
            if t >= 0:
                yield f"{name} after step {t}", distance(ours.params[t][name], x, top.get(name))
    finite = {k for k, x in golden.params[-1].items() if np.isfinite(x).all()}
    for name, entry in golden.state.items():
        for key, x in entry.items():
            if name in finite:
                yield f"{key} of {name}", distance(ours.state[name][key], x)


def kept(run: Run) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of what is kept for which parameter; the ulps beside a mean are our own."""
    return {
        k: {name: np.shape(x) for name, x in entry.items() if not name.endswith("_ulp")}
        for k, entry in run.state.items()
    }
