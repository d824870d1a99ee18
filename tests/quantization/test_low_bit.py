import functools
import importlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim.core.leaf.blockwise import MAX_BLOCK_SIZE
from functional_optim.core.leaf.quantized import QuantizedArray
from functional_optim.core.rules.bound_rule import ENGINE_FIELDS
from functional_optim.quantization.formats import Blockwise, Rounded
from functional_optim.quantization.low_bit import MOMENTS
from functional_optim.sharding import state_shardings, zero1

from ..compiling import TEXT
from ..extras import need
from ..rules import cases
from ..trees import assert_close

WIDE = {"w": (64, 512), "b": (512,)}


def normal(seed=0, shapes=WIDE, scale=1.0):
    rng = np.random.default_rng(seed)
    drawn = {k: scale * rng.standard_normal(shape, np.float32) for k, shape in shapes.items()}
    return jax.tree.map(jnp.asarray, drawn)


def steps(tx, params, state, n, first=0):
    step = jax.jit(lambda params, state, grads: fo.apply_gradients(tx, grads, state, params))
    for i in range(first, first + n):
        params, state = step(params, state, normal(100 + i, jax.tree.map(jnp.shape, params)))
    return params, state


TRANSFORMATIONS = {
    "adamw": fo.adamw(1e-2),
    "clip-lion": fo.chain(fo.clip_by_global_norm(1.0), fo.lion(1e-3)),
    "masked": fo.masked(fo.adam(1e-2), {"w": True, "b": False}),
    "muon": fo.scale_by_muon(),
    "foreign": optax.chain(optax.clip(1.0), optax.adam(1e-2)),
    "mixed": fo.chain(optax.scale_by_adam(), fo.trace(0.9)),
}
each_tx = pytest.mark.parametrize("tx", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
each_form = pytest.mark.parametrize(
    ("form", "key"),
    [("8bit", None), ("8bit", 0), ("bfloat16", None), ("bfloat16", 0)],
    ids=["8bit", "8bit-random", "bfloat16", "bfloat16-random"],
)


@pytest.fixture
def promotion():
    """Allows implicit promotion of dtypes, on which optax's arithmetic relies."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@each_tx
@pytest.mark.usefixtures("promotion")
def test_the_first_update_is_that_of_the_transformation(tx):
    # The moments that it divides by have not been rounded yet.
    params = normal()
    low = fo.low_bit_state(tx)
    expected, state = tx.update(normal(1), tx.init(params), params)
    found, held = low.update(normal(1), low.init(params), params)
    assert_close(found, expected, rtol=1e-6)
    assert any(isinstance(x, QuantizedArray) for x in jax.tree.leaves(held, is_leaf=is_held))
    decoded, plain = fo.decode_state(held), jax.tree.map(jnp.asarray, state)
    assert jax.tree.structure(decoded) == jax.tree.structure(plain)
    for a, b in zip(jax.tree.leaves(decoded), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, atol=0.0071 * float(jnp.abs(b).max()))


def is_held(x):
    return isinstance(x, QuantizedArray)


@pytest.mark.parametrize("factory", [fo.adam, optax.adam], ids=["ours", "optax"])
@pytest.mark.usefixtures("promotion")
def test_parameters_stay_near_those_of_32_bits(factory):
    # bitsandbytes' test: 50 steps, after each of which both continue from one point.
    tx, low = factory(1e-3), fo.low_bit_state(factory(1e-3))
    params = normal(shapes={"w": (1024, 32)}, scale=0.1)
    exact, held = tx.init(params), low.init(params)

    def plain_step(grads, state, params):
        return fo.apply_gradients(tx, grads, state, params)

    def low_step(grads, state, params):
        return fo.apply_gradients(low, grads, state, params)

    step = {False: jax.jit(plain_step), True: jax.jit(low_step)}
    for i in range(50):
        grads = normal(i, {"w": (1024, 32)}, 0.01)
        wanted, exact = step[False](grads, exact, params)
        found, held = step[True](grads, held, params)
        error = jnp.abs(found["w"] - wanted["w"])
        assert error.mean() < 6e-5
        assert (error / (jnp.abs(wanted["w"]) + 1e-9)).mean() < 6e-4
        params, exact = wanted, fo.decode_state(held)


@each_form
def test_only_large_moments_are_quantized(form, key):
    params = normal()
    tx = fo.low_bit_state(fo.adam(1e-3), form, key=key)
    state = tx.init(params)
    inner = state if key is None else state.inner_state
    kind = {"8bit": Blockwise, "bfloat16": Rounded}[form]
    assert isinstance(inner.scale_by_adam.mu["w"], kind)
    assert isinstance(inner.scale_by_adam.nu["w"], kind)
    assert inner.scale_by_adam.mu["b"].dtype == jnp.float32
    paths = [jax.tree_util.keystr(k) for k, _ in jax.tree_util.tree_flatten_with_path(inner)[0]]
    part = next(iter(kind.parts))
    assert f".scale_by_adam.mu['w'].{part}" in paths


KEPT = {
    "average", "ax", "cover", "diff_params_memory", "diff_updates_memory", "grad", "grad_acc",
    "grad_sum_of_squares", "init_params", "master", "max_dist", "params", "prev", "previous",
    "slow", "step_size", "updates", "v_col", "v_row", "compensation", "remainder",
    "cumulative_gradients", "init_particles", "reward", "scale", "subgradients",
    "direction", "grad_sum_sq", "r_col", "r_row", "radius", "s", "window", "x0",
    # Bases, factors and roots of matrices, and counts.
    "failed_refreshes", "failed_roots", "l_columns", "l_rows", "left", "left_basis",
    "left_root", "left_values", "norm", "q", "q_columns", "q_rows",
    "right", "right_basis", "right_root", "right_values", "seed",
}  # fmt: skip
"""Slots of this package's rules that are not moments, or not large."""


def test_every_slot_of_every_rule_is_known_to_be_a_moment_or_not():
    found = set()
    for case in cases():
        if hasattr(case.factory, "spec"):
            state = jax.eval_shape(case.make().init, {"w": jnp.ones((4, 4))})
            found |= set(state._fields) - set(ENGINE_FIELDS)
    assert found <= KEPT | set(MOMENTS)


def test_points_and_masters_are_not_rounded():
    tx = fo.low_bit_state(fo.chain(fo.adam(1e-3), fo.params_ema(0.9), fo.master_weights()))
    state = tx.init(normal())
    assert isinstance(state.scale_by_adam.mu["w"], Blockwise)
    assert state.params_ema.average["w"].dtype == jnp.float32
    assert state.master_weights.master["w"].dtype == jnp.float32


def test_slots_can_be_named():
    tx = fo.low_bit_state(fo.params_ema(0.9), {"average": "bfloat16"})
    params = normal()
    state = tx.init(params)
    assert isinstance(state.average["w"], Rounded)
    found = fo.eval_params(state, params)
    assert_close(found["w"], params["w"], rtol=2**-8)
    assert found["w"].dtype == jnp.float32
    with pytest.raises(ValueError, match="form names the slot 'nu', which this state does not"):
        fo.low_bit_state(fo.params_ema(0.9), {"nu": "8bit"}).init(params)
    with pytest.raises(ValueError, match=r"none of the state's large arrays.*'average\.w'"):
        fo.low_bit_state(fo.params_ema(0.9)).init(params)


def two_devices():
    """Makes a mesh of two devices, each of which computes all of an array that both have."""
    return jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))


@pytest.mark.parametrize(
    "shape",
    [
        (2 * MAX_BLOCK_SIZE // 256 + 37, 256),  # more than two parts, and a rest
        (MAX_BLOCK_SIZE // 1000 + 2, 2000),  # the last block of a row is shorter
        (MAX_BLOCK_SIZE // 500 + 3, 1001),  # and there are no pieces of equal size
        (MAX_BLOCK_SIZE // 32 + 3, 64),  # only the last block of all is shorter
        (2 * MAX_BLOCK_SIZE + 300,),
        (2 * MAX_BLOCK_SIZE + 301,),
    ],
    ids=str,
)
def test_a_leaf_computed_in_blocks_equals_one_computed_whole(shape):
    # On several devices it is computed at once.
    mesh, params = two_devices(), normal(shapes={"w": shape})
    tx = fo.low_bit_state(fo.adamw(1e-2))
    state = tx.init(params)
    one = steps(tx, params, state, 2)
    other = steps(tx, *jax.device_put((params, state), jax.NamedSharding(mesh, jax.P())), 2)
    assert_close(one[0], other[0], rtol=1e-4, atol=1e-7)
    mine, others = (after[1].scale_by_adam for after in (one, other))
    difference = np.asarray(mine.mu["w"].decoded()) - np.asarray(others.mu["w"].decoded())
    assert np.abs(difference).max() < 0.05
    assert (np.asarray(mine.nu["w"].scales) > 0).all()


@pytest.mark.parametrize("tx", [fo.lion(1e-2), fo.adam(1e-2, nesterov=True)], ids=["lion", "nadam"])
def test_an_update_by_the_old_moment_is_computed_in_blocks(tx):
    mesh, params = two_devices(), normal(shapes={"w": (MAX_BLOCK_SIZE // 1000 + 2, 2000)})
    tx = fo.low_bit_state(tx)
    state = tx.init(params)
    one = steps(tx, params, state, 3)
    other = steps(tx, *jax.device_put((params, state), jax.NamedSharding(mesh, jax.P())), 3)
    assert jnp.abs(one[0]["w"] - other[0]["w"]).mean() < 1e-4


def test_a_donated_step_needs_less_memory_than_one_leaf():
    shapes = ((1024, 1024), (1024, 1000), (1_000_001,))
    params = {str(shape): jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes}
    tx = fo.low_bit_state(fo.adamw(1e-3))
    state = jax.eval_shape(tx.init, params)
    step = jax.jit(
        lambda params, state, grads: fo.apply_gradients(tx, grads, state, params),
        donate_argnums=(0, 1),
    )
    memory = step.lower(params, state, params).compile(TEXT).memory_analysis()
    assert memory.temp_size_in_bytes < 3 * 1024 * 1024
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert held < 2.04 * sum(x.size for x in params.values())


@functools.cache
def template_and_state(form):
    """Returns the first state of a form, and that after two steps."""
    tx = fo.chain(fo.trace(0.5), fo.adam(1e-3))
    tx = tx if form is None else fo.low_bit_state(tx, form)
    return tx.init(normal()), steps(tx, normal(), tx.init(normal()), 2)[1]


@pytest.mark.parametrize("there", ["8bit", "bfloat16", None])
@pytest.mark.parametrize("here", ["8bit", "bfloat16", None])
def test_a_checkpoint_is_converted_to_the_form_of_the_template(there, here):
    _, state = template_and_state(there)
    template, _ = template_and_state(here)
    found = fo.from_state_dict(template, fo.to_state_dict(state))
    assert jax.tree.structure(found) == jax.tree.structure(template)
    if there == here:
        jax.tree.map(np.testing.assert_array_equal, found, state)
    else:
        a, b = (fo.decode_state(x).scale_by_adam for x in (found, state))
        np.testing.assert_array_equal(a.count, b.count)
        assert jnp.abs(a.mu["w"] - b.mu["w"]).max() <= 0.0071 * jnp.abs(b.mu["w"]).max()


def test_checkpoints_of_packed_quantized_states_restore():
    params = {f"layer{i}": jnp.ones((8, 64)) for i in range(6)} | {"w": jnp.ones((64, 512))}
    tx = fo.low_bit_state(fo.packed(fo.adam(1e-3)))
    params, state = fo.apply_gradients(tx, params, tx.init(params), params)
    assert isinstance(fo.to_state_dict(state)["scale_by_adam.mu.w.codes"], np.ndarray)
    found = fo.from_state_dict(tx.init(params), fo.to_state_dict(state))
    jax.tree.map(np.testing.assert_array_equal, found, state)
    plain = fo.from_state_dict(fo.adam(1e-3).init(params), fo.to_state_dict(state))
    assert jnp.abs(plain.scale_by_adam.nu["w"] / 1e-3 - 1).max() < 0.0036


def test_saved_arrays_have_readable_names():
    tx = fo.low_bit_state(fo.adam(1e-3))
    saved = fo.to_state_dict(tx.init(normal()))
    assert saved["scale_by_adam.mu.w.codes"].dtype == np.uint8
    assert saved["scale_by_adam.mu.w.scales"].shape == (64, 2)
    assert saved["scale_by_adam.count"] == 0


@pytest.mark.parametrize("kind", ["orbax", "safetensors"])
def test_checkpoints_on_disk(kind, tmp_path):
    need(kind)
    library = importlib.import_module(f"functional_optim.interop.{kind}")
    tx = fo.low_bit_state(fo.adam(1e-3), key=0)
    params, state = steps(tx, normal(), tx.init(normal()), 1)
    library.save(tmp_path / "saved", params=params, state=state)
    found = library.load(tmp_path / "saved", params=params, state=tx.init(params)).state
    jax.tree.map(np.testing.assert_array_equal, found, state)


def test_states_pickle_scan_and_are_leaves_of_numbers():
    tx = fo.low_bit_state(fo.adam(1e-3))
    params = normal()
    state = tx.init(params)
    jax.tree.map(np.testing.assert_array_equal, pickle.loads(pickle.dumps(state)), state)

    def one(carry, _):
        params, state = carry
        return fo.apply_gradients(tx, params, state, params), None

    (_, after), _ = jax.lax.scan(one, (params, state), None, length=2)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert float(fo.get_hyperparams(fo.set_hyperparams(after, b1=0.5))["b1"]) == 0.5


def test_describe_shows_the_bytes_of_quantized_slots():
    text = str(fo.describe(fo.low_bit_state(fo.adam(1e-3)), normal()))
    assert "mu" in text
    leaf = fo.describe(fo.low_bit_state(fo.adam(1e-3)), normal())["w"]
    assert leaf.nbytes == 2 * (64 * 512 + 4 * 64 * 2)
    assert leaf.links[0].hyperparams["b1"] == 0.9


def test_a_saved_stateful_optimizer_continues():
    from functional_optim import optim

    params = normal()
    optimizer = optim.Optimizer(params, fo.low_bit_state(fo.adam(1e-3)))
    optimizer.step(normal(1))
    saved = optimizer.state_dict()
    other = optim.Optimizer(optimizer.params, fo.low_bit_state(fo.adam(1e-3)))
    other.load_state_dict(saved)
    optimizer.step(normal(2))
    other.step(normal(2))
    jax.tree.map(np.testing.assert_array_equal, optimizer.params, other.params)


P = jax.sharding.PartitionSpec


def test_codes_are_sharded_as_the_parameter_and_scales_as_their_blocks(mesh):
    cases = (
        ((64, 2048), P("x", "y"), P("x", "y")),
        ((64, 300), P("x"), P("x")),
        ((64, 300), P(None, "y"), P(None, "y")),
        ((8000, 10), P("x"), P("x")),
        ((1004, 10), P("x"), P()),
        ((50, 768), P(None, "x"), P()),
    )
    tx = fo.low_bit_state(fo.trace(0.9), min_size=256)
    params = {
        f"{shape} {spec}": jax.device_put(np.ones(shape, np.float32), jax.NamedSharding(mesh, spec))
        for shape, spec, _ in cases
    }
    all_told = state_shardings(tx, params).trace
    state = tx.init(params)
    for name, (_, spec, scales) in zip(params, cases, strict=True):
        told, made = all_told[name], state.trace[name]
        assert (told.codes.spec, told.scales.spec) == (spec, scales), name
        assert made.codes.sharding.spec == spec, name
        assert made.scales.sharding.is_equivalent_to(told.scales, made.scales.ndim), name
    _, after = jax.jit(lambda g, s, p: fo.apply_gradients(tx, g, s, p))(params, state, params)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert a.sharding.is_equivalent_to(b.sharding, a.ndim)


def test_shardings_in_types_are_kept():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    tx = fo.low_bit_state(fo.adam(1e-3))
    with jax.set_mesh(mesh):
        params = jax.device_put({"w": jnp.ones((64, 2048))}, jax.NamedSharding(mesh, P(None, "x")))
        state = tx.init(params)
        step = jax.jit(lambda g, s, p: fo.apply_gradients(tx, g, s, p))
        _, after = step(params, state, params)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert a.sharding == b.sharding
    assert after.scale_by_adam.mu["w"].scales.sharding.spec == P(None, "x")


def test_gradients_that_are_on_no_mesh_train_parameters_on_an_explicit_one():
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    tx = fo.low_bit_state(fo.adamw(1e-2))
    grads = normal(shapes={"w": (264, 2000)})
    params = jax.device_put(grads, jax.NamedSharding(mesh, P()))
    state = tx.init(params)
    step = jax.jit(lambda g, s, p: fo.apply_gradients(tx, g, s, p))
    found, _ = step(grads, state, params)
    expected, _ = step(params, state, params)
    assert_close(found, expected, rtol=1e-6)


def test_state_in_shares(mesh):
    params = normal(shapes={"w": (64, 512)})
    one = steps(
        fo.low_bit_state(fo.adam(1e-2)), params, fo.low_bit_state(fo.adam(1e-2)).init(params), 2
    )
    whole = jax.device_put(params, jax.NamedSharding(mesh, P()))
    tx = zero1(fo.low_bit_state(fo.adam(1e-2)), mesh, "x")
    state = tx.init(whole)
    assert state.scale_by_adam.mu["w"].codes.sharding.spec == P("x")
    assert state.scale_by_adam.mu["w"].scales.sharding.spec == P("x")
    found = steps(tx, whole, state, 2)[0]
    assert_close(found, one[0], rtol=1e-3)
