"""What any rule does, each of the new ones does too: on devices, packed, in few bits, restored."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import functional_optim as fo

OPTIMIZERS = {
    "acprop": fo.acprop(1e-2),
    "adabound": fo.adabound(1e-2),
    "adam_hd": fo.adam_hd(1e-2, hypergrad_lr=1e-4),
    "adam_mini": fo.adam_mini(1e-2, blocks=(0,)),
    "adam_mini-joined": fo.adam_mini(1e-2, blocks=((0, 2),)),
    "ademamix": fo.ademamix(1e-2, b3_warmup=10, alpha_warmup=10),
    "adopt": fo.adopt(1e-2),
    "came": fo.came(1e-3),
    "cautious": fo.cautious(fo.adamw(1e-2)),
    "cautious_adamw": fo.cautious_adamw(1e-2),
    "cautious_lion": fo.cautious_lion(1e-3),
    "grokfast": fo.chain(fo.grokfast(), fo.sgd(1e-2)),
    "grokfast_ma": fo.chain(fo.grokfast_ma(window_size=2), fo.sgd(1e-2)),
    "hyperball": fo.chain(fo.scale_by_adam(), fo.hyperball(1e-2)),
    "laprop": fo.laprop(1e-2),
    "madgrad": fo.madgrad(1e-2),
    "mars": fo.mars(1e-2),
    "mars-lion": fo.mars(1e-3, base="lion"),
    "mars-shampoo": fo.mars(1e-2, base="shampoo"),
    "norm_constraint": fo.chain(fo.adam(1e-2), fo.norm_constraint(axis=0)),
    "sgd_hd": fo.sgd_hd(1e-2, momentum=0.9, hypergrad_lr=1e-4),
    "simplified_ademamix": fo.simplified_ademamix(1e-4),
    "spam": fo.spam(1e-2, delta_t=2),
    "stable_adamw": fo.stable_adamw(1e-2),
    "update_norm_floor": fo.chain(fo.scale_by_adam(), fo.update_norm_floor(), fo.sgd(1e-2)),
}

each = pytest.mark.parametrize("name", OPTIMIZERS)

SHAPES = {"w": (16, 64), "v": (16, 64), "u": (16, 64), "s": (16, 64), "b": (8,)}


def arrays(seed):
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.standard_normal(s), jnp.float32) for k, s in SHAPES.items()}


@functools.cache
def step_of(tx):
    """One program for all tests of a transformation: compiling takes nearly all of their time."""

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return fo.apply_updates(params, updates), state

    return step


def trained(tx, params, state, first=0, steps=3, place=lambda x: x):
    for t in range(first, first + steps):
        params, state = step_of(tx)(params, state, place(arrays(100 + t)))
    return params, state


def assert_near(a, b, tolerance=2e-5):
    for k in b:
        np.testing.assert_allclose(a[k], b[k], rtol=tolerance, atol=tolerance, err_msg=k)


@each
def test_on_eight_devices_the_numbers_are_those_of_one(name, mesh):
    tx, params = OPTIMIZERS[name], arrays(0)

    def place(tree):
        spec = {
            k: PartitionSpec("x", "y") if x.ndim == 2 else PartitionSpec() for k, x in tree.items()
        }
        return {k: jax.device_put(x, NamedSharding(mesh, spec[k])) for k, x in tree.items()}

    expected, _ = trained(tx, params, tx.init(params))
    sharded = place(params)
    found, _ = trained(tx, sharded, tx.init(sharded), place=place)
    assert_near(found, expected)


@each
def test_shardings_may_stand_in_types(name):
    axes = (jax.sharding.AxisType.Explicit,) * 2
    mesh, tx = jax.make_mesh((4, 2), ("x", "y"), axis_types=axes), OPTIMIZERS[name]

    def place(tree):
        kinds = {1: PartitionSpec(), 2: PartitionSpec("x", "y")}
        return {k: jax.device_put(x, NamedSharding(mesh, kinds[x.ndim])) for k, x in tree.items()}

    expected, _ = trained(tx, arrays(0), tx.init(arrays(0)), steps=2)
    with jax.set_mesh(mesh):
        params = place(arrays(0))
        found, _ = trained(tx, params, jax.jit(tx.init)(params), steps=2, place=place)
        assert found["w"].sharding.spec == PartitionSpec("x", "y")
    assert_near(found, expected)


@each
def test_packed_slots_give_the_same_numbers(name):
    tx, params = OPTIMIZERS[name], arrays(0)
    expected, _ = trained(tx, params, tx.init(params))
    packed = fo.packed(tx)
    found, state = trained(packed, params, packed.init(params))
    assert_near(found, expected)
    assert jax.tree.structure(state) == jax.tree.structure(packed.init(params))


@each
def test_a_saved_state_goes_on_as_the_run_did(name):
    tx, params = OPTIMIZERS[name], arrays(0)
    params, state = trained(tx, params, tx.init(params))
    saved = fo.to_state_dict(state)
    restored = fo.from_state_dict(tx.init(params), saved)
    expected, _ = trained(tx, params, state, first=3)
    found, _ = trained(tx, params, restored, first=3)
    assert_near(found, expected, 0)


HAVE_NO_MOMENTS = {"grokfast_ma", "madgrad"}


@each
def test_moments_in_eight_bits_train_nearly_as_those_in_32(name):
    tx, params = OPTIMIZERS[name], arrays(0)
    if name in HAVE_NO_MOMENTS:
        pytest.skip("it has no slots that are held in few bits")
    low = fo.low_bit_state(tx, min_size=256)
    state = low.init(params)
    expected, _ = trained(tx, params, tx.init(params), steps=1)
    found, state = trained(low, params, state, steps=1)
    assert_near(found, expected)
    found, _ = trained(low, found, state, first=1)
    assert all(bool(jnp.isfinite(x).all()) for x in found.values())


@each
def test_bfloat16_parameters_have_float32_slots(name):
    tx = OPTIMIZERS[name]
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), arrays(0))
    state = tx.init(params)
    kinds = {x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)}
    assert kinds == {jnp.dtype(jnp.float32)}
    grads = jax.tree.map(lambda x: x.astype(jnp.bfloat16), arrays(1))
    updates, _ = tx.update(grads, state, params)
    assert all(bool(jnp.isfinite(x).all()) for x in updates.values())
