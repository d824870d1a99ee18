"""Files with tensors of torch, read and written without it; `tests/parity` has the real ones."""

import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.interop.torch import to_torch


class Tensor:
    """An object with the attributes of a torch tensor that reading a file uses."""

    def __init__(self, value):
        self.value = np.asarray(value)
        self.shape = self.value.shape

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        if self.value.dtype.name == "bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.value

    def float(self):
        return Tensor(self.value.astype(np.float32))


def test_tensors_in_a_file_are_read():
    buffers = [np.full(3, 1.0, np.float32), jnp.full(3, 2.0, jnp.bfloat16)]
    state = {i: {"momentum_buffer": Tensor(x)} for i, x in enumerate(buffers)}
    groups = [{"lr": Tensor(0.25), "params": [0, 1]}]
    optimizer = optim.SGD([jnp.ones(3), jnp.ones(3)], momentum=0.9)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    assert [float(x[0]) for x in optimizer.state[0].trace.trace] == [1.0, 2.0]
    assert float(optimizer.param_groups[0]["lr"]) == 0.25


def test_torch_is_imported_only_to_make_tensors(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"to_torch needs torch\. Install it: pip install torch"):
        to_torch(optim.SGD([jnp.ones(1)]).state_dict())


def test_a_schedule_goes_to_torch_as_its_next_value(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(from_numpy=np.asarray))
    betas = (fo.linear_schedule(0.8, 0.9, 4), 0.99)
    opt = optim.Adam([jnp.ones(2)], lr=fo.linear_schedule(0.5, 0.0, 4), betas=betas)
    for lr, b1 in [(0.5, 0.8), (0.375, 0.825), (0.25, 0.85)]:
        (group,) = to_torch(opt.state_dict())["param_groups"]
        assert group["lr"] == pytest.approx(lr)
        assert group["betas"] == pytest.approx((b1, 0.99))
        opt.step([jnp.ones(2)])
