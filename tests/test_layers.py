"""Who may import whom: each room of the package only those that stand before it."""

import ast
import sys
from pathlib import Path

import pytest

import functional_optim

PACKAGE = Path(functional_optim.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "core": {"core"},
    "transforms": {"core", "transforms"},
    "schedules": {"core", "schedules"},
    "algorithms": {"core", "transforms", "schedules"},
    "serialization": {"core", "serialization"},
    "storage": {"core", "transforms", "storage"},
    "tree": {"core", "tree"},
    "microbatching": {"core", "microbatching"},
    "second_order": {"core", "tree", "microbatching", "second_order"},
    "sharding": {"core", "sharding"},
    "planning": {"core", "transforms", "sharding", "planning"},
    "projections": {"core", "tree", "projections"},
    "linear_algebra": {"core", "tree", "linear_algebra"},
    "losses": {"core", "projections", "losses"},
    "optim": {"core", "serialization", "transforms", "schedules", "algorithms", "optim"},
    "interop": {
        "core",
        "serialization",
        "transforms",
        "schedules",
        "algorithms",
        "optim",
        "interop",
    },
    "native": {"core", "transforms", "algorithms", "optim", "native"},
    "testing": {"core", "transforms", "schedules", "algorithms", "testing"},
}
OPEN = {"", "demo"}
"""Rooms that see the package as a user does: its root, and the demonstration."""

HANDED_ON = {"optim": {"interop.checkpoint"}}
"""What a room hands on from a later one: where torch's users look for it."""

VARIANTS: dict[str, set[str]] = {
    "algorithms.adafactor": {"algorithms.factored_rms"},
    "algorithms.lamb": {"algorithms.adam"},
    "algorithms.lbfgs": {"algorithms.curvature"},
    "algorithms.lbfgs_memory": {"algorithms.curvature"},
    "algorithms.lbfgs_search": {"algorithms.lbfgs_memory", "algorithms.quasi_newton"},
    "algorithms.minimize": {"algorithms.lbfgs_memory", "algorithms.quasi_newton"},
    "algorithms.muon": {"algorithms.adam", "algorithms.newton_schulz"},
    "algorithms.nadam": {"algorithms.adam"},
    "algorithms.optimistic": {"algorithms.adam"},
    "algorithms.quasi_newton": {"algorithms.lbfgs_memory"},
}
"""Algorithms that are a variant of another, or made of parts: module -> modules it may import."""

REQUIRED = {"chex", "jax", "jaxlib", "numpy"}


def room(module: str) -> str:
    """The part of the package that a module, `core.engine`, belongs to; the root is ''."""
    first = module.split(".")[0]
    return first if (PACKAGE / first).is_dir() and first else ""


def module_of(file: Path) -> str:
    """The dotted name below the package."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path):
    """Absolute names of all that a file imports, and whether a function does it."""
    tree = ast.parse(file.read_text())
    inner = {
        node
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    package = ["functional_optim", *file.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in inner
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import x` and `from .. import optim` name modules after the `import`.
            for alias in node.names:
                is_module = _is_module(f"{name}.{alias.name}")
                yield f"{name}.{alias.name}" if is_module else name, node in inner


def _is_module(name: str) -> bool:
    top, *rest = name.split(".")
    path = PACKAGE.joinpath(*rest)
    return top == "functional_optim" and (path.is_dir() or path.with_suffix(".py").exists())


def own(name: str) -> str | None:
    """What a name is below the package; None where it is another's."""
    top, _, rest = name.partition(".")
    return rest if top == "functional_optim" else None


each_file = pytest.mark.parametrize(
    "file", [pytest.param(f, id=str(f.relative_to(PACKAGE))) for f in FILES]
)


@each_file
def test_a_module_imports_only_from_the_rooms_before_it(file):
    here = room(module_of(file))
    if here in OPEN:
        return
    variants = VARIANTS.get(module_of(file), set()) | HANDED_ON.get(module_of(file), set())
    for name, _ in imports(file):
        target = own(name)
        assert target is None or room(target) in MAY_IMPORT[here] or target in variants, (
            f"{here} may not import {name}"
        )


@each_file
def test_nobody_inside_imports_the_root(file):
    if room(module_of(file)) not in OPEN:
        assert "functional_optim" not in {name for name, _ in imports(file)}


@each_file
def test_other_libraries_are_imported_only_where_they_are_dealt_with(file):
    here = room(module_of(file))
    for name, in_function in imports(file):
        top = name.split(".")[0]
        if own(name) is not None or top in sys.stdlib_module_names or top in REQUIRED:
            continue
        assert here in ("interop", "demo"), f"{top} is not a requirement of the package"
        assert in_function or here == "demo", f"interop imports {top} before it is needed"


def test_every_room_has_its_rule():
    assert {room(module_of(f)) for f in FILES} - OPEN <= set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import optax", {("optax", False)}),
        ("from ..algorithms import adam", {("functional_optim.algorithms.adam", False)}),
        ("from .. import optim", {("functional_optim.optim", False)}),
        ("from .engine import Pass", {("functional_optim.core.engine", False)}),
        ("from functional_optim import adam", {("functional_optim", False)}),
        ("def f():\n    import torch", {("torch", True)}),
    ],
)
def test_the_reader_of_imports_sees(text, expected, monkeypatch):
    file = PACKAGE / "core" / "some_file.py"
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert set(imports(file)) == expected
