"""Models of torch in the middle of a run: a file of JSON and one of arrays for each."""

import json
from typing import Any, NamedTuple

import numpy as np

from .store import HERE


class Saved(NamedTuple):
    """A run that was saved.

    Attributes:
      model: state_dict of the model.
      optimizer: state_dict of its AdamW, with two groups.
      names: of the parameters of each group.
      inputs: of the model.
      labels: integers, of all positions that the model classifies.
      losses: mean cross-entropies before each of the next steps.
    """

    model: dict[str, np.ndarray]
    optimizer: dict[str, Any]
    names: list[list[str]]
    inputs: np.ndarray
    labels: np.ndarray
    losses: list[float]


def write(name: str, *fields: Any) -> None:
    """Writes a run."""
    saved = Saved(*fields)
    arrays = {f"model {k}": x for k, x in saved.model.items()}
    state = saved.optimizer["state"]
    arrays |= {f"state {i} {k}": x for i, entry in state.items() for k, x in entry.items()}
    arrays |= {"inputs": saved.inputs, "labels": saved.labels}
    groups = saved.optimizer["param_groups"]
    text = {"groups": groups, "names": saved.names, "losses": saved.losses}
    path = HERE / "data" / f"model_{name}"
    path.with_suffix(".json").write_text(json.dumps(text) + "\n", encoding="utf-8")
    np.savez_compressed(path.with_suffix(".npz"), **arrays)


def read(name: str) -> Saved:
    """Reads a run."""
    path = HERE / "data" / f"model_{name}"
    text = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(path.with_suffix(".npz")) as file:
        arrays = dict(file)
    model = {k.removeprefix("model "): x for k, x in arrays.items() if k.startswith("model ")}
    state: dict[int, dict[str, Any]] = {}
    for key, x in arrays.items():
        if key.startswith("state "):
            _, number, entry = key.split(" ")
            state.setdefault(int(number), {})[entry] = x
    optimizer = {"state": state, "param_groups": text["groups"]}
    inputs, labels = arrays["inputs"], arrays["labels"]
    return Saved(model, optimizer, text["names"], inputs, labels, text["losses"])
