"""Lets `import optax` find this library, the way that optax's own tests import it.

A public module of optax is the module of that name here. Tests import private modules as well,
which have no counterpart: there a name is looked for in the public modules.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

import functional_optim

__all__ = ["Shim"]


def _abs_sq(x: Any) -> Any:
    return (x.conj() * x).real


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")[:3]))


@functools.wraps(functional_optim.noisy_sgd)
def _noisy_sgd(*args: Any, **kwargs: Any) -> functional_optim.GradientTransformation:
    return functional_optim.noisy_sgd(*args, **{"key": 0, **kwargs})


ADAPTED = {"noisy_sgd": _noisy_sgd}
"""What needs an argument that optax warns of leaving out."""

TOOLS: dict[str, dict[str, Any]] = {
    "optax._src.base": {"PRNGKey": jax.Array},
    "optax._src.numerics": {"abs_sq": _abs_sq},
    "optax._src.utils": {"x64_precision": jax.enable_x64, "parse_version": _version},
}
"""Private helpers of optax that its tests compute with; tests of these helpers do not get them."""

ROOMS = (
    "assignment",
    "contrib",
    "losses",
    "microbatching",
    "perturbations",
    "projections",
    "schedules",
    "second_order",
    "transforms",
    "tree",
    "tree_utils",
)
"""The public modules, in which names of private ones are looked for."""


class Shim(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `optax` and all below it.

    Attributes:
      files: directory of the test files.
      tested: the private module whose tests run.
      reading: whether test files are being read. Names that are not here are stand-ins then, for
        a file names them in the arguments of some of its tests.
    """

    def __init__(self, files: Path, test: str) -> None:
        self.files = files
        self.tested = "optax." + test.removesuffix("_test.py").replace("/", ".")
        self.reading = True

    def install(self) -> None:
        """Stands before all that could find the true one."""
        for name in [name for name in sys.modules if name.split(".")[0] == "optax"]:
            del sys.modules[name]
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """What makes a module: a file, if tests import it from another, or else a `Room`."""
        if fullname.split(".")[0] != "optax":
            return None
        file = self.files / ("/".join(fullname.split(".")[1:]) + ".py")
        if file.exists():
            return importlib.util.spec_from_file_location(fullname, file)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Makes a module whose names are ours."""
        return Room(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class Room(ModuleType):
    """A module of optax with the names of this library."""

    def __init__(self, name: str, shim: Shim) -> None:
        super().__init__(name)
        self.private = "._" in name
        self.places = list(_places(name))
        self.shim = shim
        self.__dict__.update({} if name == shim.tested else TOOLS.get(name, {}))

    def __getattr__(self, name: str) -> Any:
        full = f"{self.__name__}.{name}"
        # Python looks for a module where there is no attribute.
        if name.startswith("__") or self.__name__ == "optax._src":
            raise AttributeError(full)
        if name.startswith("_") and not self.private:
            raise AttributeError(full)
        if name in ADAPTED:
            return ADAPTED[name]
        for place in self.places:
            if (found := getattr(place, name, None)) is not None:
                return importlib.import_module(full) if isinstance(found, ModuleType) else found
        if self.shim.reading or name[0].isupper():  # a class may be named, in a cast
            return Absent(full, self.shim)
        raise AttributeError(f"functional_optim has no {full}")


def _places(name: str) -> Iterator[ModuleType]:
    """Where to look for the names of a module of optax."""
    if name == "optax":
        yield functional_optim
        return
    _, room, *private = name.split(".")
    if isinstance(public := getattr(functional_optim, room, None), ModuleType):
        yield public
    if private:
        yield functional_optim
        yield from (getattr(functional_optim, other) for other in ROOMS)


class Absent:
    """Stands for what is not here; using it is an error, but while test files are read."""

    def __init__(self, name: str, shim: Shim) -> None:
        self.__name__ = name
        self.shim = shim

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.__name__}.{name}", self.shim)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Fails, in a test."""
        if self.shim.reading:
            return Absent(f"{self.__name__}()", self.shim)
        raise AttributeError(f"functional_optim has no {self.__name__}")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()
