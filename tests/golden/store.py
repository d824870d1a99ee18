"""The golden files: cases as JSON, arrays packed flat, a few for each case."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case
from .problem import SHAPES, Problem
from .run import Arrays, Run

HERE = Path(__file__).parent


def pack(arrays: Arrays) -> np.ndarray:
    """One vector of all arrays, in the order of their names."""
    return np.concatenate([np.ravel(arrays[k]) for k in sorted(arrays)])


def unpack(vector: np.ndarray, shapes: dict[str, tuple[int, ...]], like: Arrays) -> Arrays:
    """The arrays that `pack` put together, of the given shapes, as real as others are."""
    ends = np.cumsum([int(np.prod(shapes[k])) for k in sorted(shapes)])[:-1]
    parts = zip(sorted(shapes), np.split(vector, ends), strict=True)
    return {k: _like(x, like[k]).reshape(shapes[k]) for k, x in parts}


def _like(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    return x if np.iscomplexobj(other) else x.real


def write(name: str, cases: list[Case], arrays: Arrays, problems: dict[str, Problem]) -> None:
    """Writes `<name>.json` and `<name>.npz`."""
    for key, problem in problems.items():
        for field in ("start", "grads", "given"):
            arrays |= {f"{key}/{field}/{k}": x for k, x in getattr(problem, field).items()}
    text = ",\n".join(json.dumps(c, allow_nan=False) for c in cases)
    (HERE / f"{name}.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
    np.savez_compressed(HERE / f"{name}.npz", **arrays)  # type: ignore[arg-type]


def take_apart(case: Case, run: Run) -> tuple[Case, Arrays]:
    """A case with what is JSON of its run, and the arrays."""
    arrays = {}
    if run.params:
        arrays[f"{case['id']}/params"] = np.stack([pack(p) for p in run.params])
    kept: dict[str, Any] = {
        "groups": run.groups,
        "error": run.error,
        "saved_groups": run.saved_groups,
    }
    for field in ("state", "saved"):
        state = getattr(run, field)
        keys = sorted({k for entry in state.values() for k in entry})
        owners = {k: sorted(n for n, e in state.items() if k in e) for k in keys}
        kept[field + "_names"] = owners
        for key, names in owners.items():
            arrays[f"{case['id']}/{field}/{key}"] = pack({n: state[n][key] for n in names})
    return case | {"run": kept}, arrays


def put_together(case: Case, arrays: Any, problem: Problem) -> Run:
    """The run of a case."""
    kept, like = case["run"], problem.start
    run = Run(groups=kept["groups"], error=kept["error"], saved_groups=kept["saved_groups"])
    run.params = [unpack(row, SHAPES, like) for row in arrays[f"{case['id']}/params"]]
    for field in ("state", "saved"):
        for key, names in kept[field + "_names"].items():
            shapes = {n: () if key == "step" else SHAPES[n] for n in names}
            found = unpack(arrays[f"{case['id']}/{field}/{key}"], shapes, like)
            for name, x in found.items():
                getattr(run, field).setdefault(name, {})[key] = x
    return run


def read(name: str) -> tuple[list[Case], Arrays, dict[str, Problem]]:
    """Cases, arrays and problems."""
    cases = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(HERE / f"{name}.npz") as file:
        arrays = dict(file)
    problems = {c["dtype"]: _problem(arrays, c["dtype"]) for c in cases}
    return cases, arrays, problems


def _problem(arrays: Arrays, key: str) -> Problem:
    return Problem(
        *({k: arrays[f"{key}/{f}/{k}"] for k in SHAPES} for f in ("start", "grads", "given"))
    )
