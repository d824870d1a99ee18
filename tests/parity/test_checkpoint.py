"""Files that torch has written, read as NumPy arrays."""

import collections

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from functional_optim import optim

DTYPES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
    "float64", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_all_dtypes_are_read(tmp_path, dtype):
    tensor = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.5, 1.0]]).to(getattr(torch, dtype))
    torch.save({"x": tensor, "t": tensor.T, "s": tensor[1, 2]}, tmp_path / "x.pt")
    read = optim.load_torch_checkpoint(tmp_path / "x.pt")
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    for k, x in {"x": tensor, "t": tensor.T, "s": tensor[1, 2]}.items():
        assert read[k].dtype == jnp.dtype(dtype)
        np.testing.assert_array_equal(read[k].astype(np.complex128), x.to(wide).numpy())


def test_other_data_keep_their_form(tmp_path):
    saved = {
        "epoch": 3,
        "loss": [0.5, None, True],
        "model": collections.OrderedDict(w=torch.nn.Parameter(torch.ones(2))),
        "nested": ({"a": torch.zeros(1)}, "text"),
        "conjugate": torch.tensor([1j]).conj(),
    }
    torch.save(saved, tmp_path / "run.tar")
    read = optim.load_torch_checkpoint(str(tmp_path / "run.tar"))
    assert (read["epoch"], read["loss"], read["nested"][1]) == (3, [0.5, None, True], "text")
    assert type(read["model"]["w"]) is np.ndarray
    assert read["model"]["w"].tolist() == [1.0, 1.0]
    assert read["nested"][0]["a"].tolist() == [0.0]
    assert read["conjugate"].tolist() == [-1j]


class Code:
    def __reduce__(self):
        return print, ("run",)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    torch.save({"x": Code()}, tmp_path / "x.pt")
    with pytest.raises(
        ValueError, match=r"x\.pt is .*not a file of torch.*Save model\.state_dict\(\)"
    ):
        optim.load_torch_checkpoint(tmp_path / "x.pt")
    assert capsys.readouterr().out == ""


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"junk\.pt is .*not a file of torch"):
        optim.load_torch_checkpoint(tmp_path / "junk.pt")


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_a_file_cut_anywhere_is_named(tmp_path, new_format):
    model = torch.nn.Linear(80, 50)
    path = tmp_path / "run.pt"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=new_format)
    whole = path.read_bytes()
    for i in range(64):
        path.write_bytes(whole[: len(whole) * i // 64])
        with pytest.raises(ValueError, match=r"run\.pt is damaged, .*load an earlier one"):
            optim.load_torch_checkpoint(path)


def test_a_file_that_cannot_be_opened_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        optim.load_torch_checkpoint(tmp_path / "none.pt")
    with pytest.raises(IsADirectoryError):
        optim.load_torch_checkpoint(tmp_path)


def test_a_state_that_torch_saved_for_us_is_read(tmp_path):
    params = {"a": jnp.ones(2), "b": jnp.ones(3, jnp.bfloat16)}
    ours = optim.AdamW(params, lr=np.float32(0.5), amsgrad=True)
    ours.step(params)
    narrow = {k: jnp.asarray(ours.params["a"], k) for k in ("bfloat16", "float8_e5m2")}
    saved = {"opt": ours.state_dict(), "params": {k: np.asarray(x) for k, x in narrow.items()}}
    torch.save(saved, tmp_path / "run.pt")
    read = optim.load_torch_checkpoint(tmp_path / "run.pt")
    assert {k: x.dtype.name for k, x in read["params"].items()} == {k: k for k in narrow}
    again = optim.AdamW(ours.params)
    again.load_state_dict(read["opt"])
    assert again.param_groups[0]["lr"] == 0.5
    np.testing.assert_equal(again.state_dict(), ours.state_dict())


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_a_sparse_tensor_is_an_error(tmp_path):
    torch.save({"x": torch.eye(2).to_sparse()}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"layout torch.sparse_coo, and arrays are dense"):
        optim.load_torch_checkpoint(tmp_path / "x.pt")


def test_a_run_of_torch_goes_on_from_its_file(tmp_path):
    model = torch.nn.Linear(3, 2)
    theirs = torch.optim.AdamW(model.parameters(), lr=0.1)
    x = torch.ones(4, 3)

    def step():
        theirs.zero_grad()
        model(x).square().sum().backward()
        theirs.step()

    step()
    saved = {"model": model.state_dict(), "optimizer": theirs.state_dict()}
    torch.save(saved, tmp_path / "run.pt")
    read = optim.load_torch_checkpoint(tmp_path / "run.pt")
    ours = optim.AdamW(list(read["model"].items()))
    ours.load_state_dict(read["optimizer"], names=list(read["model"]))
    ours.minimize(lambda p: jnp.sum((jnp.ones((4, 3)) @ p["weight"].T + p["bias"][None]) ** 2))
    step()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(ours.params[name], p.detach().numpy(), rtol=1e-5, atol=1e-6)
