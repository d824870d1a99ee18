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
"""Functions that get an argument which optax only warns about if it is missing."""

TOOLS: dict[str, dict[str, Any]] = {
    "optax._src.base": {"PRNGKey": jax.Array},
    "optax._src.numerics": {"abs_sq": _abs_sq},
    "optax._src.utils": {"x64_precision": jax.enable_x64, "parse_version": _version},
}
"""Private helpers of optax that its tests compute with; tests of these helpers do not get them."""

PUBLIC_MODULES = (
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
"""The public modules, in which the names of optax's private modules are looked up."""


class Shim(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `optax` and its submodules.

    Attributes:
      files: directory of the test files.
      tested: the private module whose tests run.
      reading: whether test files are being imported. Missing names then give placeholders, because
        the parameters of some tests mention them.
    """

    def __init__(self, files: Path, test: str) -> None:
        self.files = files
        self.tested = "optax." + test.removesuffix("_test.py").replace("/", ".")
        self.reading = True

    def install(self) -> None:
        """Puts this finder before all that could find the installed optax."""
        for name in [name for name in sys.modules if name.split(".")[0] == "optax"]:
            del sys.modules[name]
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Finds a file of optax's that tests share, or else makes a `RedirectingModule`."""
        if fullname.split(".")[0] != "optax":
            return None
        file = self.files / ("/".join(fullname.split(".")[1:]) + ".py")
        if file.exists():
            return importlib.util.spec_from_file_location(fullname, file)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Makes a module with the names of this library."""
        return RedirectingModule(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing: the module looks its names up when they are read."""


class RedirectingModule(ModuleType):
    """A module of optax whose names are looked up in this library."""

    def __init__(self, name: str, shim: Shim) -> None:
        super().__init__(name)
        self.private = "._" in name
        self.modules = list(_modules_for(name))
        self.shim = shim
        self.__dict__.update({} if name == shim.tested else TOOLS.get(name, {}))

    def __getattr__(self, name: str) -> Any:
        full = f"{self.__name__}.{name}"
        # On AttributeError, `from optax._src import name` imports the submodule instead.
        if name.startswith("__") or self.__name__ == "optax._src":
            raise AttributeError(full)
        if name.startswith("_") and not self.private:
            raise AttributeError(full)
        if name in ADAPTED:
            return ADAPTED[name]
        for module in self.modules:
            if (value := getattr(module, name, None)) is not None:
                return importlib.import_module(full) if isinstance(value, ModuleType) else value
        if self.shim.reading or name[0].isupper():  # a class that a test names in a cast
            return MissingName(full, self.shim)
        raise AttributeError(f"functional_optim has no {full}")


def _modules_for(name: str) -> Iterator[ModuleType]:
    """Yields the modules in which the names of a module of optax are looked up."""
    if name == "optax":
        yield functional_optim
        return
    _, top, *private = name.split(".")
    if isinstance(public := getattr(functional_optim, top, None), ModuleType):
        yield public
    if private:
        yield functional_optim
        yield from (getattr(functional_optim, other) for other in PUBLIC_MODULES)


class MissingName:
    """A placeholder for a name that this library lacks; calling it in a test is an error."""

    def __init__(self, name: str, shim: Shim) -> None:
        self.__name__ = name
        self.shim = shim

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MissingName(f"{self.__name__}.{name}", self.shim)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises AttributeError in a test; while files are read, returns a placeholder."""
        if self.shim.reading:
            return MissingName(f"{self.__name__}()", self.shim)
        raise AttributeError(f"functional_optim has no {self.__name__}")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()
