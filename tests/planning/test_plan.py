"""Shardings and bytes per device are described for devices that do not exist."""

import math

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.sharding import state_shardings

from ..rules import cases, each_of, plain

P = PartitionSpec
MESH = AbstractMesh((4, 2), ("x", "y"))
PARAMS = {
    "b": jax.ShapeDtypeStruct((4,), jnp.float32),
    "w": jax.ShapeDtypeStruct((8, 4), jnp.bfloat16),
}
SPECS = {"b": P("x"), "w": P("x", "y")}


@each_of(plain(cases()))
def test_the_bytes_of_a_device_are_those_of_its_shards(case):
    tx = case.make()
    description = fo.describe(tx, PARAMS, SPECS, MESH)
    state, places = jax.eval_shape(tx.init, PARAMS), state_shardings(tx, PARAMS, SPECS, MESH)
    shards = jax.tree.map(lambda x, s: math.prod(s.shard_shape(x.shape)), state, places)
    own = jax.tree.map(lambda x, n: n * x.dtype.itemsize, state, shards)
    assert description.nbytes_on_a_device == sum(jax.tree.leaves(own))
    kept = [slot for leaf in description.leaves for link in leaf.links for slot in link.slots]
    assert sum(leaf.nbytes_on_a_device for leaf in description.leaves) == sum(
        slot.nbytes_on_a_device for slot in kept
    )
    assert all(slot.array.sharding.mesh == MESH for slot in kept)


def test_the_sharding_of_each_array_is_described():
    description = fo.describe(fo.chain(fo.clip(1.0), fo.adam(0.1)), PARAMS, SPECS, MESH)["w"]
    assert description.nbytes_on_a_device == 2 * 4 * (8 * 4) // 8
    assert "w: bfloat16[8, 4], P('x', 'y'), state 256 bytes (32 on a device)" in str(description)
    assert "mu float32[8, 4], P('x', 'y'), 128 bytes (16 on a device)" in str(description)


def test_links_within_wrappers_and_of_others_are_found_in_the_whole():
    tx = fo.chain(fo.clip(1.0), fo.MultiSteps(optax.chain(optax.trace(0.9)), 2))
    links = fo.describe(tx, PARAMS, SPECS, MESH)["w"].links
    specs = {s.name: s.array.sharding.spec for link in links for s in link.slots}
    assert specs == {"0.trace": P("x", "y"), "acc_grads": P("x", "y")}


def test_parameters_on_a_mesh_need_no_specs(mesh):
    params = {"w": jax.device_put(jnp.ones((8, 4)), NamedSharding(mesh, P("x", "y")))}
    assert fo.describe(fo.trace(0.9), params)["w"].nbytes_on_a_device == 8 * 4 * 4 // 8
    with pytest.raises(ValueError, match=r"describe: specs need a mesh. Pass mesh"):
        fo.describe(fo.trace(0.9), PARAMS, SPECS)
    with pytest.raises(ValueError, match=r"the spec at 'b' is P\('x', 'y'\), and .* has 1 axes"):
        fo.describe(fo.trace(0.9), PARAMS, P("x", "y"), MESH)


def test_paths_with_equal_ends_are_not_confused():
    params = {"a": {"b": jnp.ones(2)}, "b": jnp.ones(3)}
    links = fo.describe(fo.trace(0.9), params)["b"].links
    assert [slot.nbytes for slot in links[0].slots] == [12]
