"""Clipping, averages, hooks and `repr` behave as in torch."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.optim import optimizer as torch_hooks

from functional_optim import optim

from .conftest import SEED

RNG = np.random.default_rng(SEED)
ARRAYS = [RNG.standard_normal(shape).astype(np.float32) for shape in [(3, 2), (4,), ()]]


def both(arrays):
    """Makes gradients for both sides: parameters of torch that have them, and a list of arrays."""
    theirs = []
    for x in arrays:
        p = torch.nn.Parameter(torch.zeros(x.shape))
        p.grad = torch.tensor(x)
        theirs.append(p)
    return theirs, [jnp.asarray(x) for x in arrays]


@pytest.mark.parametrize("bad", [None, np.nan, np.inf], ids=str)
@pytest.mark.parametrize("max_norm", [0.0, 0.1, 1e3, float("inf")])
@pytest.mark.parametrize("order", [2.0, 1.0, 3.5, 0.5, -1.0, float("inf"), float("-inf")])
def test_clipping_by_norm(order, max_norm, bad):
    arrays = [*ARRAYS[:2], np.full((), bad, np.float32)] if bad is not None else ARRAYS
    theirs, ours = both(arrays)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, order)
    clipped, norm = optim.clip_grad_norm(ours, max_norm, order)
    np.testing.assert_allclose(norm, expected.numpy(), rtol=1e-5)
    for a, p in zip(clipped, theirs, strict=True):
        np.testing.assert_allclose(a, p.grad.numpy(), rtol=1e-5)


def test_an_error_where_the_norm_is_not_finite():
    theirs, ours = both([np.full(2, np.inf, np.float32)])
    with pytest.raises(RuntimeError) as expected:
        torch.nn.utils.clip_grad_norm_(theirs, 1.0, error_if_nonfinite=True)
    with pytest.raises(RuntimeError) as found:
        optim.clip_grad_norm(ours, 1.0, error_if_nonfinite=True)
    for words in ("The total norm of order 2.0 for gradients", "non-finite, so it cannot be clip"):
        assert words in str(expected.value)
        assert words in str(found.value)


def test_clipping_by_value():
    theirs, ours = both(ARRAYS)
    torch.nn.utils.clip_grad_value_(theirs, 0.5)
    for a, p in zip(optim.clip_grad_value(ours, 0.5), theirs, strict=True):
        np.testing.assert_array_equal(a, p.grad.numpy())


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3, 2))
        self.register_buffer("mean", torch.zeros(3))

    def put(self, weight, mean):
        self.weight.data, self.mean = torch.tensor(weight), torch.tensor(mean)


FUNCTIONS = {
    "default": lambda module: {},
    "swa": lambda module: {"avg_fn": module.get_swa_avg_fn()},
    "swa-multi": lambda module: {"multi_avg_fn": module.get_swa_multi_avg_fn()},
    "ema": lambda module: {"avg_fn": module.get_ema_avg_fn(0.75)},
    "ema-multi": lambda module: {"multi_avg_fn": module.get_ema_multi_avg_fn(0.75)},
}


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("options", FUNCTIONS.values(), ids=FUNCTIONS)
def test_averages(options, use_buffers):
    model, swa = Model(), torch.optim.swa_utils
    theirs = swa.AveragedModel(model, use_buffers=use_buffers, **options(swa))
    ours = optim.swa_utils.AveragedModel(
        {"weight": np.zeros((3, 2), np.float32)},
        use_buffers=use_buffers,
        buffers={"mean": np.zeros(3, np.float32)},
        **options(optim.swa_utils),
    )
    for _ in range(6):
        shown = [RNG.standard_normal(shape).astype(np.float32) for shape in [(3, 2), (3,)]]
        model.put(*shown)
        theirs.update_parameters(model)
        ours.update_parameters({"weight": shown[0]}, {"mean": shown[1]})
    assert ours.n_averaged == int(theirs.n_averaged)
    for a, b in [
        (ours.module["weight"], theirs.module.weight),
        (ours.buffers["mean"], theirs.module.mean),
    ]:
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_an_average_of_torch_is_loaded():
    model = torch.nn.Linear(2, 3)
    theirs = torch.optim.swa_utils.AveragedModel(model)
    theirs.update_parameters(model)
    ours = optim.swa_utils.AveragedModel({"weight": jnp.zeros((3, 2)), "bias": jnp.zeros(3)})
    ours.load_state_dict({k: x.numpy() for k, x in theirs.state_dict().items()})
    assert ours.n_averaged == 1
    np.testing.assert_array_equal(ours.module["weight"], model.weight.detach().numpy())
    assert {*ours.state_dict()} == {*theirs.state_dict()}


WHEN = ("pre", "post")
KINDS = [f"{what}_{when}" for what in ("step", "state_dict", "load_state_dict") for when in WHEN]


def calls_of(optimizer, module, step):
    """Records which hooks a step, saving and loading call, with how many arguments."""
    calls = []

    def noting(name):
        def hook(opt, *given):
            assert opt is optimizer
            sizes = [len(x) if isinstance(x, tuple) else sorted(x) for x in given]
            calls.append((name, sizes if "step" in name else len(given)))

        return hook

    for kind in KINDS:
        register = getattr(optimizer, f"register_{kind}_hook")
        register(noting(f"{kind} 1"))
        register(noting(f"{kind} 2"))
        if not kind.startswith("step"):
            register(noting(f"{kind} 0"), prepend=True)
    with (
        module.register_optimizer_step_post_hook(noting("step all post")),
        module.register_optimizer_step_pre_hook(noting("step all pre")),
    ):
        step(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
    return calls


def test_hooks_are_called_in_torchs_order():
    parameter = torch.nn.Parameter(torch.ones(2))
    expected = calls_of(
        torch.optim.SGD([parameter]), torch_hooks, lambda opt: opt.step(lambda: 0.0)
    )
    found = calls_of(optim.SGD([jnp.ones(2)]), optim, lambda opt: opt.step(lambda p: p[0].sum()))
    assert found == expected
    assert len(found) == 18


@pytest.mark.parametrize("named", [False, True])
def test_an_optimizer_is_shown_as_torchs(named):
    pairs = [("w", np.ones(2, np.float32)), ("b", np.ones(1, np.float32))]
    theirs, ours = (
        cls([{"params": [(k, make(x)) if named else make(x) for k, x in pairs], "lr": 0.5}])
        for cls, make in [
            (torch.optim.SGD, lambda x: torch.nn.Parameter(torch.tensor(x))),
            (optim.SGD, jnp.asarray),
        ]
    )
    assert repr(ours) == repr(theirs)
