"""A run continues with another optimizer, and keeps the slots that both have."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.interop import safetensors
from functional_optim.sharding import state_shardings

from ..extras import need
from ..trees import assert_close, assert_same

SHAPES = {"dense": {"kernel": (8, 16), "bias": (16,)}, "head": {"kernel": (16, 8)}}
MATRICES = ["dense.kernel"]
OTHERS = ["dense.bias", "head.kernel"]
OPTIMIZERS = {
    "adamw": fo.adamw(0.01),
    "muon": fo.muon(0.02),
    "soap": fo.soap(0.003, precondition_frequency=2),
}
MEANS = {"muon": "muon_momentum.mu.", "soap": "scale_by_soap.mu."}


def arrays(seed, place=lambda x: x):
    rng = np.random.default_rng(seed)
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    draw = lambda s: place(jnp.asarray(rng.standard_normal(s), jnp.float32))  # noqa: E731
    return jax.tree.map(draw, SHAPES, is_leaf=is_shape)


@functools.cache
def step_of(name):
    return jax.jit(functools.partial(fo.apply_gradients, OPTIMIZERS[name]))


def trained(name, params, state, seeds, place=lambda x: x):
    for seed in seeds:
        params, state = step_of(name)(arrays(seed, place), state, params)
    return params, state


def switched(name, before, params, state):
    """Returns the state of another optimizer, with the slots that both optimizers have."""
    template, saved = OPTIMIZERS[name].init(params), fo.to_state_dict(state)
    matrices, mean = name if before == "adamw" else before, "scale_by_adam.mu."
    names = [k for k in {**saved, **fo.to_state_dict(template)} if k.startswith(MEANS[matrices])]
    rename = {k.replace(MEANS[matrices], mean): k for k in names}
    if before != "adamw":
        rename = {new: old for old, new in rename.items()}
    return fo.from_state_dict(template, saved, strict=False, rename=rename, hyperparams="template")


@pytest.mark.parametrize("name", MEANS)
def test_slots_that_both_optimizers_have_are_kept_on_the_way_back(name):
    params, state = trained("adamw", arrays(0), OPTIMIZERS["adamw"].init(arrays(0)), [1, 2, 3])
    saved = fo.to_state_dict(state)
    there, report = switched(name, "adamw", params, state)
    found = fo.to_state_dict(there)
    for path in OTHERS:
        for slot in ("mu", "nu"):
            key = f"scale_by_adam.{slot}.{path}"
            np.testing.assert_array_equal(found[key], saved[key])
    for path in MATRICES:
        np.testing.assert_array_equal(found[MEANS[name] + path], saved[f"scale_by_adam.mu.{path}"])
    assert not report.mismatched
    assert set(report.unexpected) == {f"scale_by_adam.nu.{path}" for path in MATRICES}
    assert found["scale_by_adam.count"] == 3
    # The new optimizer has its own numbers.
    rates = {"muon": 0.02, "soap": 0.003}
    assert found["scale_by_learning_rate.hyperparams.learning_rate"] == np.float32(rates[name])

    params, there = trained(name, params, there, [4, 5])
    found = fo.to_state_dict(there)
    back, report = switched("adamw", name, params, there)
    again = fo.to_state_dict(back)
    for path in OTHERS:
        for slot in ("mu", "nu"):
            key = f"scale_by_adam.{slot}.{path}"
            np.testing.assert_array_equal(again[key], found[key])
            assert not np.array_equal(found[key], saved[key])
    for path in MATRICES:
        np.testing.assert_array_equal(again[f"scale_by_adam.mu.{path}"], found[MEANS[name] + path])
        assert f"scale_by_adam.nu.{path}" in report.missing
    # Leaves without a second moment start over: their bias is corrected as in a new run.
    assert back.scale_by_adam.leaf_counts.tolist() == [5, 0, 5]
    after, _ = trained("adamw", params, back, [6])
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(after))


def mesh_of(n):
    return jax.make_mesh((n,), ("x",), axis_types=(AxisType.Auto,), devices=jax.devices()[:n])


def on_mesh(n):
    place = NamedSharding(mesh_of(n), PartitionSpec("x"))
    return lambda x: jax.device_put(x, place)


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("devices", [8, 2])
def test_a_state_of_eight_devices_continues_on_others(name, devices, tmp_path):
    need("safetensors")
    if jax.device_count() < 8:
        pytest.skip("needs eight devices")
    tx, here = OPTIMIZERS[name], on_mesh(8)
    params = arrays(0, here)
    params, state = trained(name, params, tx.init(params), [1, 2, 3], here)
    safetensors.save(tmp_path / "run.safetensors", params=params, state=state)

    there = on_mesh(devices)
    like = arrays(0, there)
    # On the same devices, each array is where it was: the first step may have moved some.
    places = state_shardings(tx, like)
    places = jax.tree.map(lambda x: x.sharding, state) if devices == 8 else places
    shapes = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state, places
    )
    saved = safetensors.load(tmp_path / "run.safetensors", params=like, state=shapes)
    assert_same(jax.device_get((saved.params, saved.state)), jax.device_get((params, state)))
    expected = trained(name, params, state, [4, 5], here)
    found = trained(name, saved.params, saved.state, [4, 5], there)
    if devices == 8:
        assert_same(jax.device_get(found), jax.device_get(expected))
    else:
        assert_close(jax.device_get(found[0]), jax.device_get(expected[0]), rtol=1e-3, atol=1e-5)
