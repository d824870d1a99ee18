"""Results of the race: one file for each optimizer and task."""

import dataclasses
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

import functional_optim as fo

__all__ = ["Results", "Setup", "machine"]

Result = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Setup:
    """The settings that decide the numbers; results of others are not results of this race.

    Attributes:
      steps: share of the steps of each task.
      seeds: runs of each setting.
      every: steps between measurements.
    """

    steps: float = 1.0
    seeds: int = 3
    every: int = 10


@dataclasses.dataclass(frozen=True)
class Results:
    """A folder of results."""

    folder: Path
    setup: Setup

    def path(self, task: str, name: str) -> Path:
        """Returns the file of a result."""
        return self.folder / task / f"{name}.json"

    def read(self, task: str, name: str) -> Result | None:
        """Reads a result; None if there is none of this setup."""
        path = self.path(task, name)
        if not path.exists():
            return None
        result = json.loads(path.read_text(encoding="utf-8"))
        return result if result["setup"] == dataclasses.asdict(self.setup) else None

    def write(self, task: str, name: str, result: Result) -> None:
        """Writes a result; a race that is stopped leaves no half of a file."""
        whole = {"task": task, "name": name, "setup": dataclasses.asdict(self.setup)}
        whole |= {"machine": machine()} | result
        path = self.path(task, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(whole) + "\n", encoding="utf-8")
        part.replace(path)

    def of(self, task: str) -> Iterator[Result]:
        """Yields the results of a task."""
        for path in sorted((self.folder / task).glob("*.json")):
            result = self.read(task, path.stem)
            if result is not None:
                yield result


def machine() -> dict[str, Any]:
    """Describes the versions and the machine of the runs."""
    return {
        "jax": jax.__version__,
        "functional_optim": fo.__version__,
        "Python": platform.python_version(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
