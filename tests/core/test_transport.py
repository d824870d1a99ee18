"""Where a transformation and its state must be able to go, beyond what the kit asks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem
from ..rules import REPRESENTATIVES, cases, each_of, each_own_rule, plain
from ..trees import assert_close, assert_finite, assert_same, leaf_types, zeros_like


def one_step(tx, params, grads):
    """Returns updates and state after one update."""
    return tx.update(grads, tx.init(params), params)


@each_own_rule
def test_maps_over_a_batch_of_runs(case):
    tx, params = case.make(), problem.arrays()
    batch = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    states = jax.eval_shape(jax.vmap(tx.init), batch)
    assert leaf_types(jax.eval_shape(jax.vmap(tx.update), batch, states, batch)) == leaf_types(
        (batch, states)
    )


@pytest.mark.parametrize("name", ["adamw-mask", "rmsprop-torch", "chain-clip-adam-schedule"])
def test_a_batch_of_runs_does_what_each_does_alone(name):
    tx = next(case for case in cases() if case.name == name).make()
    params, grads = ([problem.arrays(seed=s) for s in seeds] for seeds in ((0, 1), (2, 3)))

    def stack(trees):
        return jax.tree.map(lambda *xs: jnp.stack(xs), *trees)

    states = jax.vmap(tx.init)(stack(params))
    together = jax.vmap(tx.update)(stack(grads), states, stack(params))
    apart = stack([tx.update(g, tx.init(p), p) for p, g in zip(params, grads, strict=True)])
    assert_close(together, apart, rtol=1e-6)


# Other rules keep their arrays in the same containers as those that represent their kind.
OWN_CONTAINERS = [c for c in plain(cases()) if not c.oracle or c.name in REPRESENTATIVES]


@each_of(OWN_CONTAINERS)
def test_init_within_jit_makes_what_it_makes_outside(case):
    tx, params = case.make(), problem.arrays()
    assert_same(jax.jit(tx.init)(params), tx.init(params))


@each_own_rule
def test_init_of_shapes_makes_what_it_makes_of_zeros(case):
    tx, params = case.make(), zeros_like(problem.arrays())
    assert_same(tx.init(jax.eval_shape(lambda: params)), tx.init(params))


@pytest.mark.usefixtures("eager")
@each_own_rule
def test_scalars_and_leaves_without_elements_are_trained(case):
    params = {"w": jnp.ones((0, 3)), "b": jnp.ones(())}
    updates, _ = one_step(case.make(), params, params)
    assert leaf_types(updates) == leaf_types(params)
    assert_finite(updates)


def slots_of(state, name):
    """Returns the slots that the links keep for one parameter."""
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    kept = {jax.tree_util.keystr(path): x for path, x in flat}
    return {k: x for k, x in kept.items() if k.endswith(f"['{name}']")}


LEAVES = len(problem.SHAPES)
NUMBER = {name: i for i, name in enumerate(sorted(problem.SHAPES))}


def leaf_counts_of(state, leaves=LEAVES):
    """Returns the counts of the links that have this number of leaves; a mask has fewer."""
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    counts = {jax.tree_util.keystr(path): x for path, x in flat}
    return {k: x for k, x in counts.items() if k.endswith("leaf_counts") and x.shape == (leaves,)}


@pytest.mark.usefixtures("eager")
@each_own_rule
def test_a_leaf_without_a_gradient_stays_and_the_others_move_as_if_alone(case):
    if case.factory is fo.flatten:
        pytest.skip("one vector has one count")
    if case.factory is fo.sam:
        pytest.skip("without a gradient, a leaf may have to return from a climb")
    if case.factory in (fo.dog, fo.scale_by_dog):
        pytest.skip("the first distance is in units of all parameters")
    # Counted from the start: wrappers that act at some steps only need that.
    tx = fo.per_leaf_counts(case.make())
    params, grads = problem.arrays(seed=0), problem.arrays(seed=1)
    state = tx.init(params)
    updates, after = tx.update({**grads, "b": None}, state, params)
    assert updates["b"] is None
    assert_same(slots_of(after, "b"), slots_of(state, "b"))
    counts = leaf_counts_of(after)
    assert all(count[NUMBER["b"]] == 0 for count in counts.values())

    alone = {"w": params["w"], "b": None}
    expected, lone = tx.update({**grads, "b": None}, tx.init(alone), alone)
    assert_same(updates["w"], expected["w"])
    assert_same(slots_of(after, "w"), slots_of(lone, "w"))
    alone = leaf_counts_of(lone, leaves=1)
    for link, count in counts.items():
        assert count[NUMBER["w"]] == alone[link][0]


@pytest.mark.parametrize("nothing", [fo.MaskedNode(), optax.MaskedNode()], ids=repr)
@pytest.mark.parametrize("tx", [fo.adam(0.1), fo.sgd(0.1), fo.clip_by_global_norm(1.0)], ids=repr)
def test_masked_nodes_and_none_as_gradients_are_equivalent(tx, nothing):
    params = problem.arrays()
    ours, state = tx.update({**params, "b": nothing}, tx.init(params), params)
    assert type(ours["b"]) is type(nothing)
    expected, expected_state = tx.update({**params, "b": None}, tx.init(params), params)
    assert_same(ours["w"], expected["w"])
    assert_same(state, expected_state)


def test_a_leaf_without_a_gradient_keeps_its_count():
    tx, params = fo.scale_by_adam(), problem.arrays()
    state = tx.init(params)
    for grads in (params, {**params, "b": None}, {**params, "b": None}):
        _, state = tx.update(grads, state, params)
    assert state.leaf_counts.tolist() == [1, 3]  # b, w
    assert state.count == 3


def test_the_norm_is_over_the_leaves_that_have_a_gradient():
    tx, params = fo.clip_by_global_norm(1.0), {"a": jnp.ones(1), "b": jnp.ones(1)}
    grads = {"a": jnp.array([3.0]), "b": None}
    updates, state = tx.update(grads, tx.init(params))
    assert state.metrics["global_norm"] == 3
    assert updates["a"] == 1


def test_no_leaf_may_have_a_gradient():
    tx = fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(1e-3))
    params = problem.arrays()
    updates, state = tx.update({"w": None, "b": None}, tx.init(params), params)
    assert updates == {"w": None, "b": None}
    assert state.scale_by_adam.leaf_counts.tolist() == [0, 0]
    assert state.clip_by_global_norm.metrics["global_norm"] == 0


@pytest.mark.parametrize("containers", [list, tuple, lambda xs: fo.State(a=xs[0], b=xs[1])])
def test_any_container_is_a_tree(containers):
    tree = containers([jnp.ones(2), {"c": (jnp.ones(()),)}])
    tx = fo.adam(0.1)
    updates, _ = tx.update(tree, tx.init(tree), tree)
    assert jax.tree.structure(updates) == jax.tree.structure(tree)


def test_a_bare_array_is_a_tree():
    tx = fo.adam(0.1)
    updates, state = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))
    assert updates.shape == state.scale_by_adam.mu.shape == (2,)


def test_python_and_numpy_numbers_are_parameters():
    params = {"a": 1.0, "b": np.float32(2.0), "c": np.ones(2, np.float32)}
    tx = fo.adam(0.5)
    updates, _ = tx.update(params, tx.init(params), params)
    stepped = fo.apply_updates(params, updates)
    assert_close(stepped, {"a": 0.5, "b": 1.5, "c": np.full(2, 0.5)}, rtol=1e-6)
