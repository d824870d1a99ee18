"""Recent rules work sharded, with packed leaves, quantized, restored, and on a part of a tree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.sharding import zero1

ELEMENTWISE_AND_WRAPPERS = {
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

ESTIMATING = {
    "cocob": fo.cocob(),
    "dadapt_adamw": fo.dadapt_adamw(estim_lr0=1e-2),
    "dadapt_sgd": fo.dadapt_sgd(estim_lr0=1e-2),
    "dog": fo.dog(init_step=("heuristic", 1e-3)),
    "dowg": fo.dowg(),
    "gpa": fo.generalized_primal_averaging(fo.adamw(1e-2)),
    "ldog": fo.ldog(reps_rel=1e-3),
    "mechanize": fo.mechanize(fo.adam(1.0), s_init=1e-2),
    "momo": fo.momo(0.1),
    "momo_adam": fo.momo_adam(1e-2),
    "prodigy": fo.prodigy(estim_lr0=1e-2),
    "schedule_free": fo.schedule_free(fo.lion(1e-3), 1e-3),
    "schedule_free_adamw": fo.schedule_free_adamw(1e-2, warmup_steps=4),
    "schedule_free_radam": fo.schedule_free_radam(1e-2),
    "schedule_free_sgd": fo.schedule_free_sgd(1e-2),
}
"""Optimizers that average points, or estimate their step sizes."""

OPTIMIZERS = ELEMENTWISE_AND_WRAPPERS | ESTIMATING
each = pytest.mark.parametrize("name", OPTIMIZERS)
each_estimating = pytest.mark.parametrize("name", ESTIMATING)

SHAPES = {"w": (16, 64), "b": (8,)}


def arrays(seed, dtype=np.float32, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.standard_normal(s).astype(dtype)) for k, s in shapes.items()}


@functools.cache
def step_of(tx):
    """Compiles one program for all tests of a transformation, because compiling is slow."""

    @jax.jit
    def step(params, state, grads):
        return fo.apply_gradients(tx, grads, state, params, value=3.0)

    return step


def trained(tx, params, state, first=0, steps=3, place=lambda x: x):
    for t in range(first, first + steps):
        params, state = step_of(tx)(params, state, place(arrays(100 + t)))
    return params, state


def assert_near(a, b, tolerance=2e-5):
    for k in b:
        np.testing.assert_allclose(a[k], b[k], rtol=tolerance, atol=tolerance, err_msg=k)


@each_estimating
def test_applied_gradients_are_applied_updates(name):
    tx, params = OPTIMIZERS[name], arrays(0)
    found, _ = trained(tx, params, tx.init(params))
    state, update = tx.init(params), jax.jit(tx.update)
    for t in range(3):
        updates, state = update(arrays(100 + t), state, params, value=3.0)
        params = fo.apply_updates(params, updates)
    assert_near(found, params)


OVER_A_LEAF = (
    "adam_mini",
    "adam_mini-joined",
    "came",
    "cautious",
    "cautious_lion",
    "hyperball",
    "mars",
    "mars-shampoo",
    "norm_constraint",
    "sgd_hd",
    "spam",
    "stable_adamw",
    "update_norm_floor",
)
"""Optimizers of which an element depends on others of its leaf, or of the whole tree."""

ON_A_MESH = [(name, AxisType.Explicit) for name in (*OVER_A_LEAF, *ESTIMATING)]
ON_A_MESH += [(name, AxisType.Auto) for name in ("dog", "mechanize", "prodigy", "schedule_free")]
"""Those with sums over devices on explicit axes; and one of each kind of sum with the others too.

Where elements are alone there is nothing to divide; tests/sharding has all rules on explicit axes,
of which it looks at the types, and some rules on a mesh of the other axes.
"""


@pytest.mark.parametrize(("name", "kind"), ON_A_MESH, ids=lambda x: getattr(x, "name", x))
def test_on_a_mesh_the_numbers_are_those_of_one_device(name, kind):
    if jax.device_count() < 8:
        pytest.skip("needs eight devices")
    mesh, tx = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2), OPTIMIZERS[name]

    def place(tree):
        specs = {1: PartitionSpec(), 2: PartitionSpec("x", "y")}
        return {k: jax.device_put(x, NamedSharding(mesh, specs[x.ndim])) for k, x in tree.items()}

    expected, _ = trained(tx, arrays(0), tx.init(arrays(0)))
    with jax.set_mesh(mesh):
        params = place(arrays(0))
        found, _ = trained(tx, params, jax.jit(tx.init)(params), place=place)
        assert found["w"].sharding.spec == PartitionSpec("x", "y")
    assert_near(found, expected)


@each_estimating
def test_a_state_divided_among_replicas_gives_the_same_numbers(name):
    if jax.device_count() < 8:
        pytest.skip("needs eight devices")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    tx = OPTIMIZERS[name]
    divided = zero1(tx, mesh, "data")

    def place(tree):
        return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))

    expected, _ = trained(tx, arrays(0), tx.init(arrays(0)))
    params = place(arrays(0))
    found, state = trained(divided, params, divided.init(params), place=place)
    assert_near(found, expected)
    large = [x for x in jax.tree.leaves(state) if x.shape == SHAPES["w"]]
    assert large
    assert all(not x.sharding.is_fully_replicated for x in large)


ADAM_WITHIN = {"cautious", "hyperball", "norm_constraint", "update_norm_floor"}
"""Chains of what keeps no moments with Adam, whose moments are seen in `cautious_adamw`."""

each_with_slots = pytest.mark.parametrize("name", [k for k in OPTIMIZERS if k not in ADAM_WITHIN])


@each_with_slots
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
    restored = fo.from_state_dict(tx.init(params), fo.to_state_dict(state))
    expected, _ = trained(tx, params, state, first=3)
    found, _ = trained(tx, params, restored, first=3)
    assert_near(found, expected, 0)


NO_MOMENTS = {
    "cocob",
    "grokfast_ma",
    "madgrad",
    "dadapt_sgd",
    "dog",
    "dowg",
    "ldog",
    "schedule_free_sgd",
}
"""Optimizers without slots that are held in few bits."""


@pytest.mark.parametrize(
    "name", [k for k in OPTIMIZERS if k not in NO_MOMENTS | ADAM_WITHIN | {"adam_mini-joined"}]
)
def test_moments_in_eight_bits_train_nearly_as_those_in_32(name):
    tx, params = OPTIMIZERS[name], arrays(0)
    low = fo.low_bit_state(tx, min_size=256)
    state = low.init(params)
    expected, _ = trained(tx, params, tx.init(params), steps=1)
    found, state = trained(low, params, state, steps=1)
    assert_near(found, expected)
    found, _ = trained(low, found, state, first=1)
    assert all(np.isfinite(x).all() for x in found.values())


@each
def test_bfloat16_parameters_have_float32_state(name):
    params = arrays(0, jnp.bfloat16)
    tx = OPTIMIZERS[name]
    state = tx.init(params)
    kinds = {x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)}
    assert kinds == {jnp.dtype(jnp.float32)}
    updates, _ = jax.jit(tx.update)(arrays(1, jnp.bfloat16), state, params, value=3.0)
    assert all(np.isfinite(np.float32(x)).all() for x in updates.values())


@each_estimating
def test_a_part_is_trained_as_if_alone(name):
    shapes, names = {**SHAPES, "u": SHAPES["w"]}, ("w", "b")
    tx, params, grads = OPTIMIZERS[name], arrays(0, shapes=shapes), arrays(100, shapes=shapes)
    part = {k: params[k] for k in names}
    masked = fo.masked(tx, {k: k in names for k in params})
    found, _ = masked.update(grads, masked.init(params), params, value=3.0)
    mine = {k: grads[k] for k in names}
    expected, _ = tx.update(mine, tx.init(part), part, value=3.0)
    assert_near(found, expected, 1e-6)
    assert (found["u"] == grads["u"]).all()
