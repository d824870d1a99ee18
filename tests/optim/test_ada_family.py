"""Options and state entries that only Adagrad, Adadelta, Rprop or ASGD have."""

import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim

W = {"w": jnp.array([1.0, 2.0])}
G = {"w": jnp.array([3.0, -0.5])}


def test_adagrad_has_its_state_before_the_first_step():
    optimizer = optim.Adagrad({"a": jnp.ones(2), "b": jnp.ones(())}, initial_accumulator_value=0.25)
    for done in (0.0, 1.0):
        entries = optimizer.state_dict()["state"]
        assert [set(entry) for entry in entries.values()] == [{"step", "sum"}] * 2
        assert [entry["step"] for entry in entries.values()] == [done, 0.0]
        optimizer.step({"a": jnp.ones(2), "b": None})
    assert entries[0]["sum"].tolist() == [1.25, 1.25]
    assert entries[1]["sum"] == 0.25


def test_a_complex_sum_starts_in_both_parts():
    optimizer = optim.Adagrad({"w": jnp.ones(1, complex)}, initial_accumulator_value=0.25)
    assert optimizer.state_dict()["state"][0]["sum"] == 0.25 + 0.25j


def test_a_group_may_have_its_own_initial_value():
    groups = [{"params": W}, {"params": jnp.ones(1), "initial_accumulator_value": 4.0}]
    entries = optim.Adagrad(groups).state_dict()["state"]
    assert [entry["sum"][0] for entry in entries.values()] == [0.0, 4.0]


def test_an_adagrad_that_has_made_no_step_is_loaded():
    saved = optim.Adagrad(W, lr=0.5, initial_accumulator_value=7.0).state_dict()
    optimizer = optim.Adagrad(W)
    optimizer.load_state_dict(saved)
    optimizer.step(G)
    assert optimizer.params["w"][0] == 1 - 0.5 * 3 / 4
    assert optimizer.state_dict()["state"][0]["step"] == 1


@pytest.mark.usefixtures("x64")
def test_eta_and_mu_of_asgd_are_numbers_in_the_precision_of_the_computation():
    optimizer = optim.ASGD(W, lr=0.1, lambd=0.1, t0=0)
    for _ in range(3):
        optimizer.step(G)
    entry = optimizer.state_dict()["state"][0]
    assert {k: np.shape(v) for k, v in entry.items()} == {
        "step": (),
        "eta": (),
        "mu": (),
        "ax": (2,),
    }
    np.testing.assert_allclose(entry["eta"], 0.1 / (1 + 0.1 * 0.1 * 3) ** 0.75, rtol=1e-15)
    np.testing.assert_allclose(entry["mu"], 1 / 3, rtol=1e-15)


def test_a_number_of_a_parameter_that_is_an_array_is_refused():
    optimizer = optim.ASGD(W)
    optimizer.step(G)
    saved = optimizer.state_dict()
    saved["state"][0]["eta"] = np.ones(2)
    with pytest.raises(ValueError, match=r"'w': 'eta' has shape \(2,\), and is one number"):
        optim.ASGD(W).load_state_dict(saved)


def test_a_scheduler_may_set_the_first_step_of_rprop():
    optimizer = optim.Rprop(W, lr=0.5)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.25 ** (1 + epoch))
    for expected in ([0.875, 2.125], [0.725, 2.275]):
        optimizer.step(G)
        scheduler.step()
        np.testing.assert_allclose(optimizer.params["w"], expected, rtol=1e-6)


BAD = [
    (optim.Adagrad, {"lr": -0.1}, "lr"),
    (optim.Adagrad, {"lr_decay": -0.5}, "lr_decay"),
    (optim.Adagrad, {"weight_decay": -0.5}, "weight_decay"),
    (optim.Adagrad, {"initial_accumulator_value": -1.0}, "initial_accumulator_value"),
    (optim.Adagrad, {"eps": -1.0}, "eps"),
    (optim.Adadelta, {"lr": -0.1}, "lr"),
    (optim.Adadelta, {"rho": 1.1}, "rho"),
    (optim.Adadelta, {"eps": -1.0}, "eps"),
    (optim.Adadelta, {"weight_decay": -0.5}, "weight_decay"),
    (optim.Rprop, {"lr": -0.1}, "lr"),
    (optim.Rprop, {"etas": (1.0, 1.2)}, r"etas\[0\]"),
    (optim.Rprop, {"etas": (0.5, 0.9)}, r"etas\[1\]"),
    (optim.ASGD, {"lr": -0.1}, "lr"),
    (optim.ASGD, {"weight_decay": -0.5}, "weight_decay"),
]


@pytest.mark.parametrize(("make", "options", "name"), BAD)
def test_invalid_options_raise_the_same_kind_of_error_as_in_torch(make, options, name):
    with pytest.raises(ValueError, match=rf"^{make.__name__}: {name} must be in"):
        make(W, **options)
    with pytest.raises(ValueError, match="Tensor lr must be 1-element"):
        make(W, lr=jnp.ones(2))


def test_etas_and_step_sizes_are_pairs():
    for options in ({"etas": 0.5}, {"step_sizes": 0.5}):
        with pytest.raises(TypeError, match=rf"Rprop: {next(iter(options))} must be a pair"):
            optim.Rprop(W, **options)
    with pytest.raises(ValueError, match="etas must be two numbers, got 3"):
        optim.Rprop(W, etas=(0.5, 1.2, 2.0))
