"""The public names: of which module each is a part, and under which other names it is imported."""

import functools
import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import functional_optim

from .reading import origin

PACKAGE = "functional_optim"

MODULES = {
    "": "Pure functions over pytrees.",
    "rules": "For authors of rules: what the maths and its annotations need.",
    "losses": "Losses. Those that optax has at its root are at ours, too.",
    "tree": "Arithmetic of trees; in `functional_optim.tree_utils` as `tree_add`.",
    "projections": "Projections onto sets.",
    "linear_algebra": "Linear algebra that optimization needs.",
    "assignment": "The linear assignment problem.",
    "perturbations": "Functions that become differentiable by noise.",
    "microbatching": "Large batches in small parts.",
    "second_order": "Second derivatives of losses.",
    "native": "Kernels in C++ for steps on the CPU.",
    "sharding": "Where the arrays of a state lie on a mesh.",
    "testing": "The conformance kit: what any transformation must satisfy.",
    "optim": "The interface of `torch.optim`.",
    "optim.lr_scheduler": "Schedulers of the stateful interface.",
    "optim.swa_utils": "Averages of the stateful interface.",
    "interop.optax": "For use inside optax.",
    "interop.torch": "Models and states of torch, there and back.",
    "interop.optax_state": "States of optax.",
    "interop.orbax": "Checkpoints in directories of orbax.",
    "interop.safetensors": "Checkpoints in one file.",
    "interop.checkpoint": "Files of torch, and of others in safetensors.",
    "contrib": "Names that optax has in `optax.contrib`.",
}
"""Public module, below the package -> its content. The first module with a name shows it."""

REPEATING = {"schedules", "transforms", "tree_utils"}
"""Public modules that export names of the other modules again."""

IMPORT = re.compile(rf"^from {PACKAGE}\.(interop\.\w+) import", re.MULTILINE)


@dataclass(frozen=True)
class Public:
    """A public name: the module that shows it, and where it is defined."""

    module: ModuleType
    name: str
    home: str
    original: str
    aliases: tuple[str, ...]

    @property
    def full(self) -> str:
        """Returns the name by which it is imported."""
        return f"{self.module.__name__}.{self.name}"

    @property
    def short(self) -> str:
        """Returns the name below the package."""
        return self.full.removeprefix(f"{PACKAGE}.")

    @property
    def value(self) -> Any:
        """Returns the object itself."""
        return getattr(self.module, self.name)


@functools.cache
def public_names() -> tuple[Public, ...]:
    """Returns every public name once, in the order of modules and then of the alphabet."""
    _check_modules()
    places: dict[tuple[str, str], list[tuple[ModuleType, str]]] = {}
    for module in [_module(below) for below in MODULES]:
        for name in sorted(module.__all__, key=str.lower):
            if not isinstance(getattr(module, name), ModuleType):
                places.setdefault(origin(module.__name__, name), []).append((module, name))
    found = (_public(home, original, where) for (home, original), where in places.items())
    return tuple(sorted(found, key=lambda p: [*MODULES].index(_below(p.module.__name__))))


def _public(home: str, original: str, where: list[tuple[ModuleType, str]]) -> Public:
    """Chooses the innermost module that a name is defined in, else the first that has it."""
    inside = [place for place in where if within(home, place[0].__name__)]
    module, name = max(inside or where[:1], key=lambda place: len(place[0].__name__))
    others = tuple(f"{m.__name__}.{n}" for m, n in where if (m, n) != (module, name))
    return Public(module, name, _below(home), original, others)


def _module(below: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{below}".rstrip("."))


def _below(module: str) -> str:
    return module.removeprefix(PACKAGE).removeprefix(".")


def within(home: str, module: str) -> bool:
    """Returns whether a module is another, or in it."""
    return home == module or home.startswith(f"{module}.")


def _check_modules() -> None:
    """Checks that a page shows each package that says what it exports.

    The same holds for a bridge that a page imports.
    """
    missing = {_below(name) for name in _exporting()} - set(MODULES) - REPEATING
    if missing:
        raise ValueError(f"No page shows {sorted(missing)}. Add them to MODULES of names.py.")


def _exporting() -> Iterator[str]:
    for module in pkgutil.iter_modules(functional_optim.__path__):
        name = f"{PACKAGE}.{module.name}"
        if module.name != "__main__" and hasattr(importlib.import_module(name), "__all__"):
            yield name
    for module in map(_module, MODULES):
        for name in module.__all__:
            if isinstance(getattr(module, name), ModuleType):
                yield f"{module.__name__}.{name}"
    for page in Path(__file__).parents[1].glob("**/*.md"):
        yield from IMPORT.findall(page.read_text(encoding="utf-8"))
