"""`packed` gives the numbers of the transformation that it packs."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.core.leaf.stacking import stack_arrays, unstack_array
from functional_optim.sharding import state_shardings

from ..trees import assert_close, assert_same

SHAPES = {"a": [(3, 2)] * 5, "b": (30, 30), "c": [(4,)] * 4, "d": {"e": (), "f": [()] * 3}}


def tree(seed):
    """Returns 5 matrices, 4 vectors, 4 scalars, and one array that is not small."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.standard_normal(shape), np.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def without(grads):
    """Removes the gradients of some of the leaves that are stacked."""
    return {**grads, "a": [None, *grads["a"][1:]], "c": [*grads["c"][:2], None, None]}


def by_rank(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


PARAMS = tree(0)
GRADS = [tree(1), without(tree(2)), tree(3)]
RATES = fo.by_label({"a": 0.1, "rest": 0.01}, fo.path_labels({"^a": "a"}, default="rest"))

EVERY = {
    "by element": lambda: fo.adamw(0.01),
    "by label": lambda: fo.adam(RATES),
    "global norm in front": lambda: fo.chain(fo.clip_by_global_norm(0.1), fo.adam(0.01)),
    "random": lambda: fo.chain(fo.adam(0.01), fo.add_noise(0.1, 0.5, 0)),
    "norm of each": lambda: fo.lamb(0.01),
    "matrices": lambda: fo.muon(0.01),
    "masked": lambda: fo.adamw(0.01, mask=by_rank),
    "partition": lambda: fo.partition(
        {"x": fo.adam(0.01), "y": fo.sgd(0.1, momentum=0.9)},
        {"a": "x", "b": "x", "c": "y", "d": "y"},
    ),
    "wrapper": lambda: fo.lookahead(fo.adam(0.01), sync_period=2, slow_step_size=0.5),
}


GRADS_OF_KIND = {
    "by element": GRADS,
    "global norm in front": GRADS,
    "matrices": [GRADS[1]] * 2,  # two programs, as these take long to compile
    "random": [GRADS[1]] * 2,
}
"""Gradients of a kind; those of others end with some that are missing."""


def train(tx, state, grads=GRADS, params=PARAMS):
    update = jax.jit(tx.update)
    for g in grads:
        updates, state = update(g, state, params)
        params = fo.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("kind", EVERY)
def test_packed_gives_the_numbers_of_unpacked(kind):
    tx = EVERY[kind]()
    packed = fo.packed(tx, 100)
    grads = GRADS_OF_KIND.get(kind, GRADS[:2])
    expected, plain = train(tx, tx.init(PARAMS), grads)
    found, state = train(packed, packed.init(PARAMS), grads)
    assert len(jax.tree.leaves(state)) < len(jax.tree.leaves(plain))
    # A product of matrices is summed in another order where it is one of many.
    close = {"rtol": 1e-5, "atol": 1e-6} if kind == "matrices" else {"rtol": 2e-7, "atol": 1e-8}
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, **close)
    counts = {k: v for k, v in fo.to_state_dict(plain).items() if ".leaf_counts." in k}
    assert counts
    assert_same({k: v for k, v in fo.to_state_dict(state).items() if ".leaf_counts." in k}, counts)


def test_stacks_have_at_most_32_parameters_and_few_are_not_stacked():
    params = {"a": [jnp.ones(2) * i for i in range(70)], "b": [jnp.ones(3)] * 35}
    tx = fo.sgd(0.5, momentum=0.5)
    packed = fo.packed(tx)
    state = packed.init(params)
    assert [x.shape for x in state.trace.trace.stacks] == [(32, 2), (32, 2), (6, 2), (32, 3)]
    assert [x.shape for x in state.trace.trace.rest] == [(3,)] * 3
    found, expected = (train(x, x.init(params), [params] * 2, params)[0] for x in (packed, tx))
    assert_same(found, expected)


def test_checkpoints_of_packed_and_unpacked_states_are_interchangeable():
    tx = fo.adam(0.01, mu_dtype=jnp.bfloat16)
    packed = fo.packed(tx, 100)
    _, plain = train(tx, tx.init(PARAMS))
    state = fo.from_state_dict(packed.init(PARAMS), fo.to_state_dict(plain))
    assert_same(fo.to_state_dict(state), fo.to_state_dict(plain))
    assert_same(fo.unpacked(state), plain)
    assert_same(fo.from_state_dict(tx.init(PARAMS), fo.to_state_dict(state)), plain)
    assert_same(
        fo.from_state_dict(jax.eval_shape(packed.init, PARAMS), fo.to_state_dict(state)), state
    )


def test_new_parameters_start_with_a_count_of_zero():
    packed = fo.packed(fo.per_leaf_counts(fo.adam(0.01)), 100)
    _, state = train(packed, packed.init(PARAMS))
    saved = {k: v for k, v in fo.to_state_dict(state).items() if k != "scale_by_adam.mu.a.3"}
    found, report = fo.from_state_dict(packed.init(PARAMS), saved, strict=False)
    assert list(report.missing) == ["scale_by_adam.mu.a.3"]
    names = fo.to_state_dict(found)
    assert [names[f"scale_by_adam.leaf_counts.a.{i}"] for i in (3, 4)] == [0, 3]


def test_states_pickle_and_vmap():
    packed = fo.packed(fo.adam(0.01), 100)
    state = packed.init(PARAMS)
    again = pickle.loads(pickle.dumps(state))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    two = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), PARAMS)
    states, plain = jax.vmap(packed.init)(two), jax.vmap(fo.adam(0.01).init)(two)
    updates, states = jax.jit(jax.vmap(packed.update))(two, states, two)
    expected, plain = jax.jit(jax.vmap(fo.adam(0.01).update))(two, plain, two)
    assert_same((updates, fo.unpacked(states)), (expected, plain))
    assert_same(fo.to_state_dict(states), fo.to_state_dict(plain))


def test_gradients_of_several_dtypes_are_not_stacked():
    packed = fo.packed(fo.adam(0.01), 100)
    mixed = {**GRADS[0], "c": [GRADS[0]["c"][0].astype(jnp.bfloat16), *GRADS[0]["c"][1:]]}
    found, expected = (
        tx.update(mixed, tx.init(PARAMS), PARAMS)[0] for tx in (packed, fo.adam(0.01))
    )
    assert_same(found, expected)


def test_packed_and_unpacked_transformations_chain():
    tx = fo.chain(fo.packed(fo.scale_by_adam(), 100), fo.trace(0.9))
    plain = fo.chain(fo.scale_by_adam(), fo.trace(0.9))
    assert tx.init(PARAMS)._fields == ("scale_by_adam", "trace")
    assert tx.init(PARAMS).trace.trace.keys() == PARAMS.keys()
    found, expected = (train(x, x.init(PARAMS)) for x in (tx, plain))
    # XLA may round a product and a sum once in one program, and twice in the other; steps are of
    # the size 1.
    assert_close((found[0], fo.unpacked(found[1])), expected, rtol=2e-7, atol=5e-7)


def test_shardings_of_a_state_have_its_structure():
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    packed = fo.packed(fo.adam(0.01), 100)
    specs = jax.tree.map(lambda p: jax.P("x") if p.ndim == 2 and p.size < 9 else jax.P(), PARAMS)
    specs["a"][0] = jax.P()
    found = state_shardings(packed, PARAMS, specs, mesh)
    made = jax.jit(packed.init, out_shardings=found)(PARAMS)
    assert jax.tree.structure(found) == jax.tree.structure(made)
    stacks = found.scale_by_adam.mu.stacks
    assert [s.spec for s in stacks[:2]] == [jax.P(), jax.P()]


def test_the_stateful_interface_saves_each_parameter_of_a_packed_state():
    opt, plain = (optim.Optimizer(PARAMS, tx) for tx in (fo.packed(fo.adam(0.01)), fo.adam(0.01)))
    for one in (opt, plain):
        one.step(GRADS[0])
    again = optim.Optimizer(opt.params, fo.packed(fo.adam(0.01)))
    again.load_state_dict(plain.state_dict())
    assert_same(again.state_dict()["state"], plain.state_dict()["state"])


@pytest.mark.parametrize("n", [1, 3, 32, 33, 100, 1100])
def test_unstacking_restores_the_stacked_arrays(n):
    rng = np.random.default_rng(0)
    special = np.array([-0.0, 0.0, np.inf, -np.inf, np.nan, 1.0], np.float32)
    arrays = [rng.permutation(special) for _ in range(n)]
    found = jax.jit(lambda xs: unstack_array(stack_arrays(xs)))(arrays)
    assert [np.asarray(x).tobytes() for x in found] == [np.asarray(x).tobytes() for x in arrays]


def test_unstacking_is_differentiable():
    def f(x):
        return sum(i * y.sum() for i, y in enumerate(unstack_array(jnp.sin(x))))

    x = jnp.arange(6.0).reshape(3, 2)
    expected = jnp.cos(x) * jnp.arange(3.0)[:, None]
    np.testing.assert_allclose(jax.grad(f)(x), expected, rtol=1e-6)
