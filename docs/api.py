"""Writes api.md: every public name with the first sentence of its docstring."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType

ROOMS = {
    "functional_optim": "Pure functions over pytrees; `help(fo.adam)` says all about one.",
    "functional_optim.optim": "The interface of `torch.optim`.",
    "functional_optim.optim.lr_scheduler": "Schedulers of the stateful interface.",
    "functional_optim.interop.optax": "For use inside optax.",
    "functional_optim.interop.torch": "For use inside torch.",
}
PARTS = {
    "algorithms": "Algorithms",
    "transforms": "Links",
    "schedules": "Schedules",
    "core": "Protocol, composition, hyperparameters",
}


def page() -> str:
    """The text of api.md."""
    lines = ["# Public names", "", "Written by `make api` out of the docstrings."]
    for room, about in ROOMS.items():
        lines += ["", f"## `{room}`", "", about]
        for part, names in _parts(importlib.import_module(room)).items():
            lines += ["", f"### {PARTS[part]}"] if part in PARTS else []
            lines += ["", "| name | what it is |", "|---|---|", *names]
    return "\n".join(lines) + "\n"


def _parts(module: ModuleType) -> dict[str, list[str]]:
    """Rows of a module's names, by the directory of the package that defines each."""
    parts: dict[str, list[str]] = {part: [] for part in (*PARTS, "")}
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        home = getattr(value, "__module__", "").split(".")
        part = home[1] if len(home) > 1 and home[1] in PARTS else ""
        parts[part].append(f"| `{name}` | {_sentence(value)} |")
    return {part: names for part, names in parts.items() if names}


def _sentence(value: object) -> str:
    """The first paragraph of a docstring, on one line of a table."""
    paragraph = (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
