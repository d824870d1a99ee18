"""Kernels for the tests, built once, where there is a compiler."""

import shutil

import jax
import pytest

import functional_optim as fo
from functional_optim.native import library
from functional_optim.native.building import build_all
from functional_optim.native.compiler import find_compiler
from functional_optim.native.switch import recorded

from .table import UPDATES, in_both_counts, offer_updates, parameters


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Provides an empty directory of kernels."""
    monkeypatch.setenv("FUNCTIONAL_OPTIM_CACHE", str(tmp_path))
    library.forget()
    yield tmp_path
    library.forget()


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """Compiles a source once: a library that is built again is a copy of the first."""
    compile_library, place, known = library.compile_library, tmp_path_factory.mktemp("known"), {}

    def copied(command, source, target):
        text = source.read_text()
        if text not in known:
            compile_library(command, source, target)
            known[text] = shutil.copyfile(target, place / f"{len(known)}.so")
        shutil.copyfile(known[text], target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "compile_library", copied)
        yield


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Builds the kernels of the table into a temporary directory, for this session only."""
    try:
        find_compiler()
    except fo.native.CompilerError:
        pytest.skip("there is no compiler of C++")
    place = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTIONAL_OPTIM_CACHE", str(place))
        library.forget()
        build_all((tx, parameters()) for tx in in_both_counts())
        offer_updates(patch)
        with recorded() as bodies:
            for tx in UPDATES:
                jax.eval_shape(lambda p, tx=tx: tx.update(p, tx.init(p), p), parameters())
        library.add_library(list(bodies))
    library.forget()
    return place


@pytest.fixture
def kernels(built, monkeypatch):
    """Puts the built kernels in use."""
    monkeypatch.setenv("FUNCTIONAL_OPTIM_CACHE", str(built))
    library.forget()
    yield
    library.forget()
