"""The golden files, two for each class: cases as JSON, and of each case one vector of numbers."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .cases import Case
from .problem import Problem
from .run import Arrays, Run

HERE = Path(__file__).parent
_STEPS = {0, 1, 2, 5, 6, 8, 12, 19}
"""After which parameters are kept; and after the last, and where the state is saved."""

State = dict[str, Arrays]


def write(name: str, cases: list[Case], vectors: Arrays) -> None:
    """Writes the files of a class."""
    text = ",\n".join(json.dumps(c, allow_nan=False, separators=(",", ":")) for c in cases)
    path = HERE / "data" / name
    path.with_suffix(".json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
    np.savez_compressed(path.with_suffix(".npz"), **vectors)  # type: ignore[arg-type]


def read(name: str) -> tuple[list[Case], Arrays]:
    """Reads the cases and vectors of a class."""
    path = HERE / "data" / name
    with np.load(path.with_suffix(".npz")) as file:
        return json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), dict(file)


def take_apart(case: Case, run: Run) -> tuple[Case, np.ndarray]:
    """Returns a case with the JSON part of its run, and its other numbers in one vector."""
    steps = sorted({*_STEPS, case["steps"] - 1, case.get("saved", 1) - 1} & set(run.params))
    made = {
        "defaults": run.defaults,
        "steps": steps,
        "state": _shapes(run.state),
        "saved": _shapes(run.saved),
        "saved_groups": run.saved_groups,
        "counts": run.counts,
        "error": run.error,
    }
    params = [run.params[t][k] for t in steps for k in sorted(run.params[t])]
    parts = [*params, *_arrays(run.state), *_arrays(run.saved), np.array(run.losses)]
    vector = np.concatenate([np.zeros(0, case["dtype"]), *map(np.ravel, parts)])
    return case | {"run": made}, vector.astype(case["dtype"])


def put_together(case: Case, vector: np.ndarray, problem: Problem) -> Run:
    """Returns the run of a case."""
    made, reader = case["run"], _Reader(vector)
    shapes = {k: problem.start[k].shape for k in sorted(problem.start)}
    params = {t: {k: reader.take(shape) for k, shape in shapes.items()} for t in made["steps"]}
    state, saved = reader.state(made["state"]), reader.state(made["saved"])
    return Run(
        params,
        state,
        made.get("defaults", {}),
        saved,
        made["saved_groups"],
        [float(x) for x in reader.take((len(made["counts"]),))],
        made["counts"],
        made["error"],
    )


def _shapes(state: State) -> dict[str, dict[str, Sequence[int]]]:
    return {k: {e: state[k][e].shape for e in sorted(state[k])} for k in sorted(state)}


def _arrays(state: State) -> list[np.ndarray]:
    return [state[k][e] for k, entry in _shapes(state).items() for e in entry]


class _Reader:
    """Takes arrays from the front of a vector."""

    def __init__(self, vector: np.ndarray):
        self._vector, self._at = vector, 0

    def take(self, shape: Sequence[int]) -> np.ndarray:
        """Takes the next array; all are stored as complex, and real ones are returned as real."""
        start, self._at = self._at, self._at + int(np.prod(shape))
        x = self._vector[start : self._at].reshape(shape)
        return x if np.iscomplexobj(x) and x.imag.any() else x.real

    def state(self, shapes: dict[str, dict[str, Sequence[int]]]) -> State:
        """Takes the entries by name of the parameter."""
        return {k: {e: self.take(n) for e, n in entry.items()} for k, entry in shapes.items()}
