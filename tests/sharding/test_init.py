"""`init` on meshes of every kind: the state is sharded as its parameters."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.sharding import state_shardings

P = PartitionSpec
SPECS = {"w": P("x", "y"), "b": P("y")}
SHAPES = {
    "w": jax.ShapeDtypeStruct((8, 4), np.float32),
    "b": jax.ShapeDtypeStruct((4,), np.float32),
}

TRANSFORMATIONS = {
    "adamw": fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(fo.linear_schedule(1.0, 0.0, 10))),
    "factored": fo.scale_by_factored_rms(min_dim_size_to_factor=2),
    "lbfgs": fo.scale_by_lbfgs(memory_size=2),
    "sm3": fo.sm3(0.1),
    "wrapped": fo.lookahead(fo.MultiSteps(fo.apply_if_finite(fo.adam(1e-3), 3), 2), 5, 0.5),
    "partition": fo.partition({"w": fo.muon(1e-3), "b": fo.adam(1e-3)}, {"w": "w", "b": "b"}),
}
each_tx = pytest.mark.parametrize("tx", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)


def sharded(mesh):
    return {
        k: jax.device_put(np.ones(SHAPES[k].shape, np.float32), NamedSharding(mesh, spec))
        for k, spec in SPECS.items()
    }


def assert_shardings(state, shardings):
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    for (path, x), place in zip(flat, jax.tree.leaves(shardings), strict=True):
        assert x.sharding.is_equivalent_to(place, x.ndim), jax.tree_util.keystr(path)


@each_tx
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_on_a_mesh_of_auto_axes(tx, wrap, mesh):
    shardings = state_shardings(tx, SHAPES, SPECS, mesh)
    assert_shardings(wrap(tx.init)(sharded(mesh)), shardings)


@each_tx
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_on_a_mesh_of_explicit_axes(tx, wrap, mesh):
    explicit = mesh.update(axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(explicit):
        shardings = state_shardings(tx, SHAPES, SPECS, explicit)
        assert_shardings(wrap(tx.init)(sharded(explicit)), shardings)


@pytest.mark.parametrize("name", ["adamw", "factored", "sm3", "wrapped"])
def test_an_update_keeps_all_types_on_a_mesh_of_explicit_axes(name, mesh):
    tx = TRANSFORMATIONS[name]
    explicit = mesh.update(axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(explicit):
        params = sharded(explicit)
        state = tx.init(params)
        after = jax.eval_shape(tx.update, params, state, params)[1]
        assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)


@pytest.mark.parametrize("name", sorted({*TRANSFORMATIONS} - {"factored"}))
def test_in_shard_map_each_device_makes_its_part(name, mesh):
    """`check_vma` is off: states computed from a device's gradients vary from the start."""
    tx = TRANSFORMATIONS[name]
    shardings = state_shardings(tx, SHAPES, SPECS, mesh)
    specs = jax.tree.map(lambda sharding: sharding.spec, shardings)
    init = jax.shard_map(tx.init, mesh=mesh, in_specs=(SPECS,), out_specs=specs, check_vma=False)
    init = jax.jit(init)
    assert_shardings(init(sharded(mesh)), shardings)


def test_rows_in_shard_map_are_those_of_the_part(mesh):
    """JAX sees that they differ from device to device, and asks for specs that say so."""
    tx = TRANSFORMATIONS["factored"]
    shardings = state_shardings(tx, SHAPES, SPECS)
    init = jax.shard_map(tx.init, mesh=mesh, in_specs=(SPECS,), out_specs=shardings)
    with pytest.raises(ValueError, match="require replication which can't be statically inferred"):
        init(sharded(mesh))
