"""Who may import whom: each part of the package only those in the layers before its own."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import functional_optim

PACKAGE = Path(functional_optim.__file__).parent

LAYERS = (
    # The core: protocol and state; arrays, trees, leaves, rules, the engine that runs them.
    ("_origins", "core.caching", "core.lazy", "core.signatures", "core.state"),
    ("core.composed", "core.functions", "core.protocol"),
    ("core.adapter", "core.numerics", "core.types"),
    ("core.trees",),
    ("core.leaf", "core.stateless"),
    ("core.rules",),
    ("core.engine", "core.hyperparams", "core.state_types"),
    ("core.chain",),
    ("core.apply_gradients", "core.traced_hyperparams"),
    ("core.decorators",),
    ("rules", "microbatching", "schedules", "serialization", "sharding", "transforms", "tree"),
    ("linear_algebra", "second_order"),
    (
        "algorithms",
        "assignment",
        "interop",
        "perturbations",
        "planning",
        "projections",
        "quantization",
        "testing",
        "tree_utils",
    ),
    ("contrib", "losses", "optim"),
    ("native",),
    ("functional_optim",),
    # These use the package as its users do.
    ("demo",),
    ("__main__",),
)
"""Folders and modules, from the bottom up. Modules of one layer do not import one another."""

REQUIRED = {"chex", "jax", "jaxlib", "numpy"}
"""Packages that this one requires."""

OTHERS = {"interop": "within a function", "demo": "anywhere"}
"""Parts that import other libraries, and where."""


class Import(NamedTuple):
    """That a module imports another."""

    module: str
    name: str
    line: int
    in_function: bool

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}: {self.name}"


def module_of(file: Path) -> str:
    """Returns the dotted name below the package; the root's is the package's."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or PACKAGE.name


def part_of(module: str) -> str:
    """Returns the folder or module of a layer: `core.engine` of `core.engine.fused`."""
    names = module.split(".")
    return ".".join(names[:2] if names[0] == "core" else names[:1])


def imports_of(file: Path) -> Iterator[Import]:
    """Yields the imports of a file; modules of the package are named relative to it."""
    package = [PACKAGE.name, *file.relative_to(PACKAGE).parts[:-1]]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node, in_function in _statements(tree.body):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            # `from . import x` and `from .. import optim` name modules after the `import`.
            whole = [".".join([*base, alias.name]) for alias in node.names]
            names = [name if _is_module(name) else ".".join(base) for name in whole]
        for name in dict.fromkeys(names):
            below = name.removeprefix(f"{PACKAGE.name}.")
            yield Import(module_of(file), below, node.lineno, in_function)


def _statements(body: list[ast.stmt], in_function: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Yields all statements, and whether they are in a function."""
    for node in body:
        yield node, in_function
        inner = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for block in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, block, []), inner)
        for block in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
            yield from _statements(block.body, inner)


def _is_module(name: str) -> bool:
    top, *rest = name.split(".")
    path = PACKAGE.joinpath(*rest)
    return top == PACKAGE.name and (path.is_dir() or path.with_suffix(".py").exists())


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {module_of(file) for file in FILES}


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    """Reads all imports of the package."""
    return [found for file in FILES for found in imports_of(file)]


@pytest.fixture(scope="module")
def own(imports) -> list[Import]:
    """Provides the imports of modules of the package."""
    return [x for x in imports if x.name in MODULES]


def test_a_part_imports_only_from_the_layers_before_its_own(own):
    """So no module of the package imports its root, without exceptions."""
    layer = {part: i for i, parts in enumerate(LAYERS) for part in parts}
    # A folder of the core is one part, as `core` itself is only its docstring.
    assert {part_of(m) for m in MODULES} - {"core"} == set(layer), "LAYERS has all parts"
    offenders = [
        str(x)
        for x in own
        if part_of(x.name) != part_of(x.module)
        and layer[part_of(x.name)] >= layer[part_of(x.module)]
    ]
    assert not offenders, "\n".join(offenders)


def test_no_modules_import_one_another_in_a_circle(own):
    """Imports for the sake of types and within functions count, too."""
    known = {m: {x.name for x in own if x.module == m} - {m} for m in MODULES}
    while free := {m for m, names in known.items() if not names}:
        known = {m: names - free for m, names in known.items() if m not in free}
    # The remaining modules are in an import cycle, or import a module that is in one.
    while ends := known.keys() - {name for names in known.values() for name in names}:
        known = {m: names for m, names in known.items() if m not in ends}
    assert not known, known


def test_other_libraries_are_imported_only_where_they_are_dealt_with(imports):
    offenders = []
    for x in imports:
        top = x.name.split(".")[0]
        if x.name in MODULES or top in sys.stdlib_module_names or top in REQUIRED:
            continue
        where = OTHERS.get(part_of(x.module))
        if where != "anywhere" and not (where == "within a function" and x.in_function):
            offenders.append(str(x))
    assert not offenders, "\n".join(offenders)


def test_imports_and_requirements_agree(imports):
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {re.split(r"[^\w-]", line)[0] for line in project["project"]["dependencies"]}
    assert declared == REQUIRED
    # jaxlib is part of jax.
    assert REQUIRED - {x.name.split(".")[0] for x in imports} <= {"jaxlib"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import optax", ("optax", False)),
        ("from ..algorithms import adam", ("algorithms.adam", False)),
        ("from .. import optim", ("optim", False)),
        ("from .. import __version__", ("functional_optim", False)),
        ("from .engine.fused import FusedUpdate", ("core.engine.fused", False)),
        ("from functional_optim import adam", ("functional_optim", False)),
        ("if TYPE_CHECKING:\n    from .state import State", ("core.state", False)),
        ("def f():\n    import torch", ("torch", True)),
    ],
)
def test_the_reader_of_imports_sees(text, expected, monkeypatch):
    file = PACKAGE / "core" / "some_file.py"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: text)
    assert [(x.name, x.in_function) for x in imports_of(file)] == [expected]
