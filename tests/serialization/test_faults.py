"""Checkpoints when a process is killed, a file is damaged, or a disk is full."""

import concurrent.futures
import contextlib
import gc
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.interop import orbax, safetensors
from functional_optim.interop.atomic import replacing
from functional_optim.interop.checksums import checksum

from ..problem import arrays
from ..trees import assert_same
from .killed import check

MORE = int(os.environ.get("FUNCTIONAL_OPTIM_KILLS", "0"))
"""Number of kills of a writer of orbax, each of which takes seconds; at least one is made."""


@pytest.fixture
def written(tmp_path):
    params, tx = arrays(), fo.adam(0.1)
    path = tmp_path / "c.safetensors"
    safetensors.save(path, params=params, state=tx.init(params), step=1, extra={"a": [1, 2.5]})
    return path, params, tx.init(params)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.serialization.killed", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks writers")
def test_a_killed_writer_of_safetensors_leaves_a_whole_file(tmp_path):
    process = start("safetensors", tmp_path / "c.safetensors", 20)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    safetensors.save(tmp_path / "c.safetensors", params=arrays())
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]  # nothing is left over
    (tmp_path / "plain").touch()
    modes = [(tmp_path / name).stat().st_mode for name in ("c.safetensors", "plain")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize(
    ("mine", "other"),
    [("last", "last.best"), ("c", "c.safetensors"), ("c", "c"), ("c[1]", "c1"), ("c*", "c.d")],
)
def test_a_writer_does_not_change_files_of_other_writers(tmp_path, mine, other):
    with replacing(tmp_path / other) as theirs:
        theirs.write_bytes(b"half of it")
        safetensors.save(tmp_path / mine, params={"w": np.full(1, 1.0)})
        assert theirs.read_bytes() == b"half of it"
    expected = {mine, other}
    assert {p.name for p in tmp_path.iterdir()} == expected
    assert (tmp_path / other).read_bytes() == b"half of it"


@pytest.mark.parametrize("name", ["c", "c.safetensors", "c[1]", "c*"])
def test_partial_files_of_a_killed_writer_are_removed_by_the_next(tmp_path, name):
    (tmp_path / f".{name}.0123abcd.partial").mkdir()
    (tmp_path / f".{name}.0123abcd.partial" / name).write_bytes(b"half of it")
    kept = [".c.best.0123abcd.partial", f"{name}.partial", f".{name}.mine.partial"]
    for other in kept:
        (tmp_path / other).mkdir()
    safetensors.save(tmp_path / name, params={"w": np.ones(1)})
    assert {p.name for p in tmp_path.iterdir()} == {name, *kept}


def test_writers_of_one_file_do_not_disturb_one_another(tmp_path):
    def write(i):
        for k in range(10):
            safetensors.save(tmp_path / "c", params={"w": np.full(100, i)}, step=10 * i + k)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    saved = safetensors.load(tmp_path / "c")
    assert (saved.params["w"] == saved.step // 10).all()
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("seed", range(MORE or 1))
def test_a_killed_writer_of_orbax_leaves_whole_directories(tmp_path, seed):
    process = start("orbax", tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "1").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(random.Random(seed).uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    steps = [int(p.name) for p in tmp_path.iterdir() if p.name.isdecimal()]
    for step in steps:
        assert check(orbax.load(tmp_path / str(step))) == step
    assert steps


def test_a_file_cut_anywhere_is_damaged(written):
    path, params, state = written
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"c.safetensors is damaged: .*Nothing was loaded"):
            safetensors.load(path, params=params, state=state)
    path.write_bytes(whole + b"0")
    with pytest.raises(ValueError, match="is damaged"):
        safetensors.load(path, params=params, state=state)


def test_every_flipped_bit_is_noticed(written):
    path, params, state = written
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(400):
        bit = rng.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"is damaged|is not a checkpoint"):
            safetensors.load(path, params=params, state=state)
    path.write_bytes(whole)
    assert_same(safetensors.load(path, params=params, state=state).params, params)


def test_files_of_other_programs_are_named(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, tmp_path / "c")
    with pytest.raises(ValueError, match=r"is not a checkpoint .*load_torch_checkpoint"):
        safetensors.load(tmp_path / "c")
    (tmp_path / "c").write_text("a text")
    with pytest.raises(ValueError, match="is damaged: it is not a complete safetensors file"):
        safetensors.load(tmp_path / "c")
    (tmp_path / "d").mkdir()
    with pytest.raises(ValueError, match="is not a checkpoint of functional_optim, or is damaged"):
        orbax.load(tmp_path / "d")


@pytest.mark.parametrize("library", [safetensors, orbax], ids=["safetensors", "orbax"])
def test_a_missing_checkpoint_is_not_found(library, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        library.load(tmp_path / "nothing")


@pytest.mark.parametrize("library", [safetensors, orbax], ids=["safetensors", "orbax"])
def test_a_newer_format_asks_for_a_newer_version(library, tmp_path, monkeypatch):
    monkeypatch.setattr("functional_optim.serialization.writing.FORMAT_VERSION", 9)
    library.save(tmp_path / "c", params=arrays())
    with pytest.raises(ValueError, match=r"is of format 9, and .* formats 1 to 2. Install a newer"):
        library.load(tmp_path / "c", params=arrays())


@pytest.fixture
def directory(tmp_path):
    """Writes a checkpoint of orbax whose every file matters for one of the arrays."""
    path = tmp_path / "c"
    params = {"large": np.random.default_rng(0).random((100, 100)), "small": np.ones(3)}
    orbax.save(path, params=params, step=3, extra={"lr": 0.001})
    return path


def is_whole(saved):
    """Tells whether the loaded arrays are those in `directory`."""
    large = np.random.default_rng(0).random((100, 100))
    return (
        (saved.step, saved.extra) == (3, {"lr": 0.001})
        and np.array_equal(saved.params["large"], large)
        and np.array_equal(saved.params["small"], np.ones(3))
    )


def error_of(load, path):
    """Returns the text of the ValueError that loading raises, or None."""
    try:
        load(path)
    except ValueError as error:
        return str(error)
    return None


# orbax leaves coroutines behind that failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_directory_of_orbax_cut_anywhere_is_damaged(directory):
    refused = set()
    for file in sorted(p for p in directory.rglob("*") if p.is_file()):
        whole = file.read_bytes()
        parts = 64 if file.parent.name == "info" else 8
        for length in {len(whole) * i // parts for i in range(parts)} - {len(whole)}:
            file.write_bytes(whole[:length])
            error = error_of(orbax.load, directory)
            if error is None:
                assert is_whole(orbax.load(directory)), (file, length)
            else:
                assert f"{directory} is" in error
                assert "Nothing was loaded" in error
                refused.add(file.relative_to(directory).parts[0])
        file.write_bytes(whole)
    assert refused == {"info", "arrays"}
    assert is_whole(orbax.load(directory))


# orbax leaves coroutines behind that failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_flipped_bit_of_orbaxs_arrays_is_damage(directory):
    """orbax itself returns other numbers, in silence."""
    noticed = 0
    for file in sorted(p for p in (directory / "arrays").rglob("*") if p.is_file()):
        whole = file.read_bytes()
        for i in range(0, len(whole), max(1, len(whole) // 6)):
            file.write_bytes(whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :])
            error = error_of(orbax.load, directory)
            assert error is not None or is_whole(orbax.load(directory)), (file, i)
            noticed += error is not None and "the checksum of 'params." in error
        file.write_bytes(whole)
    assert noticed


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "float16", "int32", "uint8", "bool", "complex64", "int4"]
)
def test_a_checksum_is_that_of_the_elements_on_any_mesh(dtype, kind):
    drawn = np.random.default_rng(0).integers(-7, 8, (16, 3)) * (2 if dtype == "int32" else 1)
    x = drawn.astype(jnp.dtype(dtype))
    mesh = jax.make_mesh((8,), ("x",), axis_types=(kind,))
    y = jax.device_put(x, NamedSharding(mesh, PartitionSpec("x")))
    assert int(checksum(x)) == int(checksum(jnp.asarray(x))) == int(checksum(y))
    assert int(checksum(x)) != int(checksum(x[::-1]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"step": 3', '"step": 7'),
        ("0.001", "0.003"),
        ('"version"', '"versinn"'),
        ('"float64"', '"float32"'),
        ('"crc32"', '"crc33"'),
        ('"shapes"', '"shbpes"'),
        ("[100, 100]", "[100, 101]"),
    ],
)
def test_a_changed_description_of_orbax_is_noticed(directory, old, new):
    file = directory / "info" / "metadata"
    text = file.read_text()
    assert text.count(old)
    file.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=r"/c is (damaged: .*differs|of format).*Nothing was"):
        orbax.load(directory)


def test_a_directory_of_version_0_1_has_no_checksum(directory):
    file = directory / "info" / "metadata"
    info = json.loads(file.read_text())
    del info["crc32"], info["checksums"]
    file.write_text(json.dumps(info))
    assert is_whole(orbax.load(directory))


@contextlib.contextmanager
def no_file_above(size):
    """Makes writing more fail, as on a full disk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


# orbax leaves coroutines behind that failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("size", [100, 3000])
@pytest.mark.parametrize("way", ["safetensors", "orbax", "orbax, while training continues"])
def test_a_full_disk_is_reported_and_training_continues(way, size, tmp_path):
    library = safetensors if way == "safetensors" else orbax
    wait = {"wait": False} if "while" in way else {}
    tx, params = fo.adam(0.1), {"w": jnp.asarray(np.random.default_rng(0).random(5000))}
    state = tx.init(params)
    library.save(tmp_path / "1", params=params, state=state, step=1)

    path = tmp_path / ("1" if library is safetensors else "2")
    message = rf"{re.escape(str(path))} could not be written: .*(large|LARGE)"

    def save():
        saving = library.save(path, params=params, state=state, step=2, **wait)
        saving.wait()

    with no_file_above(size), pytest.raises(OSError, match=message):
        save()
    gc.collect()
    assert not (tmp_path / "2").exists()
    if library is safetensors:  # threads of orbax continue for a moment
        assert [p.name for p in tmp_path.iterdir()] == ["1"]
    saved = library.load(tmp_path / "1", params=params, state=state)
    assert saved.step == 1
    step = jax.jit(tx.update, donate_argnums=1)
    on, off = step(params, saved.state, params), step(params, state, params)
    assert_same(on, off)
    library.save(tmp_path / "2", params=params, state=on[1], step=2)
    assert library.load(tmp_path / "2", params=params, state=tx.init(params)).step == 2
