"""Libraries that are not loaded: those that another user may have written, and damaged ones."""

import json
import os
import stat

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.native import library
from functional_optim.native.__main__ import main
from functional_optim.native.cache import directory

from .test_library import MOMENTUM, PARAMS, built, has_kernel, library_of_momentum

__all__ = ["built", "library_of_momentum"]  # fixtures

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners")

PLACES = {  # name of a file or directory that is checked -> its path, from that of the library
    "the library": lambda file: file,
    "its description": lambda file: file.with_suffix(".json"),
    "its directory": lambda file: file.parent,
    "native": lambda file: file.parent.parent,
    "the cache": lambda file: file.parent.parent.parent,
}


def refused(match):
    """Expects that a step has no kernel, and that a warning says why and what to do."""
    library.forget()
    with pytest.warns(RuntimeWarning, match=rf"is not used: {match}.*XLA runs .*build again"):
        assert not has_kernel()


MODES = (0o777, 0o1777, 0o722, 0o720, 0o702)


# One function checks all places, so that all modes are tried on a file and on a directory only.
@pytest.mark.parametrize(
    ("place", "mode"),
    [(place, mode) for place in ("the library", "the cache") for mode in MODES]
    + [(place, 0o702) for place in ("its description", "its directory", "native")],
)
def test_files_that_others_may_write_are_not_used(library_of_momentum, place, mode):
    PLACES[place](library_of_momentum).chmod(mode)
    refused(rf"others may write to it \(mode {mode:o}\); chmod go-w it")


@pytest.mark.parametrize("place", PLACES)
def test_a_link_is_not_followed(library_of_momentum, place, tmp_path_factory):
    linked = PLACES[place](library_of_momentum)
    target = tmp_path_factory.mktemp("elsewhere") / "target"
    linked.rename(target)
    linked.symlink_to(target)
    refused("it is a link")


def test_files_of_another_user_are_not_used(library_of_momentum, monkeypatch):
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    refused(f"it belongs to user {me}, and this is {me + 1}")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("place", PLACES)
def test_each_file_and_directory_must_belong_to_this_user(library_of_momentum, place):
    os.chown(PLACES[place](library_of_momentum), 12345, -1)
    refused("it belongs to user 12345, and this is 0")


def test_built_files_are_private_for_every_umask(cache):
    before = os.umask(0)
    try:
        build()
    finally:
        os.umask(before)
    assert has_kernel()
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in cache.rglob("*")}
    assert set(modes.values()) == {0o700, 0o600}
    assert modes["native"] == modes[directory().name] == 0o700


def test_a_readable_directory_is_made_private_by_building(library_of_momentum):
    library_of_momentum.parent.chmod(0o755)
    library.forget()
    assert has_kernel()  # others may read, and not write
    for file in (library_of_momentum, library_of_momentum.with_suffix(".json")):
        file.unlink()
    library.forget()
    assert build() == library_of_momentum
    assert stat.S_IMODE(library_of_momentum.parent.stat().st_mode) == 0o700


def build():
    try:
        return fo.native.build(MOMENTUM, PARAMS)
    except fo.native.CompilerError as error:
        if "found no" in str(error):
            pytest.skip("there is no compiler of C++")
        raise


@pytest.mark.filterwarnings("ignore:.*kernels is not used")
@pytest.mark.parametrize("fault", ["writable", "link", "a file", "read-only"])
def test_kernels_that_cannot_be_kept_are_an_error_that_says_where(
    cache, fault, monkeypatch, capsys
):
    place = cache / "kernels"
    monkeypatch.setenv("FUNCTIONAL_OPTIM_CACHE", str(place))
    if fault == "writable":
        place.mkdir()
        place.chmod(0o777)
        reason = "others may write to it"
    elif fault == "link":
        place.symlink_to(cache)
        reason = "it is a link"
    elif fault == "a file":
        place.touch()
        reason = "Not a directory"
    else:  # for root, too
        monkeypatch.setattr(os, "mkdir", lambda *a, **k: os.open("/proc/1/none", os.O_CREAT))
        reason = "No such file|Permission|Read-only"
    message = (
        rf"cannot be written to {place}/native/\w+ \(.*{reason}.*\)\. Set FUNCTIONAL_OPTIM_CACHE"
    )
    with pytest.raises(fo.native.CompilerError, match=message):
        build()
    assert main([]) == 1
    assert "FUNCTIONAL_OPTIM_CACHE" in capsys.readouterr().err
    assert [p.name for p in cache.iterdir() if p != place] == []


def test_a_library_cut_anywhere_is_not_loaded(library_of_momentum):
    for file in (library_of_momentum, library_of_momentum.with_suffix(".json")):
        whole = file.read_bytes()
        for i in range(64):
            file.write_bytes(whole[: len(whole) * i // 64])
            library.forget()
            with pytest.warns(RuntimeWarning, match=rf"{file.name} is not used: it"):
                assert not library.has_any() or not any(
                    library.find(body) for body in bodies_of(MOMENTUM)
                )
        file.write_bytes(whole)
    library.forget()
    assert has_kernel()


def bodies_of(tx):
    with fo.native.switch.recorded() as bodies:
        jax.eval_shape(lambda s, p: fo.apply_gradients(tx, p, s, p), tx.init(PARAMS), PARAMS)
    return list(bodies)


def test_an_exchanged_library_is_not_loaded(library_of_momentum):
    """The other library is whole, too: a linker ignores what follows its end."""
    library_of_momentum.write_bytes(library_of_momentum.read_bytes() + b"other")
    refused("it is not the file that was built")


def test_a_description_with_more_functions_than_the_library_is_refused(library_of_momentum):
    described = library_of_momentum.with_suffix(".json")
    read = json.loads(described.read_text())
    read["bodies"].insert(0, "0" * 16)
    described.write_text(json.dumps(read))
    refused("it does not have the functions of its description")


def test_a_number_beyond_the_table_is_an_error_and_no_crash(library_of_momentum):
    assert has_kernel()
    target, number = library.find(bodies_of(MOMENTUM)[0])
    x = jnp.ones(8)
    for body in (1, -1, 2**40):
        call = jax.ffi.ffi_call(target, [jax.ShapeDtypeStruct((8,), jnp.float32)] * 2)
        with pytest.raises(Exception, match="a call that this library does not have"):
            call(
                *[x] * 4,
                body=np.int64(number + body),
                shared=np.int64(1),
                rows=np.zeros(1, np.int64),
                numbers=np.zeros(1, np.int64),
            )


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_a_library_that_is_built_again_is_used_in_this_process(cache, parts):
    """The new one replaces a library that could not be loaded."""
    path = build()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * parts // 3])
    refused("it is not the file that was built")
    assert build() == path
    assert len(path.read_bytes()) == len(whole)
    assert has_kernel()
