"""Writes api.md, a table of all public names, and reference/, their signatures and docstrings.

A name without a docstring is an error, and so is a public module that no page shows.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from reading import doc, home, methods, origins, signature, within

import functional_optim

HERE = Path(__file__).parent
ORIGINS = Path(functional_optim.__path__[0], "_origins.py")

ROOMS = {
    "functional_optim": "Pure functions over pytrees.",
    "functional_optim.rules": "For authors of rules: what the maths and its annotations need.",
    "functional_optim.losses": "Losses. Those that optax has at its root are at ours, too.",
    "functional_optim.tree": "Arithmetic of trees; in `functional_optim.tree_utils` as `tree_add`.",
    "functional_optim.projections": "Projections onto sets.",
    "functional_optim.linear_algebra": "Linear algebra that optimization needs.",
    "functional_optim.assignment": "The linear assignment problem.",
    "functional_optim.perturbations": "Functions that become differentiable by noise.",
    "functional_optim.microbatching": "Large batches in small parts.",
    "functional_optim.second_order": "Second derivatives of losses.",
    "functional_optim.native": "Kernels in C++ for steps on the CPU.",
    "functional_optim.sharding": "Where the arrays of a state lie on a mesh.",
    "functional_optim.testing": "The conformance kit: what any transformation must satisfy.",
    "functional_optim.optim": "The interface of `torch.optim`.",
    "functional_optim.optim.lr_scheduler": "Schedulers of the stateful interface.",
    "functional_optim.optim.swa_utils": "Averages of the stateful interface.",
    "functional_optim.interop.optax": "For use inside optax.",
    "functional_optim.interop.torch": "Models and states of torch, there and back.",
    "functional_optim.interop.optax_state": "States of optax.",
    "functional_optim.interop.orbax": "Checkpoints in directories of orbax.",
    "functional_optim.interop.safetensors": "Checkpoints in one file.",
    "functional_optim.interop.checkpoint": "Files of torch, and of others in safetensors.",
}

IMPORT = re.compile(r"^from (functional_optim\.interop\.\w+) import", re.MULTILINE)

NO_NEW_NAMES = {"contrib", "schedules", "transforms", "tree_utils"}
"""Namespaces in which names of the root, or of `tree`, stand once more."""

TOPICS = {
    "Optimizers": ("algorithms",),
    "Links of optimizers": (),
    "Wrappers": (
        "transforms.accumulation",
        "transforms.complex_parts",
        "transforms.conditional",
        "transforms.densify",
        "transforms.guard",
        "transforms.lookahead",
        "transforms.masking",
        "transforms.naming",
    ),
    "Averages of parameters": (
        "transforms.averaging",
        "transforms.evaluation",
        "transforms.following",
    ),
    "State in fewer bits": ("core.leaf.quantized", "quantization"),
    "Line searches": ("transforms.backtracking", "transforms.from_state", "transforms.zoom"),
    "Links": ("transforms",),
    "Schedules": ("schedules",),
    "Planning": ("planning",),
    "Distributions": ("perturbations",),
    "Protocol, composition, hyperparameters": ("core",),
    "Types": ("core.types", "core.state_types"),
    "Checkpoints": ("serialization",),
}
"""Topic -> modules; of several that fit, the longest counts."""


def pages() -> dict[str, str]:
    """Name of a file below docs/ -> its text."""
    _check_rooms()
    index = ["# Public names", "", "Written by `make api` out of the docstrings."]
    files = {}
    for room, about in ROOMS.items():
        module = importlib.import_module(room)
        file = f"reference/{room.removeprefix('functional_optim.')}.md"
        index += ["", f"## `{room}`", "", about]
        files[file] = _reference(module, about)
        for topic, names in _topics(module).items():
            index += ["", f"### {topic}"] if topic else []
            index += ["", "| name | what it is |", "|---|---|"]
            index += [_row(file, module, name) for name in names]
        index += _handed_on(module)
    return {"api.md": "\n".join(index) + "\n", **files}


def _check_rooms() -> None:
    """Packages that say what they export are public, and so is a bridge that a page uses."""
    packages = (
        f"functional_optim.{module.name}"
        for module in pkgutil.iter_modules(functional_optim.__path__)
        if module.name != "__main__"
    )
    exporting = {name for name in packages if hasattr(importlib.import_module(name), "__all__")}
    inner = {
        f"{room}.{name}"
        for room in ROOMS
        for name in importlib.import_module(room).__all__
        if isinstance(getattr(importlib.import_module(room), name), ModuleType)
    }
    texts = [page.read_text(encoding="utf-8") for page in HERE.glob("*.md")]
    imported = {name for text in texts for name in IMPORT.findall(text)}
    again = {f"functional_optim.{name}" for name in NO_NEW_NAMES}
    missing = (exporting | inner | imported) - set(ROOMS) - again
    if missing:
        raise ValueError(f"No page shows {sorted(missing)}. Add them to ROOMS.")


def _names(module: ModuleType) -> list[str]:
    """The names that a room's page shows: no modules, and nothing that another page shows."""
    return [
        name
        for name in sorted(module.__all__, key=str.lower)
        if not isinstance(getattr(module, name), ModuleType) and not _elsewhere(module, name)
    ]


def _elsewhere(module: ModuleType, name: str) -> str:
    """The room below this one where a name comes from."""
    defined = home(module, name)
    below = [r for r in ROOMS if r.startswith(f"{module.__name__}.") and within(defined, r)]
    return below[0] if below else ""


def _topics(module: ModuleType) -> dict[str, list[str]]:
    """Names by topic, in the order of the topics; without topics outside the root."""
    if module is not functional_optim:
        return {"": _names(module)}
    topics: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    for name in _names(module):
        topics[_topic(home(module, name).removeprefix("functional_optim."), name)].append(name)
    return {topic: names for topic, names in topics.items() if names}


def _topic(home: str, name: str) -> str:
    fitting = [(len(m), t) for t, modules in TOPICS.items() for m in modules if within(home, m)]
    if not fitting:
        raise ValueError(f"{name} of {home} has no topic. Add the module to TOPICS.")
    topic = max(fitting)[1]
    return "Links of optimizers" if topic == "Optimizers" and name.startswith("scale_by") else topic


def _row(file: str, module: ModuleType, name: str) -> str:
    paragraph = doc(module, name).split("\n\n")[0]
    text = " ".join(paragraph.split()).replace("|", "\\|")
    return f"| [`{name}`]({file}#{_anchor(name)}) | {text} |"


def _anchor(name: str) -> str:
    return name.lower()


def _handed_on(module: ModuleType) -> Iterator[str]:
    """Which names of a room are explained on another's page."""
    rooms: dict[str, list[str]] = {}
    for name in sorted(module.__all__, key=str.lower):
        if not isinstance(getattr(module, name), ModuleType) and _elsewhere(module, name):
            rooms.setdefault(_elsewhere(module, name), []).append(f"`{name}`")
    for room, names in rooms.items():
        yield from ("", f"Also here, from `{room}`: {', '.join(names)}.")


def _reference(module: ModuleType, about: str) -> str:
    lines = [f"# `{module.__name__}`", "", about]
    shown: set[Any] = set()
    for name in _names(module):
        lines += ["", f"## {name}", "", "```text", *_entry(module, name, shown), "```"]
    return "\n".join(lines) + "\n"


def _entry(module: ModuleType, name: str, shown: set[Any]) -> Iterator[str]:
    """A name with its signature, its docstring, and what a class has that is not yet shown."""
    value = getattr(module, name)
    yield from (f"{name}{signature(value)}", "", *doc(module, name).split("\n"))
    for method, of in methods(module, value):
        text = inspect.getdoc(getattr(value, method))
        if not text:
            raise ValueError(f"{module.__name__}.{name}.{method} has no docstring.")
        if of not in shown:
            yield from ("", *f".{method}{signature(of)}".split("\n"), *_indented(text))
            shown.add(of)


def _indented(text: str) -> Iterator[str]:
    yield from (f"    {line}".rstrip() for line in text.split("\n"))


def origins_module() -> str:
    """The text of the module that says from where packages import their names."""
    about = '"""Where names are from that are imported late; written by `make api`."""'
    lines = [about, "", "ORIGINS = {"]
    for package in functional_optim.ORIGINS:
        found = origins(importlib.import_module(package))
        lines += [f'    "{package}": {{', *(f'        "{k}": "{v}",' for k, v in found.items())]
        lines += ["    },"]
    return "\n".join([*lines, "}", ""])


def write() -> None:
    """Writes all pages, and removes those of rooms that there are no longer."""
    ORIGINS.write_text(origins_module(), encoding="utf-8")
    for package, known in functional_optim.ORIGINS.items():
        known.update(origins(importlib.import_module(package)))
    written = {HERE / name: text for name, text in pages().items()}
    (HERE / "reference").mkdir(exist_ok=True)
    for file in set((HERE / "reference").glob("*.md")) - set(written):
        file.unlink()
    for file, text in written.items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
