"""Wrappers on meshes of both kinds: their shardings are known before, a step compiles once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.core.trees.placement import sharding_for
from functional_optim.sharding import state_shardings, zero1

from ..trees import assert_close

if jax.device_count() < 8:
    pytest.skip("needs eight devices; the host has them on CPU", allow_module_level=True)

P = PartitionSpec
SHAPES = {"w": (16, 64), "v": (1000, 16), "b": (8,)}
SPECS = {"w": P("x", "y"), "v": P("x"), "b": P("y")}
both_kinds = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)

MOMENTUM = fo.sgd(0.1, momentum=0.9)
"""Compiles faster than Adam, which is within the wrappers that do something with its two slots."""

AROUND = {
    "MultiSteps": fo.MultiSteps(MOMENTUM, 2),
    "apply_if_finite": fo.apply_if_finite(MOMENTUM, 2),
    "conditional": fo.conditionally_transform(MOMENTUM, lambda step: step > 0),
    "flatten": fo.flatten(fo.adam(0.1)),
    "flatten-averages": fo.flatten(fo.chain(fo.adam(0.1), fo.params_ema(0.9))),
    "kahan": fo.chain(fo.sgd(0.1), fo.kahan_summation()),
    "lookahead": fo.lookahead(MOMENTUM, 2, 0.5, reset_state=True),
    "loss_scale": fo.loss_scale(MOMENTUM),
    "low_bit": fo.low_bit_state(fo.adam(0.1), min_size=256),
    "low_bit-key": fo.low_bit_state(MOMENTUM, min_size=256, key=0),
    "low_bit-bfloat16": fo.low_bit_state(MOMENTUM, "bfloat16", min_size=256, key=0),
    "masked": fo.masked(MOMENTUM, lambda params: {k: k != "b" for k in params}),
    "muon": fo.muon(0.1, ns_steps=1),
    "packed": fo.packed(fo.adam(0.1)),
    "per_leaf_counts": fo.per_leaf_counts(fo.adam(0.1)),
    "sam": fo.sam(fo.adam(0.1), MOMENTUM),
    "sm3": fo.sm3(0.1),
    "snapshot": fo.chain(fo.snapshot("norm", fo.global_norm), MOMENTUM),
}


def mesh_of(kind):
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)


def arrays(mesh, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    whole = {k: jnp.asarray(rng.standard_normal(shape), dtype) for k, shape in SHAPES.items()}
    # As programs write them: another way of writing is another program.
    return {k: jax.device_put(x, sharding_for(x, mesh, SPECS[k])) for k, x in whole.items()}


JOINED = {"flatten", "flatten-averages", "sm3"}
"""On axes of the compiler, it may divide their vectors and covers in the first step."""


def step(params, states, grads):
    """Makes one step of each transformation, all with other parameters."""
    for name in params:
        updates, states[name] = AROUND[name].update(grads, states[name], params[name])
        params[name] = fo.apply_updates(params[name], updates)
    return params, states


@functools.cache
def trained(kind):
    """Returns the parameters after three steps, and the numbers of programs.

    The first number is of the joined transformations, and the second is of the others.
    """
    mesh = mesh_of(kind)
    p, grads = arrays(mesh), arrays(mesh, seed=1)
    trained, programs = {}, []
    for names in (JOINED, AROUND.keys() - JOINED):
        params, states = dict.fromkeys(names, p), {name: AROUND[name].init(p) for name in names}
        program = jax.jit(lambda *args: step(*args))
        for _ in range(3):
            params, states = program(params, states, grads)
        trained |= jax.device_get(params)
        programs.append(program._cache_size())
    return trained, programs


@both_kinds
def test_a_step_compiles_once(kind):
    of_joined, of_others = trained(kind)[1]
    assert of_others == 1
    assert of_joined == 1 or kind is AxisType.Auto


@pytest.mark.parametrize("name", AROUND)
def test_both_kinds_give_the_same_numbers(name):
    auto, explicit = (trained(kind)[0][name] for kind in (AxisType.Auto, AxisType.Explicit))
    assert_close(auto, explicit, rtol=1e-4, atol=1e-5)


@both_kinds
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", AROUND)
def test_the_shardings_of_a_state_are_known_before(name, dtype, kind):
    p = arrays(mesh_of(kind), dtype)
    known = state_shardings(AROUND[name], p)
    flat, _ = jax.tree_util.tree_flatten_with_path(AROUND[name].init(p))
    for (path, x), sharding in zip(flat, jax.tree.leaves(known), strict=True):
        assert x.sharding.is_equivalent_to(sharding, x.ndim), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", ["kahan", "low_bit", "MultiSteps", "sam", "lookahead", "packed"])
def test_every_slot_is_divided_over_replicas(name):
    """A device has an eighth of each array with as many elements as a parameter, in any dtype."""
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    shapes = {k: SHAPES[k] for k in ("w", "v")}
    p = {
        k: jax.device_put(jnp.ones(shape, jnp.bfloat16), NamedSharding(mesh, P()))
        for k, shape in shapes.items()
    }
    state = zero1(AROUND[name], mesh, "x").init(p)
    sizes = {int(np.prod(shape)) for shape in shapes.values()}
    slots = [x for x in jax.tree.leaves(state) if x.size in sizes]
    assert slots
    for x in slots:
        assert 8 * x.addressable_shards[0].data.size == x.size


@pytest.mark.parametrize(
    "tx", [fo.kahan_summation(), fo.master_remainder(), fo.master_weights()], ids=repr
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_parameter_without_elements_is_taken(tx, dtype):
    params = {"w": jnp.ones(3, dtype), "none": jnp.zeros((0,), dtype)}
    updates, state = tx.update(params, tx.init(params), params)
    assert updates["none"].shape == (0,)
    again, _ = tx.update(params, state, params)
    assert again["none"].shape == (0,)
