"""States that cross between torch and here, in both directions, through files."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from functional_optim import optim
from functional_optim.interop.torch import to_torch

from ..golden import in_torch
from ..golden.compare import distance
from .conftest import SEED

SHAPES = {"bias": (3,), "weight": (3, 2)}
NAMES = list(SHAPES)
STEPS, SAVED = 30, 10
CONFIGURATIONS = {
    "SGD": ("SGD", {"lr": 0.1}),
    "SGD-momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    "Adam": ("Adam", {"lr": 0.01, "weight_decay": 0.1}),
    "Adam-amsgrad": ("Adam", {"lr": 0.01, "amsgrad": True}),
    "AdamW": ("AdamW", {"lr": 0.01, "betas": (0.5, 0.9)}),
    "Adamax": ("Adamax", {"lr": 0.01, "betas": (0.5, 0.9)}),
    "NAdam": ("NAdam", {"lr": 0.01, "momentum_decay": 0.1, "weight_decay": 0.1}),
    "RAdam": ("RAdam", {"lr": 0.01, "betas": (0.5, 0.9), "decoupled_weight_decay": True}),
    "RMSprop": ("RMSprop", {"lr": 0.01, "momentum": 0.9, "centered": True, "eps": 1e-3}),
    "Adadelta": ("Adadelta", {"rho": 0.5, "weight_decay": 0.1}),
    "Adagrad": ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    "ASGD": ("ASGD", {"lr": 0.05, "lambd": 0.1, "t0": 15}),
    "Rprop": ("Rprop", {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.1)}),
}
each = pytest.mark.parametrize(("name", "options"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)

RNG = np.random.default_rng(SEED)
START = {k: RNG.standard_normal(shape) for k, shape in SHAPES.items()}
GRADS = {k: RNG.standard_normal((STEPS, *shape)) for k, shape in SHAPES.items()}


class Torch:
    """An optimizer of torch over the two parameters, named or not."""

    def __init__(self, name, options, params=START, dtype=torch.float64, names=False):
        self.params = {
            k: torch.nn.Parameter(torch.tensor(np.array(x)).to(dtype)) for k, x in params.items()
        }
        given = self.params.items() if names else self.params.values()
        self.optimizer = getattr(torch.optim, name)(list(given), **options)

    def step(self, steps):
        for t in steps:
            for k, p in self.params.items():
                p.grad = torch.tensor(GRADS[k][t]).to(p.dtype)
            self.optimizer.step()

    def numbers(self):
        return {k: p.detach().double().numpy() for k, p in self.params.items()}


class Ours:
    """An optimizer of this package over the same."""

    def __init__(self, name, options, params=START, dtype=np.float64):
        tree = {k: jnp.asarray(x, dtype) for k, x in params.items()}
        self.optimizer = getattr(optim, name)(tree, **options)

    def step(self, steps):
        for t in steps:
            params = self.optimizer.params
            self.optimizer.step({k: jnp.asarray(GRADS[k][t], p.dtype) for k, p in params.items()})

    def numbers(self):
        return {k: np.asarray(p, np.float64) for k, p in self.optimizer.params.items()}


def through_a_file(state):
    """Saves a state_dict, and loads it again."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.fixture(autouse=True)
def scalars(request):
    """Makes torch's own scalars (ASGD's eta) float64 where the parameters are."""
    with in_torch.precision("float64" if "x64" in request.fixturenames else "float32"):
        yield


def assert_same_run(ours, theirs):
    for k, x in theirs.numbers().items():
        assert distance(ours.numbers()[k], x) < 1e-12, k


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("names", [False, True], ids=["numbers", "names"])
@each
def test_from_torch(name, options, names):
    theirs = Torch(name, options, names=names)
    theirs.step(range(SAVED))
    ours = Ours(name, {}, theirs.numbers())
    ours.optimizer.load_state_dict(
        through_a_file(theirs.optimizer.state_dict()), names=None if names else NAMES
    )
    for side in (ours, theirs):
        side.step(range(SAVED, STEPS))
    assert_same_run(ours, theirs)


@pytest.mark.usefixtures("x64")
@each
def test_to_torch(name, options):
    ours = Ours(name, options)
    ours.step(range(SAVED))
    theirs = Torch(name, {}, ours.numbers())
    theirs.optimizer.load_state_dict(
        through_a_file(to_torch(ours.optimizer.state_dict(), names=NAMES))
    )
    for side in (ours, theirs):
        side.step(range(SAVED, STEPS))
    assert_same_run(ours, theirs)


@pytest.mark.usefixtures("x64")
@each
def test_roundtrip(name, options):
    ours = Ours(name, options)
    ours.step(range(SAVED))
    between = Torch(name, {}, ours.numbers())
    between.optimizer.load_state_dict(to_torch(ours.optimizer.state_dict(), names=NAMES))
    between.step(range(SAVED, SAVED + 5))
    again = Ours(name, {}, between.numbers())
    again.optimizer.load_state_dict(through_a_file(between.optimizer.state_dict()), names=NAMES)
    ours.step(range(SAVED, STEPS))
    again.step(range(SAVED + 5, STEPS))
    assert_same_run(ours, again)


@each
def test_a_state_in_bfloat16_is_read(name, options):
    theirs = Torch(name, options, dtype=torch.bfloat16)
    theirs.step(range(3))
    saved = theirs.optimizer.state_dict()
    ours = Ours(name, {}, theirs.numbers(), jnp.bfloat16)
    ours.optimizer.load_state_dict(saved, names=NAMES)
    written = ours.optimizer.state_dict()["state"]
    for i, entry in saved["state"].items():
        for key, x in entry.items():
            if x is not None:
                expected = x.double().numpy()
                np.testing.assert_allclose(written[i][key], expected, rtol=1e-6, err_msg=key)
    ours.step(range(3, 5))


@pytest.mark.usefixtures("x64")
def test_a_model_of_torch_is_matched_by_name():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)).double()
    theirs = torch.optim.Adam(model.named_parameters(), lr=0.01)
    x = torch.ones(4, 2, dtype=torch.float64)
    for _ in range(3):
        theirs.zero_grad()
        model(x).square().sum().backward()
        theirs.step()
    params: dict[str, dict[str, jax.Array]] = {}
    for name, p in model.named_parameters():  # weight first, and here bias
        layer, own = name.split(".")
        params.setdefault(layer, {})[own] = jnp.asarray(p.detach().numpy())
    ours = optim.Adam(params)
    ours.load_state_dict(theirs.state_dict())
    theirs.zero_grad()
    model(x).square().sum().backward()
    theirs.step()

    def loss(params):
        h = np.ones((4, 2))
        for layer in params.values():
            h = h @ layer["weight"].T + layer["bias"][None]
        return jnp.sum(h**2)

    ours.step(loss)
    for name, p in model.named_parameters():
        layer, own = name.split(".")
        assert distance(np.asarray(ours.params[layer][own]), p.detach().numpy()) < 1e-10, name


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR"])
def test_schedulers_cross_with_their_optimizers(name):
    arguments = {"StepLR": (3,), "CosineAnnealingLR": (20,)}[name]
    sides = [Torch("SGD", {"lr": 0.5}), Ours("SGD", {"lr": 0.5})]
    modules = [torch.optim.lr_scheduler, optim.lr_scheduler]
    schedulers = [
        getattr(m, name)(side.optimizer, *arguments) for m, side in zip(modules, sides, strict=True)
    ]
    for t in range(7):
        sides[0].step([t])
        schedulers[0].step()
    sides[1].optimizer.load_state_dict(sides[0].optimizer.state_dict(), names=NAMES)
    schedulers[1].load_state_dict(schedulers[0].state_dict())
    for t in range(7, 20):
        for side, scheduler in zip(sides, schedulers, strict=True):
            side.step([t])
            scheduler.step()
    assert schedulers[1].get_last_lr() == pytest.approx(schedulers[0].get_last_lr(), rel=1e-12)
    back = Torch("SGD", {"lr": 0.5})
    scheduler = getattr(torch.optim.lr_scheduler, name)(back.optimizer, *arguments)
    back.optimizer.load_state_dict(to_torch(sides[1].optimizer.state_dict(), names=NAMES))
    scheduler.load_state_dict(schedulers[1].state_dict())
    back.step([20])
    scheduler.step()
    sides[0].step([20])
    schedulers[0].step()
    assert scheduler.get_last_lr() == pytest.approx(schedulers[0].get_last_lr(), rel=1e-12)
