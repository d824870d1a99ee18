"""The shardings of a state, predicted from the shapes of the parameters."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.sharding import state_shardings

from .. import problem
from ..rules import cases, cases_with_extra, matrices, plain

P = PartitionSpec
SHAPES = {"w": (8, 4), "b": (4,)}
SPECS = {"w": P("x", "y"), "b": P("y")}
CASES = {case.name: case for case in plain([*cases(), *cases_with_extra()])}


def shapes(dtype=np.float32):
    return {k: jax.ShapeDtypeStruct(shape, dtype) for k, shape in SHAPES.items()}


@functools.cache
def arrays(mesh):
    return {
        k: jax.device_put(np.ones(shape, np.float32), NamedSharding(mesh, SPECS[k]))
        for k, shape in SHAPES.items()
    }


def differing(state, shardings):
    """Returns the paths of the arrays whose sharding is another than predicted."""
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    return [
        jax.tree_util.keystr(path)
        for (path, x), s in zip(flat, jax.tree.leaves(shardings), strict=True)
        if not x.sharding.is_equivalent_to(s, x.ndim)
    ]


@functools.cache
def with_predicted_shardings(name, mesh):
    """Makes the transformation of a case, and predicts the shardings of its state."""
    tx = CASES[name].make()
    return tx, state_shardings(tx, shapes(), SPECS, mesh)


@pytest.mark.parametrize("name", CASES)
def test_init_gives_the_predicted_shardings(name, mesh):
    tx, shardings = with_predicted_shardings(name, mesh)
    assert differing(tx.init(arrays(mesh)), shardings) == []


@pytest.mark.parametrize("name", CASES)
def test_a_slot_of_the_parameters_shape_has_its_sharding(name, mesh):
    tx, shardings = with_predicted_shardings(name, mesh)
    state = jax.eval_shape(tx.init, shapes())
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    for (path, x), sharding in zip(flat, jax.tree.leaves(shardings), strict=True):
        for k in SHAPES:
            if path[-1:] == (jax.tree_util.DictKey(k),) and x.shape == SHAPES[k]:
                assert sharding == NamedSharding(mesh, SPECS[k]), jax.tree_util.keystr(path)


WITH_SHARDINGS = {
    "adafactor": fo.scale_by_factored_rms(min_dim_size_to_factor=2),
    "lbfgs": fo.scale_by_lbfgs(),
    "partition": CASES["partition"].make(),
    "optax": optax.adafactor(1e-3, min_dim_size_to_factor=2, momentum=0.9),
    "optax-in-chain": fo.chain(fo.clip(1.0), optax.masked(optax.trace(0.9), matrices)),
}


@pytest.mark.parametrize("tx", WITH_SHARDINGS.values(), ids=WITH_SHARDINGS)
def test_jit_accepts_the_shardings(tx, mesh):
    shardings = state_shardings(tx, shapes(), SPECS, mesh)
    init = jax.jit(tx.init, out_shardings=shardings)
    params = arrays(mesh)
    assert differing(init(params), shardings) == []
    update = jax.jit(
        tx.update, in_shardings=(None, shardings, None), out_shardings=(None, shardings)
    )
    assert differing(update(params, init(params), params)[1], shardings) == []


def test_counts_of_parameters_are_replicated(mesh):
    tx = fo.per_leaf_counts(fo.adam(0.1))
    shardings = state_shardings(tx, shapes(), SPECS, mesh)
    assert shardings.scale_by_adam.leaf_counts == NamedSharding(mesh, P())
    assert differing(tx.init(arrays(mesh)), shardings) == []


def test_rows_and_columns_are_sharded_as_their_parameter_along_them():
    tx = fo.scale_by_factored_rms(min_dim_size_to_factor=2, dims="last")
    shardings = state_shardings(tx, shapes(), SPECS)
    assert shardings.v_row["w"] == P("x")
    assert shardings.v_col["w"] == P(None, "y")
    assert shardings.v["b"] == P("y")


def test_a_ring_of_parameters_is_not_sharded_along_its_first_axis(mesh):
    shardings = state_shardings(fo.scale_by_lbfgs(), shapes(), SPECS)
    assert shardings.diff_params_memory == {"w": P(None, "x", "y"), "b": P(None, "y")}
    state = jax.jit(fo.scale_by_lbfgs().init)(arrays(mesh))
    assert state.diff_params_memory["w"].sharding.spec == P(None, "x", "y")


def test_without_a_mesh_the_result_holds_specs(mesh):
    shardings = state_shardings(fo.adam(1e-3), shapes(), SPECS)
    assert shardings.scale_by_adam.mu == SPECS
    assert shardings.scale_by_adam.count == P()


def test_one_spec_covers_a_subtree_and_none_means_replicated():
    params = {"a": shapes(), "b": shapes()}
    shardings = state_shardings(fo.trace(0.9), params, {"a": P("x"), "b": None})
    assert shardings.trace == {"a": {"w": P("x"), "b": P("x")}, "b": {"w": P(), "b": P()}}


def test_parameters_with_shardings_need_no_specs(mesh):
    shardings = state_shardings(fo.trace(0.9), arrays(mesh))
    assert shardings.trace == {k: NamedSharding(mesh, spec) for k, spec in SPECS.items()}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_the_ambient_mesh_does_not_matter(kind):
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
    with jax.set_mesh(mesh):
        shardings = state_shardings(fo.adam(1e-3), shapes(), SPECS, mesh)
    assert shardings.scale_by_adam.mu == {k: NamedSharding(mesh, spec) for k, spec in SPECS.items()}


def test_a_vector_of_all_parameters_is_replicated(mesh):
    tx = fo.chain(optax.flatten(optax.trace(0.9)), fo.trace(0.9))
    shardings = state_shardings(tx, shapes(), SPECS, mesh)
    assert differing(jax.jit(tx.init, out_shardings=shardings)(arrays(mesh)), shardings) == []
    assert shardings.trace.trace["w"].spec == P("x", "y")
    assert {s.spec for s in jax.tree.leaves(shardings[0])} == {P()}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"specs": {"w": P()}}, ValueError, "state_shardings: specs do not fit the parameters"),
        ({"specs": {"w": "x", "b": P()}}, TypeError, "the spec at 'w' must be a PartitionSpec"),
        ({"specs": None}, ValueError, "neither specs nor params say how"),
        ({"specs": P(), "memory_kind": "device"}, ValueError, "memory_kind needs a mesh"),
        (
            {"specs": P("x"), "mesh": AbstractMesh((3,), ("x",))},
            ValueError,
            "does not evenly divide",
        ),
    ],
)
def test_unknown_shardings_are_an_error(arguments, error, message):
    with pytest.raises(error, match=message):
        state_shardings(fo.adam(1e-3), shapes(), **arguments)


def test_a_large_model_on_many_devices_is_planned_quickly():
    """The plan has 300 leaves of 70 GiB, on a mesh of devices that do not exist."""
    mesh = AbstractMesh((16, 64), ("data", "model"))
    layer = jax.ShapeDtypeStruct((8192, 8192), jnp.bfloat16)
    params = {f"layer_{i}": layer for i in range(300)}
    tx = fo.chain(fo.clip_by_global_norm(1.0), fo.adafactor(1e-3), fo.adamw(1e-3, mask=matrices))
    start = time.process_time()
    shardings = state_shardings(tx, params, P("data", "model"), mesh)
    assert time.process_time() - start < 2
    sharding = shardings.scale_by_adam.mu["layer_299"]
    assert sharding.shard_shape((8192, 8192)) == (512, 128)


KINDS = [m.kind for m in jax.devices()[0].addressable_memories()]


HOST = [kind for kind in KINDS if kind.endswith("host")]


@pytest.mark.skipif(not HOST, reason=f"the backend has {KINDS}, and no memory of the host")
@pytest.mark.parametrize("kind", HOST)
def test_a_state_in_host_memory_takes_part_in_a_step(kind):
    mesh = jax.make_mesh((jax.device_count(),), ("x",), axis_types=(AxisType.Auto,))
    params, tx = jax.device_put(problem.arrays(), NamedSharding(mesh, P())), fo.adam(1e-3)
    host = state_shardings(tx, params, memory_kind=kind)
    device = state_shardings(tx, params)

    def step(params, state, grads):
        return problem.step_of(tx)(params, jax.device_put(state, device), grads)

    places = jax.tree.map(lambda p: p.sharding, params)
    state = jax.device_put(tx.init(params), host)
    expected, _ = jax.jit(problem.step_of(tx))(params, tx.init(params), params)
    step = jax.jit(step, out_shardings=(places, host), donate_argnums=1)
    after, state = step(params, state, params)
    assert {x.sharding.memory_kind for x in jax.tree.leaves(state)} == {kind}
    jax.tree.map(np.testing.assert_array_equal, after, expected)
    _, state = step(after, state, params)
    assert step._cache_size() == 1
    saved = fo.from_state_dict(state, fo.to_state_dict(state))
    assert {x.sharding.memory_kind for x in jax.tree.leaves(saved)} == {kind}


def test_memory_that_the_devices_do_not_have_is_an_error(mesh):
    with pytest.raises(ValueError, match=r"memory_kind must be one that .* have, .*'device'.* got"):
        state_shardings(fo.adam(1e-3), arrays(mesh), memory_kind="tape")
    plan = AbstractMesh((4, 2), ("x", "y"))  # of which nothing is known
    shardings = state_shardings(fo.adam(1e-3), shapes(), SPECS, plan, memory_kind="pinned_host")
    assert shardings.scale_by_adam.count.memory_kind == "pinned_host"
