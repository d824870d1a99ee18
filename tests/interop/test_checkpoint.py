"""Files of safetensors, and errors if a reader is not installed; for torch, see tests/parity."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim
from functional_optim.interop.safetensors import load

safetensors = pytest.importorskip("safetensors.flax")

DTYPES = [
    "bool", "uint8", "int8", "int16", "int32", "float16", "bfloat16", "float32", "complex64",
    "float8_e4m3fn", "float8_e5m2",
]  # fmt: skip


def test_arrays_of_a_file_keep_shape_and_dtype(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {k: jnp.asarray(rng.integers(0, 2, (2, 3)), jnp.dtype(k)) for k in DTYPES}
    arrays |= {"scalar": jnp.float32(7.0), "empty": jnp.zeros((0, 3))}
    safetensors.save_file(arrays, tmp_path / "model.safetensors")
    read = optim.load_torch_checkpoint(tmp_path / "model.safetensors")
    assert read.keys() == arrays.keys()
    for k, x in arrays.items():
        assert type(read[k]) is np.ndarray
        assert read[k].dtype == x.dtype, k
        np.testing.assert_array_equal(read[k], np.asarray(x), err_msg=k)
        read[k][...] = 0  # the reader's own


def test_doubles_are_read_without_x64(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"double": np.full(2, 1 / 3), "long": np.array(2**40)}
    save_file(arrays, tmp_path / "model.safetensors")
    read = optim.load_torch_checkpoint(str(tmp_path / "model.safetensors"))
    assert read["double"].tolist() == [1 / 3, 1 / 3]
    assert read["long"] == 2**40


@pytest.mark.parametrize(
    ("file", "extra"), [("model.pt", "torch"), ("model.safetensors", "safetensors")]
)
def test_a_missing_reader_is_named(tmp_path, monkeypatch, file, extra):
    monkeypatch.setitem(sys.modules, extra, None)
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(ImportError, match=rf"pip install 'functional_optim\[{extra}\]'"):
        optim.load_torch_checkpoint(tmp_path / file)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        optim.load_torch_checkpoint(tmp_path / "model.safetensors")


@pytest.mark.parametrize("reader", [optim.load_torch_checkpoint, load], ids=["arrays", "ours"])
def test_a_safetensors_file_cut_anywhere_is_named(tmp_path, reader):
    path = tmp_path / "model.safetensors"
    safetensors.save_file({"w": jnp.ones((40, 30)), "b": jnp.ones(3)}, path)
    whole = path.read_bytes()
    for i in range(64):
        path.write_bytes(whole[: len(whole) * i // 64])
        message = r"model\.safetensors is damaged: .*Load an earlier checkpoint"
        with pytest.raises(ValueError, match=message):
            reader(path)


def test_a_dtype_that_is_not_read_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.save_file({"w": jnp.ones(4, jnp.float8_e5m2)}, path)
    path.write_bytes(path.read_bytes().replace(b'"F8_E5M2"', b'"F8_E8M0"'))
    assert optim.load_torch_checkpoint(path)["w"].dtype.name == "float8_e8m0fnu"
    content = path.read_bytes().replace(b'"F8_E8M0"', b'"F4"     ').replace(b"[4]", b"[8]")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors .*'w' has F4\. Convert"):
        optim.load_torch_checkpoint(path)
