"""State lies where the parameters lie, and a step donates what it replaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import functional_optim as fo

from .. import problem
from ..rules import matrices
from ..trees import assert_close

P = PartitionSpec
# Of one shape there are several shardings, as of the projections of an attention.
SPECS = {"w": P("x", "y"), "t": P("y", "x"), "r": P(), "b": P("y"), "s": P()}
SHAPES = {"w": (32, 16), "t": (32, 16), "r": (32, 16), "b": (16,), "s": ()}

TRANSFORMATIONS = {
    "adamw": fo.adamw(1e-3, mask=matrices),
    "adam-bfloat16-moment": fo.adam(1e-3, mu_dtype="bfloat16", amsgrad=True),
    "rmsprop": fo.rmsprop(1e-3, centered=True, momentum=0.9),
    "lion": fo.lion(1e-3),
    "chain": fo.chain(fo.clip_by_global_norm(1.0), fo.ema(0.9), fo.sgd(0.1, momentum=0.9)),
    "partition": fo.partition({True: fo.adam(1e-3), False: fo.sgd(0.1, momentum=0.9)}, matrices),
    "wrapped": fo.MultiSteps(fo.apply_if_finite(fo.adam(1e-3), 3), 2),
    "8-bit": fo.low_bit_state(fo.adam(1e-3), min_size=256),
}
each_tx = pytest.mark.parametrize("tx", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)


def sharded(mesh, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        k: jax.device_put(
            jnp.asarray(rng.standard_normal(shape), dtype), NamedSharding(mesh, SPECS[k])
        )
        for k, shape in SHAPES.items()
    }


def misplaced(state, params):
    """Returns the paths of the slots that do not lie as their parameter does."""
    found = []
    for path, x in jax.tree_util.tree_flatten_with_path(state)[0]:
        text = jax.tree_util.keystr(path)
        for k, p in params.items():
            if f"['{k}']" in text and x.shape == p.shape:
                found += [] if x.sharding.is_equivalent_to(p.sharding, p.ndim) else [text]
    return found


@each_tx
def test_init_puts_the_state_where_the_parameters_are(tx, mesh):
    # Narrow parameters, whose slots are new arrays of another dtype; the next test but one has
    # those of float32.
    params = sharded(mesh, jnp.bfloat16)
    assert not misplaced(tx.init(params), params)


@each_tx
def test_a_compiled_init_puts_the_state_where_the_parameters_are(tx, mesh):
    params = sharded(mesh)
    places = jax.jit(tx.init).lower(params).compile().output_shardings
    state = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        jax.eval_shape(tx.init, params),
        places,
    )
    assert not misplaced(state, params)


def test_init_of_shapes_puts_the_state_where_they_say(mesh):
    params = sharded(mesh)
    shapes = jax.tree.map(
        lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype, sharding=p.sharding), params
    )
    assert not misplaced(fo.adam(1e-3).init(shapes), params)


@each_tx
def test_a_step_keeps_every_place_and_compiles_once(tx, mesh):
    params = sharded(mesh)
    state = tx.init(params)
    assert not misplaced(state, params)
    places = jax.tree.map(lambda x: x.sharding, (params, state))
    step = jax.jit(problem.step_of(tx))
    for _ in range(2):
        params, state = step(params, state, params)
    assert not misplaced(state, params)
    kept = jax.tree.map(
        lambda x, place: x.sharding.is_equivalent_to(place, x.ndim), (params, state), places
    )
    assert all(jax.tree.leaves(kept))
    assert step._cache_size() == 1


@pytest.mark.parametrize("tx", [TRANSFORMATIONS[k] for k in ("adamw", "chain")])
def test_a_sharded_step_is_the_step_of_one_device(tx, mesh):
    params = sharded(mesh)
    local = jax.tree.map(lambda p: jnp.asarray(np.asarray(p)), params)
    step = problem.step_of(tx)
    ours, theirs = (jax.jit(step)(p, tx.init(p), p)[0] for p in (params, local))
    assert_close(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    "tx", [TRANSFORMATIONS[k] for k in ("adamw", "chain", "partition", "wrapped")]
)
@pytest.mark.parametrize("place", [sharded, lambda mesh: problem.arrays()], ids=["mesh", "local"])
def test_a_step_donates_parameters_and_state(tx, place, mesh):
    params = jax.tree.map(jnp.copy, place(mesh))
    state = tx.init(params)
    grads = jax.tree.map(jnp.copy, params)
    # A warning that a donated buffer is of no use would be an error here.
    step = jax.jit(problem.step_of(tx), donate_argnums=(0, 1))
    after = step(params, state, grads)
    # Arrays that the step does not read (the last step's metrics) are not donated.
    assert all(x.is_deleted() for x in jax.tree.leaves((params, state)) if x.ndim)
    step(*after, grads)


def test_a_mesh_of_explicit_axes_keeps_its_places():
    if jax.device_count() < 8:
        pytest.skip("needs eight devices; the host has them where JAX_PLATFORMS is cpu")
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh):
        params, tx = sharded(mesh), fo.adamw(1e-3)
        for init in (tx.init, jax.jit(tx.init)):
            state = init(params)
            _, state = jax.jit(problem.step_of(tx))(params, state, params)
            assert not misplaced(state, params)
