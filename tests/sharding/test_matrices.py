"""Ways in which a mesh shares the work on matrices: each gives the numbers of one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.sharding import MatrixSharding

if jax.device_count() < 8:
    pytest.skip("needs eight devices; the host has them on CPU", allow_module_level=True)

WAYS = ("gather", "divide", "tensor_parallel")
SHAPES = {"w": (8, 16), "v": (8, 16), "t": (24, 8), "s": (6, 8, 16), "b": (8,)}
AXES = {
    "w": fo.MatrixAxes(),
    "v": fo.MatrixAxes(),
    "t": fo.MatrixAxes(),
    "s": fo.MatrixAxes(1, 2),
    "b": None,
}
SPECS = {"w": ("data",), "v": ("data",), "t": ("data",), "s": (None, "data"), "b": ("data",)}


@functools.cache
def host():
    rng = np.random.default_rng(0)
    return {k: rng.standard_normal(shape) for k, shape in SHAPES.items()}


def muon(way=None):
    return fo.muon(0.1, ns_steps=2, muon_weight_dimension_numbers=AXES, matrix_sharding=way)


@functools.cache
def on_one_device():
    params = jax.tree.map(jnp.asarray, host())
    tx = muon()
    return jax.jit(tx.update)(params, tx.init(params), params)


def on_mesh(n, kind, *, sharded=True):
    mesh = jax.make_mesh((n,), ("data",), axis_types=(kind,), devices=jax.devices()[:n])
    specs = {k: PartitionSpec(*SPECS[k]) if sharded else PartitionSpec() for k in SPECS}
    params = {k: jax.device_put(x, NamedSharding(mesh, specs[k])) for k, x in host().items()}
    return mesh, params


# A stack has six matrices: 2 devices have equally many, 4 have not, and 8 have one or none.
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("kind", "n"),
    [(AxisType.Auto, n) for n in (1, 2, 4, 8)] + [(AxisType.Explicit, n) for n in (2, 8)],
    ids=str,
)
def test_every_way_has_the_numbers_of_one_device(way, n, kind):
    mesh, params = on_mesh(n, kind)
    tx = muon(MatrixSharding(way, "data", mesh))
    updates, state = jax.jit(tx.update)(params, tx.init(params), params)
    wanted, wanted_state = on_one_device()
    assert jax.tree.structure(state) == jax.tree.structure(wanted_state)
    for k, x in wanted.items():
        np.testing.assert_allclose(updates[k], x, rtol=0, atol=1e-6)


def collectives(way):
    mesh, params = on_mesh(8, AxisType.Auto)
    tx = muon(MatrixSharding(way, "data", mesh))
    text = jax.jit(tx.update).lower(params, tx.init(params), params).compile().as_text()
    return {k for k in ("all-gather", "all-to-all", "all-reduce") if f" {k}(" in text}


@pytest.mark.parametrize(
    ("way", "operation", "without"),
    [
        ("gather", "all-gather", "all-reduce"),
        ("divide", "all-to-all", "all-reduce"),
        ("tensor_parallel", "all-reduce", "all-gather"),
    ],
)
def test_every_way_communicates_as_it_says(way, operation, without):
    used = collectives(way)
    assert operation in used
    assert without not in used


def test_the_mesh_may_be_set():
    mesh, params = on_mesh(4, AxisType.Auto)
    tx = muon(MatrixSharding("divide", "data"))
    with jax.set_mesh(mesh):
        updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    np.testing.assert_allclose(updates["s"], on_one_device()[0]["s"], rtol=0, atol=1e-6)


def test_describe_has_the_way_of_rules_around_the_orthogonalization():
    mesh, _ = on_mesh(2, AxisType.Auto)
    way = MatrixSharding("divide", "data", mesh)
    for rule in (fo.normuon, fo.adamuon, fo.soap_muon):
        described = fo.describe(rule(0.1, matrix_sharding=way), {"w": jnp.ones((8, 16))})
        assert any("divided over 2 devices" in route for route in described["w"].routes)


# The first bases of SOAP are not unique, so that its numbers on a mesh may be others.
@pytest.mark.parametrize("rule", [fo.normuon, fo.adamuon])
def test_rules_around_the_orthogonalization_take_a_way(rule):
    mesh, params = on_mesh(4, AxisType.Auto)
    plain = rule(0.1, axes=AXES)
    shared = rule(0.1, axes=AXES, matrix_sharding=MatrixSharding("divide", "data", mesh))
    wanted = host_steps(plain, jax.tree.map(jnp.asarray, host()))
    for k, x in host_steps(shared, params).items():
        np.testing.assert_allclose(x, wanted[k], rtol=0, atol=1e-5)


def host_steps(tx, params):
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(2):
        updates, state = update(params, state, params)
    return updates


def test_zero1_has_the_numbers_of_one_device():
    mesh, params = on_mesh(4, AxisType.Auto, sharded=False)
    tx = fo.sharding.zero1(muon(MatrixSharding("divide", "data", mesh)), mesh, "data")
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    for k, x in on_one_device()[0].items():
        np.testing.assert_allclose(updates[k], x, rtol=0, atol=1e-6)


def test_bad_arguments_are_errors():
    mesh, params = on_mesh(2, AxisType.Auto)
    with pytest.raises(ValueError, match="how must be one of 'gather', 'divide'"):
        MatrixSharding("all", "data", mesh)
    with pytest.raises(ValueError, match="no axis 'model'; its axes are 'data'"):
        MatrixSharding("gather", "model", mesh)
    tx = muon(MatrixSharding("gather", "data"))
    with pytest.raises(ValueError, match="no mesh is set"):
        tx.update(params, tx.init(params), params)


def test_describe_has_the_way_and_its_bytes():
    mesh, _ = on_mesh(8, AxisType.Auto)
    params = {"w": jax.ShapeDtypeStruct((8, 16), jnp.float32)}

    def text(way):
        tx = fo.muon(0.1, matrix_sharding=MatrixSharding(way, "data", mesh))
        return fo.describe(tx, params)["w"].routes[1]

    size, gram = 8 * 16 * 4, 8 * 8 * 4
    moved = "bytes moved to each device in a"
    assert text("gather") == f"muon: gathered on 8 devices of 'data', {size * 7 // 8} {moved} step"
    assert text("divide") == (
        f"muon: divided over 8 devices of 'data', {2 * size * 7 // 64} {moved} step"
    )
    assert text("tensor_parallel") == (
        f"muon: tensor parallel on 8 devices of 'data', {2 * gram * 7 // 8} {moved} round"
    )
