"""Libraries are built, found and loaded, or an error says why not."""

import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim.native import library
from functional_optim.native.__main__ import main
from functional_optim.native.cache import digest, directory
from functional_optim.native.compiler import compile_library, find_compiler
from functional_optim.native.switch import recorded

MOMENTUM = fo.sgd(0.1, momentum=0.9)
PARAMS = {"w": jnp.ones(8)}


def has_kernel():
    step = jax.jit(lambda *arguments: fo.apply_gradients(MOMENTUM, *arguments))
    return "functional_optim_leaf" in step.lower(PARAMS, MOMENTUM.init(PARAMS), PARAMS).as_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Builds a directory with the kernel of one optimizer."""
    place = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTIONAL_OPTIM_CACHE", str(place))
        library.forget()
        try:
            fo.native.build(MOMENTUM, PARAMS)
        except fo.native.CompilerError:
            pytest.skip("there is no compiler of C++")
    return place


@pytest.fixture
def library_of_momentum(cache, built):
    """Puts a copy of that directory in use, and provides the library in it."""
    shutil.copytree(built, cache, dirs_exist_ok=True)
    (found,) = directory().glob("*.so")
    return found


def test_kernels_are_used_right_after_building_and_not_built_twice(library_of_momentum):
    assert has_kernel()
    assert fo.native.build(MOMENTUM, PARAMS) is None
    assert fo.native.build(fo.sgd(0.5, momentum=0.1), PARAMS) is None
    with fo.native.enabled(False):
        assert not has_kernel()


def test_another_process_finds_it(library_of_momentum):
    code = (
        "import jax, functional_optim as fo; tx = fo.sgd(0.1, momentum=0.9);"
        "p = {'w': jax.numpy.ones((3, 3))}; step = jax.jit(lambda *a: fo.apply_gradients(tx, *a));"
        "lowered = step.lower(p, tx.init(p), p); print(lowered.as_text().count('optim_leaf'));"
        "print(lowered.compile()(p, tx.init(p), p)[0]['w'][0, 0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0.9"]


def test_a_library_that_was_changed_is_not_loaded(library_of_momentum):
    content = library_of_momentum.read_bytes()
    library_of_momentum.write_bytes(content[: len(content) // 2])
    library.forget()
    with pytest.warns(RuntimeWarning, match=r"is not used: it is not the file that was built"):
        assert not has_kernel()


def test_without_libraries_xla_runs_the_leaves_silently(cache):
    assert not has_kernel()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bodies": 3}'])
def test_a_description_that_cannot_be_read_is_passed_over(cache, text, monkeypatch):
    place = directory()
    place.mkdir(parents=True)
    (place / "broken.json").write_text(text)
    with pytest.warns(RuntimeWarning, match=r"broken\.json is not used: .* cannot be read"):
        assert not has_kernel()


def test_a_file_that_is_not_a_library_is_skipped(cache):
    with recorded() as bodies:
        jax.eval_shape(
            lambda s, p: fo.apply_gradients(MOMENTUM, p, s, p), MOMENTUM.init(PARAMS), PARAMS
        )
    place = directory()
    place.mkdir(parents=True)
    (place / "text.so").write_text("no library")
    described = {"sha256": library.checksum(b"no library"), "bodies": [*map(digest, bodies)]}
    (place / "text.json").write_text(json.dumps(described))
    with pytest.warns(RuntimeWarning, match=r"text\.so is not used: .*too short|invalid"):
        assert not has_kernel()


def test_without_a_compiler_the_message_names_compilers_to_install(cache, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(cache))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(fo.native.CompilerError, match=r"found no g\+\+, clang.*apt install"):
        fo.native.build(MOMENTUM, PARAMS)
    monkeypatch.setenv("CXX", "some-compiler -v")
    with pytest.raises(fo.native.CompilerError, match=r"'some-compiler', which CXX names"):
        find_compiler()
    assert main([]) == 1
    assert "native.build: found no 'some-compiler'" in capsys.readouterr().err


def test_a_compiler_that_fails_has_the_last_word(tmp_path):
    failing = [sys.executable, "-c", "import sys; sys.exit('\\n'.join(map(str, range(99))))"]
    with pytest.raises(fo.native.CompilerError, match=r"ended with status 1.*\n79\n(.*\n)*98\n"):
        compile_library(failing, tmp_path / "a.cc", tmp_path / "a.so")


def test_the_command_has_nothing_to_do_where_all_is_built(cache, monkeypatch, capsys):
    monkeypatch.setattr("functional_optim.native.building.find", lambda body: ("target", 0))
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("All kernels are built already, in ")
