"""The classes of the table: each option reaches its rule, and all that is kept is saved."""

import inspect
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.optim.classes import recent

from .. import problem
from .makers import grads

BETAS, THREE = (0.8, 0.95), (0.8, 0.95, 0.97)

ROWS = {
    "ScheduleFreeAdamW": (
        {"lr": 0.02, "betas": BETAS, "eps": 1e-4, "weight_decay": 0.1, "warmup_steps": 3},
        lambda: fo.schedule_free_adamw(0.02, 3, *BETAS, 1e-4, 0.1),
    ),
    "ScheduleFreeSGD": (
        {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.1, "warmup_steps": 3, "r": 0.5},
        lambda: fo.schedule_free_sgd(0.1, 3, 0.8, 0.1, r=0.5),
    ),
    "ScheduleFreeRAdam": (
        {"lr": 0.02, "betas": BETAS, "silent_sgd_phase": False},
        lambda: fo.schedule_free_radam(0.02, *BETAS, silent_sgd_phase=False),
    ),
    "Prodigy": (
        {"lr": 0.5, "betas": BETAS, "d0": 1e-2, "d_coef": 2.0, "use_bias_correction": True},
        lambda: fo.prodigy(0.5, BETAS, None, 1e-8, 1e-2, 2.0, bias_correction=True),
    ),
    "DAdaptAdam": (
        {"lr": 0.5, "betas": BETAS, "d0": 1e-2, "growth_rate": 1.5},
        lambda: fo.dadapt_adamw(0.5, BETAS, estim_lr0=1e-2, growth_rate=1.5),
    ),
    "ADOPT": (
        {"lr": 0.02, "betas": BETAS, "eps": 1e-3, "weight_decay": 0.1, "decouple": True},
        lambda: fo.adopt(0.02, *BETAS, 1e-3, weight_decay=0.1),
    ),
    "AdEMAMix": (
        {"lr": 0.02, "betas": THREE, "alpha": 3.0, "beta3_warmup": 5, "weight_decay": 0.1},
        lambda: fo.ademamix(0.02, *THREE, 3.0, weight_decay=0.1, b3_warmup=5),
    ),
    "StableAdamW": (
        {"lr": 0.02, "betas": BETAS, "weight_decay": 0.1, "eps": 1e-4},
        lambda: fo.stable_adamw(0.02, *BETAS, 1e-4, weight_decay=0.1),
    ),
    "AdaBelief": (
        {"lr": 0.02, "betas": BETAS, "eps": 1e-8, "weight_decay": 0.1},
        lambda: fo.adabelief(0.02, *BETAS, 1e-8, weight_decay=0.1),
    ),
    "AdaBound": (
        {"lr": 0.02, "betas": BETAS, "final_lr": 0.05, "gamma": 0.1, "weight_decay": 0.1},
        lambda: fo.adabound(0.02, *BETAS, 1e-8, 0.05, 0.1, 0.1),
    ),
    "Adan": (
        {"lr": 0.02, "betas": THREE, "eps": 1e-4, "weight_decay": 0.1},
        lambda: fo.adan(0.02, *THREE, 1e-4, 0.0, 0.1),
    ),
    "LaProp": (
        {"lr": 0.02, "betas": BETAS, "eps": 1e-4, "weight_decay": 0.1},
        lambda: fo.laprop(0.02, *BETAS, 1e-4, weight_decay=0.1),
    ),
    "MADGRAD": (
        {"lr": 0.02, "momentum": 0.8, "weight_decay": 0.1, "eps": 1e-3},
        lambda: fo.madgrad(0.02, 0.8, 0.1, 1e-3),
    ),
    "LAMB": (
        {"lr": 0.02, "betas": BETAS, "eps": 1e-4, "weight_decay": 0.1},
        lambda: fo.lamb(0.02, *BETAS, 1e-4, weight_decay=0.1),
    ),
    "SophiaG": ({"lr": 0.02, "betas": BETAS, "rho": 0.5, "bs": 4, "weight_decay": 0.1}, None),
}
"""Class -> options, and the transformation with the same numbers."""

each = pytest.mark.parametrize("name", ROWS)


def made(name, **others):
    options, _ = ROWS[name]
    return getattr(optim, name)(problem.arrays(np.float32), **{**options, **others})


def stepped(opt, numbers):
    for i in numbers:
        if isinstance(opt, optim.SophiaG) and i % 2 == 0:
            opt.update_hessian(grads(50 + i))
        opt.step(grads(i))
    return opt


def kept(opt):
    """Returns the fields of a state that later steps read: all but the metrics of the last step."""
    (state,) = opt.state
    links = state._asdict().items()
    return {(i, k): x for i, s in links for k, x in s._asdict().items() if k != "metrics"}


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_table_has_all_classes():
    assert set(ROWS) == set(recent.__all__) <= set(optim.__all__)


@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name][1]])
def test_a_class_has_the_numbers_of_its_rule(name):
    tx, params = ROWS[name][1](), problem.arrays(np.float32)
    state = tx.init(params)
    for i in range(6):
        updates, state = tx.update(grads(i), state, params)
        params = fo.apply_updates(params, updates)
    found = stepped(made(name), range(6)).params
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6), found, params)


@each
def test_all_that_is_kept_survives_a_state_dict(name):
    opt = stepped(made(name), range(4))
    saved = opt.state_dict()
    text = json.dumps(saved, default=lambda x: np.asarray(x).tolist())
    for data in (saved, json.loads(text)):
        other = made(name, lr=0.7)
        other.params = opt.copy_params()
        other.load_state_dict(data)
        assert other.param_groups[0]["lr"] == ROWS[name][0]["lr"]
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), kept(other), kept(opt)
        )
        assert_equal(
            stepped(other, [4]).params, stepped(pickle.loads(pickle.dumps(opt)), [4]).params
        )


@each
def test_a_loaded_state_that_lacks_an_entry_is_refused(name):
    saved = stepped(made(name), range(2)).state_dict()
    entry = sorted(saved["state"][0])[0]
    del saved["state"][0][entry]
    with pytest.raises(ValueError, match=f"has no entry '{entry}'"):
        made(name).load_state_dict(saved)


@pytest.mark.parametrize(
    # One of each way to keep a state: a point, an estimate over all parameters, a rule with a
    # schedule, plain slots, and slots that are updated apart. Groups are kept apart by one code.
    "name",
    ["ScheduleFreeAdamW", "Prodigy", "AdEMAMix", "LAMB", "SophiaG"],
)
def test_groups_are_optimizers_of_their_own(name):
    params, kind = problem.arrays(np.float32), getattr(optim, name)
    rates = dict(zip(params, (0.05, 0.01), strict=True))
    groups = [{"params": {k: v}, "lr": rates[k]} for k, v in params.items()]
    opt = kind(groups, **ROWS[name][0])
    alone = [kind({k: v}, **{**ROWS[name][0], "lr": rates[k]}) for k, v in params.items()]
    for i in range(3):
        opt.step([{k: v} for k, v in grads(i).items()])
        for one, (k, v) in zip(alone, grads(i).items(), strict=True):
            one.step({k: v})
    for found, one in zip(opt.params, alone, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, one.params)


@each
def test_an_edit_of_the_learning_rate_compiles_nothing(name):
    opt = stepped(made(name), range(2))
    program = opt._compiled().step
    opt.param_groups[0]["lr"] = 0.013
    opt.step(grads(2))
    assert opt._compiled().step is program or opt._compiled().step == program


@each
def test_a_signature_shows_all_options(name):
    kind = getattr(optim, name)
    names = [*inspect.signature(kind).parameters]
    assert names[0] == "params"
    assert {"lr", "maximize", *ROWS[name][0]} <= set(names)
    assert kind.__doc__
    with pytest.raises(TypeError, match=rf"{name}: .*'betta'"):
        kind([jnp.ones(2)], betta=1)
    with pytest.raises(ValueError, match=f"{name}: lr must be in "):
        kind([jnp.ones(2)], lr=-1.0)


@each
def test_maximizing_is_minimizing_the_negative(name):
    one, other = made(name, maximize=True), made(name)
    for i in range(3):
        one.step(jax.tree.map(jnp.negative, grads(i)))
        other.step(grads(i))
    assert_equal(one.params, other.params)


@pytest.mark.parametrize("name", ["ScheduleFreeAdamW", "ScheduleFreeSGD", "ScheduleFreeRAdam"])
def test_schedule_free_classes_evaluate_at_the_average(name):
    opt = stepped(made(name), range(4))
    expected = fo.schedule_free_eval_params(opt.state[0], opt.params)
    assert_equal(opt.eval_params(), expected)
    assert any(jnp.any(expected[k] != opt.params[k]) for k in expected)


def test_others_evaluate_where_they_train():
    opt = stepped(made("ADOPT"), range(2))
    assert_equal(opt.eval_params(), opt.params)


def test_sophia_steps_as_its_authors_do():
    opt, h, m, p = optim.SophiaG([jnp.zeros(3)], lr=0.1, rho=0.5, bs=4), 0.0, 0.0, np.zeros(3)
    rng = np.random.default_rng(0)
    for i in range(8):
        g, drawn = rng.standard_normal((2, 3))
        if i % 3 == 0:
            h = 0.99 * h + 0.01 * drawn**2
            opt.grads = [jnp.asarray(drawn, jnp.float32)]
            opt.update_hessian()
        p = p * (1 - 0.1 * 0.1)
        m = 0.965 * m + 0.035 * g
        p = p - 0.1 * np.sign(m) * np.minimum(np.abs(m) / (0.5 * 4 * h + 1e-15), 1)
        opt.step([jnp.asarray(g, jnp.float32)])
    np.testing.assert_allclose(opt.params[0], p, rtol=1e-5, atol=1e-6)


def test_sophia_averages_the_parts_of_complex_gradients():
    opt = optim.SophiaG([jnp.zeros(1, jnp.complex64)], betas=(0.9, 0.0))
    opt.update_hessian([jnp.array([2.0 - 3.0j])])
    assert opt.state[0].sophia_step_of_examples.nu[0][0] == 4 + 9j


def test_sophia_without_gradients_says_where_they_come_from():
    with pytest.raises(ValueError, match=r"there are no gradients\. Call backward"):
        made("SophiaG").update_hessian()
