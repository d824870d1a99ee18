"""The docstring of each package of the core lists its modules in the order of their imports."""

import ast
import re
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "functional_optim" / "core"
QUANTIZATION = CORE.parent / "quantization"
PACKAGES = [CORE, QUANTIZATION, *sorted(p.parent for p in CORE.glob("*/__init__.py"))]


def listed(package):
    """Returns the names at the beginnings of the list's lines, in order."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text()))
    heads = re.findall(r"^- ((?:`\w+/?`(?:, )?)+):", text, flags=re.MULTILINE)
    return [name.rstrip("/") for head in heads for name in re.findall(r"`([\w/]+)`", head)]


def imported(package, name):
    """Returns the modules and folders of the package that one of them imports at run time."""
    path = package / name
    files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    levels = 2 if path.is_dir() else 1
    for file in files:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level == levels:
                parts = [node.module] if node.module else [alias.name for alias in node.names]
                yield from (part.partition(".")[0] for part in parts)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_module_is_listed_once(package):
    modules = {p.stem for p in package.glob("*.py")} | {
        p.parent.name for p in package.glob("*/__init__.py")
    }
    assert sorted(listed(package)) == sorted(modules - {"__init__"})


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_modules_import_those_listed_before_them(package):
    order = listed(package)
    wrong = [
        f"{name} imports {other}"
        for i, name in enumerate(order)
        for other in imported(package, name)
        if other not in order[:i]
    ]
    assert not wrong
