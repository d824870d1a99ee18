"""The files of the wheel, and the modules that importing the package imports."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import functional_optim as fo

ROOT = Path(__file__).resolve().parent.parent
OPTIONAL = ("optax", "flax", "torch", "orbax", "sklearn", "matplotlib", "tqdm")


def run(*arguments: str, **options: object) -> str:
    """Returns the output of this Python with other arguments."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """Returns the names of the files in a wheel, built from a copy to keep the checkout clean."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "functional_optim", source / "functional_optim", ignore=ignored)
    build = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir")
    run(*build, str(target), str(source))
    (path,) = target.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_wheel_tells_type_checkers_that_it_is_typed(wheel):
    assert "functional_optim/py.typed" in wheel


def test_wheel_holds_every_module_and_the_licence_and_nothing_else(wheel):
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "functional_optim").rglob("*.py")}
    metadata = {name for name in wheel if ".dist-info/" in name}
    others = {"functional_optim/py.typed", "functional_optim/native/kernel.cc"}
    assert set(wheel) - metadata == modules | others
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)


def test_the_oldest_versions_that_are_tested_are_the_lower_bounds():
    if not (ROOT / ".ci").exists():
        pytest.skip("a source distribution has no .ci")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = {line.split(",")[0].replace(">=", "==") for line in project["dependencies"]}
    text = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8")
    assert {line for line in text.splitlines() if not line.startswith("#")} == bounds


def test_a_source_distribution_holds_what_its_tests_need(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "out")
    shutil.copytree(ROOT, source, ignore=ignored)
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    target.mkdir()
    run("-c", build, str(target), cwd=source)
    (path,) = target.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert files - held == set()


@pytest.mark.parametrize("module", ["functional_optim", "functional_optim.optim"])
def test_importing_needs_no_extra(module, tmp_path):
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    imported = run("-c", code, cwd=tmp_path).split()
    assert "jax" in imported
    assert not set(OPTIONAL) & set(imported)


def test_importing_the_package_imports_no_rule_before_one_is_used(tmp_path):
    code = (
        "import sys, functional_optim as fo; own = lambda: {m for m in sys.modules if 'functional_"
        "optim.' in m}; before = own(); fo.adam(1e-3); print(len(before), len(own()));"
        "print('functional_optim.core.chain' in before, 'jax.extend' in sys.modules)"
    )
    before, after, *early = run("-c", code, cwd=tmp_path).split()
    assert int(before) < 15 < int(after) < 80
    assert early == ["False", "False"]


def test_names_that_are_imported_late_are_not_the_modules_of_that_name(tmp_path):
    """Importing `transforms.sam` sets `transforms.sam`, which is a function."""
    code = """if True:
        import importlib, inspect, pkgutil
        import functional_optim as fo
        for module in pkgutil.walk_packages(fo.__path__, "functional_optim."):
            if not module.name.startswith(("functional_optim.demo", "functional_optim.__main__")):
                importlib.import_module(module.name)
        for package in fo.ORIGINS:
            module = importlib.import_module(package)
            late = set(fo.ORIGINS[package])
            print(*(name for name in late if inspect.ismodule(getattr(module, name))))
            print(*late - set(module.__all__))
    """
    assert run("-c", code, cwd=tmp_path).split() == []


def test_dir_shows_public_names_only():

    shown = {name for name in dir(fo) if not name.startswith("__")}
    assert shown - set(fo.__all__) == {"interop", "optim", "planning", "rules", "testing"}
    assert {name for name in dir(fo.transforms) if not name.startswith("__")} == set(
        fo.transforms.__all__
    )
