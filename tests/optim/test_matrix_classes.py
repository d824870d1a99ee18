"""Adafactor and Muon refuse the arguments that torch refuses, and do not divide by zero."""

import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim

MATRIX = {"w": jnp.ones((2, 3))}

REFUSED = [
    ("Adafactor", {"lr": -1.0}, "lr must be in"),
    ("Adafactor", {"beta2_decay": 0.8}, "beta2_decay should be <= 0 but is: 0.8"),
    ("Adafactor", {"eps": (-1e-30, 1e-3)}, r"eps\[0\] must be in"),
    ("Adafactor", {"eps": (None, -1e-3)}, r"eps\[1\] must be in"),
    ("Adafactor", {"d": 0.0}, "clipping threshold d should be >= 1 but is: 0.0"),
    ("Adafactor", {"weight_decay": -0.1}, "weight_decay must be in"),
    ("Muon", {"lr": -1.0}, "lr must be in"),
    ("Muon", {"momentum": -0.1}, "momentum must be in"),
    ("Muon", {"weight_decay": -0.1}, "weight_decay must be in"),
    ("Muon", {"ns_steps": 100}, "ns_steps must be an integer from 0, and less than 100"),
    ("Muon", {"ns_coefficients": (1.0, 2.0)}, "a tuple of exactly 3 values"),
    ("Muon", {"adjust_lr_fn": "arbitrary"}, "adjust_lr_fn must be one of None, 'original'"),
]


@pytest.mark.parametrize(("name", "options", "text"), REFUSED)
def test_an_option_out_of_range_is_refused(name, options, text):
    with pytest.raises(ValueError, match=f"^{name}: .*{text}"):
        getattr(optim, name)(MATRIX, **options)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2)])
def test_muon_refuses_all_but_matrices(shape):
    text = "Muon: group 0: Muon only supports 2D parameters .* at 'b'. Give it to AdamW"
    with pytest.raises(ValueError, match=text):
        optim.Muon({**MATRIX, "b": jnp.ones(shape)})
    optimizer = optim.Muon(MATRIX)
    with pytest.raises(ValueError, match="group 1: Muon only supports 2D"):
        optimizer.add_param_group({"params": {"b": jnp.ones(shape)}})


@pytest.mark.parametrize("name", ["Adafactor", "Muon"])
def test_complex_parameters_are_refused_at_the_step(name):
    params = {"w": jnp.ones((2, 2), np.complex64)}
    optimizer = getattr(optim, name)(params)
    with pytest.raises(RuntimeError, match=f"{name} does not support complex parameters"):
        optimizer.step(params)


@pytest.mark.parametrize("name", ["Adafactor", "Muon"])
def test_a_matrix_without_elements_does_not_change(name):
    optimizer = getattr(optim, name)({"none": jnp.ones((3, 0)), **MATRIX})
    optimizer.step({"none": jnp.ones((3, 0)), **MATRIX})
    assert optimizer.params["none"].shape == (3, 0)
    assert jnp.isfinite(optimizer.params["w"]).all()


def test_entries_of_another_shape_are_not_loaded():
    optimizer = optim.Adafactor({"b": jnp.ones(3), **MATRIX})
    optimizer.step({"b": jnp.ones(3), **MATRIX})
    saved = optimizer.state_dict()
    assert [sorted(entry) for entry in saved["state"].values()] == [
        ["step", "variance"],
        ["col_var", "row_var", "step"],
    ]
    saved["state"][1]["row_var"] = np.ones((2, 3))
    saved["state"][0]["col_var"] = np.ones(3)
    with pytest.raises(ValueError, match=r"'w': 'row_var' has shape \(2, 3\), here \(2, 1\)") as e:
        optimizer.load_state_dict(saved)
    assert "'b' has an entry 'col_var', which is not kept here" in str(e.value)
