"""zero1: the program, the memory, and the numbers of plain data parallelism."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.sharding import scattered_value_and_grad, state_shardings, zero1

from ..trees import assert_close

P = PartitionSpec
REPLICATED = P()
SHAPES = {"w": (16, 24), "b": (24,), "scale": ()}
TRANSFORMATIONS = {
    "clip-adamw": fo.chain(fo.clip_by_global_norm(0.5), fo.adamw(1e-2)),
    "adafactor": fo.adafactor(1e-2, min_dim_size_to_factor=2),
    "adam_hd": fo.adam_hd(1e-2, hypergrad_lr=1e-4),
    "came": fo.came(1e-4),
    "cautious": fo.cautious_adamw(1e-2),
}
each_tx = pytest.mark.parametrize("tx", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)

if jax.device_count() < 8:
    pytest.skip("needs eight devices; the host has them on CPU", allow_module_level=True)
MESH = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))


def put(tree, spec=REPLICATED, mesh=MESH):
    return jax.device_put(tree, NamedSharding(mesh, spec))


def problem(mesh=MESH):
    """Puts parameters on all devices, and divides a batch among them."""
    rng = np.random.default_rng(0)
    params = {k: rng.standard_normal(shape).astype(np.float32) for k, shape in SHAPES.items()}
    batch = rng.standard_normal((32, 16)).astype(np.float32)
    return put(params, REPLICATED, mesh), put(batch, P("data"), mesh)


def loss_fn(params, x):
    hidden = jnp.tanh(x @ params["w"] + params["b"][None])
    return jnp.mean(jnp.square(params["scale"] * hidden - 0.5))


def step_with(tx, value_and_grad):
    @jax.jit
    def step(params, state, batch):
        loss, grads = value_and_grad(params, batch)
        updates, state = tx.update(grads, state, params)
        return fo.apply_updates(params, updates), state, loss

    return step


def run(step, params, state, batch, steps):
    for _ in range(steps):
        # One program at a time: those of eight devices on one host wait for each other.
        params, state, loss = jax.block_until_ready(step(params, state, batch))
    return params, state, loss


def collectives(text):
    """Yields the kind of each collective operation, and how many numbers it gives."""
    kinds = r"(all-reduce|reduce-scatter|all-gather|all-to-all|collective-permute)"
    for result, kind in re.findall(rf"= ([^=]*?) {kinds}(?:-start)?\(", text):
        sizes = re.findall(r"\w+\[([\d,]*)\]", result)
        yield kind, sum(int(np.prod([int(n) for n in s.split(",") if n], dtype=int)) for s in sizes)


def per_device(tree):
    """Counts the bytes of a tree on one device."""
    return sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))


@each_tx
def test_fifty_steps_are_those_of_plain_data_parallelism(tx):
    params, batch = problem()
    divided = zero1(tx, MESH, "data")
    plain = step_with(tx, jax.value_and_grad(loss_fn))
    ours = step_with(divided, scattered_value_and_grad(loss_fn, MESH, "data"))
    expected, state, loss = run(plain, params, tx.init(params), batch, 50)
    got, own, own_loss = run(ours, params, divided.init(params), batch, 50)
    # The order of sums over devices differs, and each of 50 steps adds an ulp or less of 1e-7.
    assert_close(got, expected, atol=5e-6, rtol=0)
    assert_close(own_loss, loss, rtol=1e-5)
    assert jax.tree.structure(own) == jax.tree.structure(state)
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(got))
    assert ours._cache_size() == 1


def test_on_a_mesh_of_explicit_axes_steps_are_the_same():
    explicit = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    tx, (params, batch) = TRANSFORMATIONS["clip-adamw"], problem()
    plain = step_with(tx, jax.value_and_grad(loss_fn))
    expected, *_ = run(plain, params, tx.init(params), batch, 5)
    with jax.set_mesh(explicit):
        params, batch = problem(explicit)
        divided = zero1(tx, explicit, "data")
        ours = step_with(divided, scattered_value_and_grad(loss_fn, explicit, "data"))
        got, state, _ = run(ours, params, divided.init(params), batch, 5)
        assert state.scale_by_adam.mu["w"].sharding.spec == P("data", None)
    assert_close(got, expected, atol=1e-6, rtol=0)


def test_a_state_that_gets_leaf_counts_stays_divided():
    tx, (params, _) = TRANSFORMATIONS["clip-adamw"], problem()
    divided = zero1(tx, MESH, "data")
    grads = jax.tree.map(jnp.cos, params) | {"b": None}
    update = jax.jit(divided.update)
    state = divided.init(params)
    for _ in range(2):
        updates, state = update(grads, state, params)
    assert state.scale_by_adam.leaf_counts.tolist() == [0, 2, 2]
    assert state.scale_by_adam.mu["w"].sharding.spec == P("data")
    expected, plain = tx.update(grads, tx.init(params), params)
    expected, plain = tx.update(grads, plain, params)
    assert_close(updates, expected, rtol=1e-5, atol=1e-7)
    assert jax.tree.structure(state) == jax.tree.structure(plain)


def test_the_program_scatters_gradients_and_gathers_updates():
    params, batch = problem()
    tx = zero1(TRANSFORMATIONS["clip-adamw"], MESH, "data")
    step = step_with(tx, scattered_value_and_grad(loss_fn, MESH, "data"))
    found = list(collectives(step.lower(params, tx.init(params), batch).compile().as_text()))
    sizes = {kind: sorted(n for k, n in found if k == kind) for kind, _ in found}
    assert set(sizes) == {"reduce-scatter", "all-gather", "all-reduce"}
    assert sum(sizes["reduce-scatter"]) == (16 * 24 + 24) // 8
    assert sum(sizes["all-gather"]) == 16 * 24 + 24
    assert max(sizes["all-reduce"]) < 8  # norms, the loss, and the gradient of the scalar


def test_a_device_holds_its_shard_of_the_state():
    params, _ = problem()
    divided = zero1(fo.adam(1e-3), MESH, "data").init(params).scale_by_adam
    whole = fo.adam(1e-3).init(params).scale_by_adam
    for slot in ("mu", "nu"):
        scalar = whole[slot]["scale"].nbytes
        assert per_device(divided[slot]) - scalar == (per_device(whole[slot]) - scalar) // 8
    others = [x for k, x in divided._asdict().items() if k not in ("mu", "nu")]
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(others))


def test_gradients_may_come_from_anywhere():
    params, batch = problem()
    tx = zero1(fo.adam(1e-2), MESH, "data")
    ours = step_with(tx, jax.value_and_grad(loss_fn))
    plain = step_with(fo.adam(1e-2), jax.value_and_grad(loss_fn))
    expected, *_ = run(plain, params, fo.adam(1e-2).init(params), batch, 3)
    got, state, _ = run(ours, params, tx.init(params), batch, 3)
    assert_close(got, expected, atol=1e-6, rtol=0)
    assert state.scale_by_adam.mu["w"].sharding.spec == P("data")


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(
    ("spec", "share"),
    [
        (P(), P("data")),
        (P(None, "model"), P("data", "model")),
        (P("model"), P("model", "data")),
        (P(("model",), None), P("model", "data")),
    ],
)
def test_sharded_parameters_are_divided_further(kind, spec, share):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind,) * 2)
    params = {"w": put(np.ones((16, 24), np.float32), spec, mesh)}
    tx = zero1(fo.adam(1e-3), mesh, "data", specs={"w": spec})
    shapes = jax.eval_shape(lambda p: p, params)
    for state in (tx.init(params), jax.jit(tx.init)(params), tx.init(shapes)):
        mu = state.scale_by_adam.mu["w"]
        assert mu.sharding.is_equivalent_to(NamedSharding(mesh, share), 2)
    updates, after = jax.jit(tx.update)(params, state, params)
    assert updates["w"].sharding.is_equivalent_to(params["w"].sharding, 2)
    assert after.scale_by_adam.mu["w"].sharding.is_equivalent_to(mu.sharding, 2)


@pytest.mark.parametrize(
    ("shape", "share"),
    [((6, 24), P(None, "data")), ((6, 10), P()), ((), P())],
)
def test_the_first_axis_that_can_be_divided_is(shape, share):
    state = zero1(fo.trace(0.9), MESH, "data").init({"w": np.ones(shape, np.float32)})
    assert state.trace["w"].sharding.is_equivalent_to(NamedSharding(MESH, share), len(shape))


def test_its_shardings_are_predicted():
    tx = fo.chain(fo.clip(1.0), zero1(fo.adam(1e-3), MESH, "data"))
    params, _ = problem()
    shardings = state_shardings(tx, params, P(), MESH)
    assert shardings.zero1.scale_by_adam.nu["w"].spec == P("data")
    state = tx.init(params)
    same = jax.tree.map(lambda x, s: x.sharding.is_equivalent_to(s, x.ndim), state, shardings)
    assert all(jax.tree.leaves(same))


def test_two_rates_share_one_update():
    one, other = (zero1(fo.adam(rate), MESH, "data") for rate in (0.1, 0.2))
    assert one.update is other.update
    assert one != other


def test_a_leaf_without_a_gradient_stays():
    params, tx = {"a": jnp.ones(8), "b": jnp.ones(8)}, zero1(fo.trace(0.9), MESH, "data")
    updates, state = tx.update({"a": jnp.ones(8), "b": None}, tx.init(params), params)
    assert updates["b"] is None
    assert float(state.trace["a"][0]) == 1.0


def test_scattered_gradients_are_those_of_the_whole_batch():
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    params, batch = problem(mesh)
    specs = {"w": P(None, "model"), "b": P("model"), "scale": P()}
    params = jax.device_put(params, {k: NamedSharding(mesh, s) for k, s in specs.items()})
    value_and_grad = jax.jit(scattered_value_and_grad(loss_fn, mesh, "data", specs))
    loss, grads = value_and_grad(params, batch)
    expected_loss, expected = jax.value_and_grad(loss_fn)(params, batch)
    assert_close((loss, grads), (expected_loss, expected), rtol=1e-5, atol=1e-7)
    assert "data" in grads["w"].sharding.spec


def test_misuse_is_an_error():
    params, _ = problem()
    with pytest.raises(ValueError, match=r"zero1: axis must be one of the mesh's, \['data'\]"):
        zero1(fo.adam(1e-3), MESH, "model")
    with pytest.raises(TypeError, match="zero1: tx must be a pair of functions"):
        zero1(3, MESH, "data")
    tx = zero1(fo.adam(1e-3), MESH, "data")
    with pytest.raises(ValueError, match="zero1: update needs params"):
        tx.update(params, tx.init(params))
    inner = jax.shard_map(tx.update, mesh=MESH, in_specs=P(), out_specs=P())
    with pytest.raises(ValueError, match="zero1: update is called within a shard_map over 'data'"):
        inner(params, tx.init(params), params)
