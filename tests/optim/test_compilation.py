"""Which calls and edits compile a program: editing a number never does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from .. import problem
from ..compiling import compilations
from ..trees import assert_same
from .makers import MAKERS, each, grads, quadratic, steps

NUMBERS = {
    "SGD-nesterov": {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1, "maximize": True},
    "SGD-momentum": {"lr": 0.01, "momentum": 0.0, "dampening": 0.1, "weight_decay": 0.1},
    "Adam": {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.0, "maximize": True},
    "AdamW": {"lr": 0.01, "betas": (0.0, 0.0), "eps": 1e-3, "weight_decay": 0.2, "maximize": True},
    "RMSprop-full": {"lr": 0.01, "alpha": 0.5, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.1},
    "Lion": {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.1, "maximize": True},
    "Optimizer": {"learning_rate": 0.01, "b1": 0.5, "max_norm": 2.0, "weight_decay": 0.1},
}


def test_compilations_are_seen():
    # This step compiles the programs that all SGDs share.
    optim.SGD({"heard": jnp.ones(18)}).step({"heard": jnp.ones(18)})
    optimizer = optim.SGD({"unheard": jnp.ones(17)})
    with compilations() as found:
        optimizer.step({"unheard": jnp.ones(17)})
    assert found == ["jit(optimizer_step)"]


@pytest.fixture(scope="module")
def empty_caches():
    """Drops all programs, because JAX could drop one of an earlier test during one of these."""
    jax.clear_caches()


@pytest.mark.usefixtures("empty_caches")
@pytest.mark.parametrize("name", NUMBERS)
def test_editing_a_number_compiles_nothing(name):
    optimizer = MAKERS[name](problem.arrays())
    steps(optimizer, range(2))
    optimizer.minimize(quadratic, 1.0)
    gradients = [grads(i) for i in range(len(NUMBERS[name]))]
    with compilations() as found:
        for g, (option, value) in zip(gradients, NUMBERS[name].items(), strict=True):
            optimizer.param_groups[0][option] = value
            optimizer.step(g)
            optimizer.minimize(quadratic, 1.0)
    assert found == []


@pytest.mark.parametrize("name", NUMBERS)
def test_every_edited_number_acts(name):
    b = steps(MAKERS[name](problem.arrays()), range(9))
    for option, value in NUMBERS[name].items():
        edited = MAKERS[name](problem.arrays())
        edited.param_groups[0][option] = value
        a = steps(edited, range(9))
        assert any((a[k] != b[k]).any() for k in a), option
        assert edited.param_groups[0][option] == value


@pytest.mark.parametrize("name", [k for k in NUMBERS if k != "Optimizer"])
def test_an_edited_number_is_that_of_the_constructor(name):
    cls, options = getattr(optim, name.split("-")[0]), NUMBERS[name]
    first = MAKERS[name](problem.arrays())
    made = cls(problem.arrays(), **{**_options(first), **options})
    first.param_groups[0].update(options)
    assert_same(steps(first, range(3)), steps(made, range(3)))


def _options(optimizer):
    return optimizer.param_groups[0].options


def test_alternating_kinds_of_values_compile_nothing():
    optimizer = optim.AdamW(problem.arrays())
    steps(optimizer, range(2))
    with compilations() as found:
        for lr in (1e-2, np.float32(1e-3), jnp.float32(1e-4), 0, np.ones(1)):
            optimizer.param_groups[0]["lr"] = lr
            optimizer.step(jax.tree.map(np.asarray, optimizer.params))
    assert found == []


def test_optimizers_of_one_structure_share_a_program():
    steps(optim.Adam(problem.arrays(), lr=0.1), range(2))
    gradients = grads(0)
    another = optim.Adam(problem.arrays(), lr=0.2, betas=(0.5, 0.9), weight_decay=0.1)
    with compilations() as found:
        another.step(gradients)
        another.step(gradients)
    assert found == []


STATIC = [
    (optim.SGD, {"momentum": 0.9}, "nesterov", True),
    (optim.SGD, {}, "momentum", 0.9),
    (optim.Adam, {}, "amsgrad", True),
    (optim.Adam, {"weight_decay": 0.1}, "decoupled_weight_decay", True),
    (optim.RMSprop, {}, "centered", True),
    (optim.RMSprop, {}, "momentum", 0.9),
    (optim.AdamW, {}, "lr", fo.linear_schedule(0.1, 0.0, 10)),
]


@pytest.mark.parametrize(
    "i", range(len(STATIC)), ids=lambda i: f"{STATIC[i][0].__name__}-{STATIC[i][2]}"
)
def test_an_option_that_shapes_the_program_compiles_one_more(i):
    cls, options, option, value = STATIC[i]
    params = {"w": jnp.ones(20 + i)}  # a shape for which no program is compiled yet
    optimizer = cls(params, **options)
    optimizer.step(params)
    before = entry(optimizer)
    optimizer.param_groups[0][option] = value
    assert_same({k: entry(optimizer)[k] for k in before}, before)
    with compilations() as found:
        for _ in range(3):
            optimizer.step(params)
    assert found.count("jit(optimizer_step)") == 1
    assert float(entry(optimizer).get("step", 4.0)) == 4.0


def entry(optimizer):
    """Returns the state of the first parameter, if it has any."""
    return optimizer.state_dict()["state"].get(0, {})


def test_flags_without_effect_compile_nothing():
    optimizer = optim.Adam(problem.arrays())
    steps(optimizer, range(2))
    gradients = grads(0)
    optimizer.param_groups[0]["lr"] = 0.01  # which compiles how an edit is written
    optimizer.step(gradients)
    with compilations() as found:
        for flag in ("foreach", "fused", "capturable"):
            optimizer.param_groups[0][flag] = True
            optimizer.step(gradients)
    assert found == []


def test_a_hundred_groups_compile_once():
    groups = [{"params": [i * jnp.ones(3) for _ in range(2)], "lr": 0.01 * i} for i in range(100)]
    optimizer = optim.SGD(groups)
    ones = jax.tree.map(jnp.ones_like, optimizer.params)
    with compilations() as found:
        for i in range(3):
            optimizer.param_groups[7]["lr"] = float(i)
            optimizer.step(ones)
    assert found.count("jit(optimizer_step)") == 1
    np.testing.assert_allclose(optimizer.params[99][0], 99 - 3 * 0.99, rtol=1e-6)
    np.testing.assert_allclose(optimizer.params[7][1], 7 - (0 + 1 + 2), rtol=1e-6)


def test_weakly_typed_parameters_compile_once():
    optimizer = optim.SGD({"w": jnp.full(19, 0.5)})
    with compilations() as found:
        for _ in range(2):
            optimizer.step({"w": jnp.ones(19)})
            optimizer.params = {"w": jnp.full(19, 0.5)}
    assert found.count("jit(optimizer_step)") == 1


@each
def test_a_scheduler_compiles_nothing(make):
    optimizer = make(problem.arrays())
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    steps(optimizer, range(2))
    gradients = grads(0)
    with compilations() as found:
        for _ in range(3):
            scheduler.step()
            optimizer.step(gradients)
    assert found == []


@pytest.mark.parametrize("kind", ["method", "callable", "unhashable"])
def test_a_loss_of_any_kind_compiles_once(kind):
    class Loss:
        def __init__(self):
            self.scale = jnp.ones(())

        def __call__(self, p):
            return jnp.sum(p["w"]) * self.scale

    class Unhashable(Loss):
        __hash__ = None

    optimizer, loss = (
        optim.SGD({"w": jnp.ones(21)}),
        (Unhashable if kind == "unhashable" else Loss)(),
    )
    with compilations() as found:
        for _ in range(3):
            optimizer.minimize(loss.__call__ if kind == "method" else loss)
    assert found.count("jit(optimizer_minimize)") == 1


def test_functions_made_in_a_loop_warn_once_at_the_users_line():
    opt = optim.SGD({"w": jnp.ones(1)}, lr=0.1)

    def loss(i):
        return lambda p: jnp.sum(p["w"]) * i

    for i in range(3):
        opt.backward(loss(i))
    with pytest.warns(UserWarning, match=r"4 functions made at line \d+ .*minimize") as found:
        opt.backward(loss(3))
    opt.backward(loss(4))
    assert [w.filename for w in found] == [__file__]
