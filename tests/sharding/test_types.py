"""Every factory where shardings, or the axes over which arrays vary, are part of types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import functional_optim as fo

from ..rules import REPRESENTATIVES, affordable, cases, cases_with_extra, plain
from ..trees import assert_close
from .explicit import arrays as arrays_on
from .explicit import make_mesh
from .explicit import types as types_on

if jax.device_count() < 8:
    pytest.skip("needs eight devices; the host has them on CPU", allow_module_level=True)

P = PartitionSpec
CASES = {case.name: case for case in affordable([*cases(), *cases_with_extra()])}
PLAIN = {case.name: case for case in plain(CASES.values())}
REPRESENTED = {case.name: case for case in PLAIN.values() if case.name in REPRESENTATIVES}
OF_EACH_KIND = {k: case for k, case in PLAIN.items() if case.oracle is None} | REPRESENTED
"""All that wraps rules, and a rule of each kind that the engine treats in its own way."""
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
SHAPES = {"w": (8, 4), "b": (4,)}
DIVIDED, WHOLE = {"w": P("x", "y"), "b": P("y")}, {"w": P(), "b": P()}
TURNED = {"w": P("y", "x"), "b": P("x")}

# Specs of the parameters, of those that the state is made for, and of the gradients.
PLACES = {
    "alike": (DIVIDED, DIVIDED, DIVIDED),
    "divided state": (WHOLE, DIVIDED, WHOLE),
    "whole state": (DIVIDED, WHOLE, DIVIDED),
    "turned state": (DIVIDED, TURNED, DIVIDED),
    "scattered gradients": (WHOLE, DIVIDED, DIVIDED),
}


@pytest.fixture
def explicit():
    return make_mesh()


def arrays(mesh, specs, dtype=np.float32, seed=0):
    return arrays_on(mesh, SHAPES, specs, dtype, seed)


def types(mesh, specs, dtype=np.float32):
    return types_on(mesh, SHAPES, specs, dtype)


def step_of(case):
    tx = case.make()

    def step(params, state, grads):
        updates, state = case.update(tx, grads, state, params)
        return fo.apply_updates(params, updates), state

    return tx, step


def types_of(tree):
    """Returns path -> shape, dtype, weak type and sharding of each leaf."""
    flat = jax.tree_util.tree_flatten_with_path(jax.tree.map(jax.typeof, tree))[0]
    return {
        jax.tree_util.keystr(path): (x.shape, x.dtype, x.weak_type, x.sharding.spec)
        for path, x in flat
    }


def check_types(case, place, mesh, dtype=np.float32):
    """Asserts that a step leaves all types."""
    tx, step = step_of(case)
    params, like, grads = (types(mesh, specs, dtype) for specs in place)
    state = jax.eval_shape(tx.init, like)
    after = jax.eval_shape(step, params, state, grads)
    assert types_of(after) == types_of((params, state))


@each_case
def test_a_step_keeps_all_types_on_a_mesh_of_explicit_axes(case, explicit):
    """A state with another sharding than parameters and gradients is the hardest case."""
    check_types(case, PLACES["turned state"], explicit)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("case", REPRESENTED.values(), ids=REPRESENTED)
def test_a_step_keeps_all_types_wherever_its_arrays_are(case, place, explicit):
    check_types(case, place, explicit)


@pytest.mark.parametrize("case", REPRESENTED.values(), ids=REPRESENTED)
def test_a_state_has_the_same_types_where_init_is_not_traced(case, explicit):
    tx, params = case.make(), arrays(explicit, DIVIDED)
    state = jax.eval_shape(tx.init, types(explicit, DIVIDED))
    assert types_of(tx.init(params)) == types_of(state)


@pytest.mark.parametrize("case", OF_EACH_KIND.values(), ids=OF_EACH_KIND)
def test_a_step_of_narrow_parameters_keeps_all_types_there(case, explicit):
    check_types(case, (DIVIDED,) * 3, explicit, jnp.bfloat16)


MOMENTUM = fo.sgd(0.1, momentum=0.9)
TRAINED = {
    "adamw": fo.adamw(0.1),
    "clipped": fo.chain(fo.clip_by_global_norm(0.1), MOMENTUM),
    "muon": fo.muon(0.1, ns_steps=1),
    "sm3": fo.sm3(0.1),
    "factored": fo.scale_by_factored_rms(min_dim_size_to_factor=2),
    "rprop": fo.rprop(0.1),
    "params_ema": fo.chain(fo.sgd(0.1), fo.params_ema(0.9)),
    "lookahead": fo.lookahead(fo.sgd(0.1), 2, 0.5),
    "MultiSteps": fo.MultiSteps(MOMENTUM, 2),
    "apply_if_finite": fo.apply_if_finite(MOMENTUM, 2),
    "flatten": fo.flatten(fo.adam(0.1)),
    "packed": fo.packed(fo.adam(0.1)),
}


@jax.jit
def step_all(params, states, grads):
    params, states = dict(params), dict(states)
    for name, tx in TRAINED.items():
        updates, states[name] = tx.update(grads, states[name], params[name])
        params[name] = fo.apply_updates(params[name], updates)
    return params, states


def trained(mesh, where):
    """Returns the parameters of all transformations after two steps."""
    params, like = (arrays(mesh, specs) for specs in where[:2])
    grads = arrays(mesh, where[2], seed=1)
    states = {name: tx.init(like) for name, tx in TRAINED.items()}
    params = dict.fromkeys(TRAINED, params)
    for _ in range(2):
        params, states = step_all(params, states, grads)
    return jax.device_get(params)


@pytest.fixture(scope="module")
def on_one_device():
    one = jax.make_mesh((1, 1), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    return trained(one, [WHOLE] * 3)


@pytest.mark.parametrize("place", PLACES)
def test_the_numbers_there_are_those_of_one_device(place, explicit, on_one_device):
    assert_close(trained(explicit, PLACES[place]), on_one_device, rtol=2e-5, atol=2e-6)


def test_a_state_may_be_there_where_gradients_are_on_no_mesh(explicit):
    """Outside of a program JAX cannot reshard an array that is on no mesh, such as a metric."""
    tx, params = fo.chain(fo.clip_by_global_norm(1.0), fo.adam(0.1)), {"w": jnp.ones((8, 4))}
    state = tx.init(params)
    place = jax.sharding.NamedSharding(explicit, P())
    placed = jax.tree.map(lambda x: jax.device_put(x, place), state)
    assert_close(tx.update(params, placed, params), tx.update(params, state, params))


@pytest.mark.parametrize("place", PLACES)
def test_applied_gradients_leave_parameters_where_they_are(place, explicit):
    params, like, grads = (arrays(explicit, specs) for specs in PLACES[place])
    tx = fo.adamw(0.1)
    state = tx.init(like)
    after = jax.eval_shape(lambda *args: fo.apply_gradients(tx, *args), grads, state, params)
    assert types_of(after) == types_of((params, state))


def local_training(case, made_inside):
    """Makes three steps on each device's own gradients, and then averages the parameters."""
    tx, step = step_of(case)

    def train(params, state, grads):
        params, state = jax.tree.map(lambda a: jax.lax.pcast(a, "i", to="varying"), (params, state))
        if made_inside:
            state = tx.init(params)

        def body(carry, _):
            params, state = carry
            return step(params, state, grads), None

        (params, _), _ = jax.lax.scan(body, (params, state), None, length=3)
        return jax.lax.pmean(params, "i")

    return tx, train


# A state from outside has the engine's scalars vary as well; what a rule makes of its arrays is the
# same from inside.
CARRIED = {f"init inside-{name}": (case, True) for name, case in PLAIN.items()} | {
    f"init outside-{name}": (case, False) for name, case in OF_EACH_KIND.items()
}


@pytest.mark.parametrize(("case", "made_inside"), CARRIED.values(), ids=CARRIED)
def test_a_state_is_a_carry_where_each_device_trains_its_own(case, made_inside):
    mesh = jax.make_mesh((8,), ("i",), axis_types=(AxisType.Auto,))
    params = {k: np.ones(shape, np.float32) for k, shape in SHAPES.items()}
    tx, train = local_training(case, made_inside)
    state = None if made_inside else jax.eval_shape(tx.init, params)
    program = jax.shard_map(train, mesh=mesh, in_specs=(P(), P(), P("i")), out_specs=P())
    grads = {k: np.ones((8 * shape[0], *shape[1:]), np.float32) for k, shape in SHAPES.items()}
    jax.eval_shape(program, params, state, grads)


@pytest.mark.parametrize(
    "tx",
    [
        fo.MultiSteps(fo.adam(0.1), 2),
        fo.MultiSteps(fo.adam(0.1), 2, should_skip_update_fn=fo.skip_not_finite),
        fo.loss_scale(fo.adam(0.1)),
        fo.apply_if_finite(fo.adam(0.1), 2),
        fo.conditionally_transform(fo.adam(0.1), lambda step: step > 0),
    ],
    ids=["MultiSteps", "MultiSteps-skips", "loss_scale", "apply_if_finite", "conditional"],
)
def test_each_device_decides_for_itself(tx):
    """One device's gradients are infinite at the second step; the others continue."""
    mesh = jax.make_mesh((8,), ("i",), axis_types=(AxisType.Auto,))
    scales = jnp.ones((4, 8)).at[1, 3].set(jnp.inf)

    def train(params, state, scales):
        for scale in scales:
            updates, state = tx.update({"w": scale * params["w"] + 0.1}, state, params)
            params = fo.apply_updates(params, updates)
        return params["w"]

    def on_device(params, scales):
        params = jax.tree.map(lambda a: jax.lax.pcast(a, "i", to="varying"), params)
        return train(params, tx.init(params), scales[:, 0])

    params = {"w": jnp.ones(3)}
    program = jax.shard_map(on_device, mesh=mesh, in_specs=(P(), P(None, "i")), out_specs=P("i"))
    found = jax.jit(program)(params, scales).reshape(8, 3)
    alone = jax.jit(lambda column: train(params, tx.init(params), column))
    np.testing.assert_allclose(found, np.stack([alone(column) for column in scales.T]), rtol=1e-6)


@pytest.mark.parametrize("form", ["8bit", "bfloat16"])
def test_large_moments_in_few_bits_are_a_carry_too(form):
    """The moments are large enough for a loop over blocks, which only a single CPU runs."""
    mesh = jax.make_mesh((8,), ("i",), axis_types=(AxisType.Auto,))
    tx, params = fo.low_bit_state(fo.adam(0.1), form), {"w": jnp.ones((64, 512))}
    grads = jnp.asarray(np.random.default_rng(0).standard_normal((8, 64, 512)), jnp.float32)

    def train(params, g):
        def body(carry, _):
            updates, state = tx.update({"w": g}, carry[1], carry[0])
            return (fo.apply_updates(carry[0], updates), state), None

        return jax.lax.scan(body, (params, tx.init(params)), None, length=3)[0][0]["w"]

    def on_device(params, grads):
        params = jax.tree.map(lambda a: jax.lax.pcast(a, "i", to="varying"), params)
        return train(params, grads[0])[None]

    program = jax.shard_map(on_device, mesh=mesh, in_specs=(P(), P("i")), out_specs=P("i"))
    found = jax.jit(program)(params, grads)
    np.testing.assert_allclose(found[5], jax.jit(train)(params, grads[5]), rtol=1e-6)
