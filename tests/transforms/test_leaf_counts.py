"""Counts of the updates of each leaf, from the start or from the first gradient that is None."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from ..trees import assert_same

PARAMS = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([0.5, 1.0, -1.0])}


def draw(steps, seed=0):
    """Draws gradients of some steps, stacked."""
    rng = np.random.default_rng(seed)
    return {
        k: jnp.asarray(rng.standard_normal((steps, *p.shape)), np.float32)
        for k, p in PARAMS.items()
    }


def scan(tx, params, state, grads):
    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (fo.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), grads)[0]


def run(tx, state, grads):
    """Returns the updates one after another, and the last state."""
    updates = []
    for g in grads:
        u, state = tx.update(g, state, PARAMS)
        updates.append(u)
    return updates, state


RULES = {
    "adam": lambda: fo.adam(0.1),
    "momentum_decay": lambda: fo.adam(0.1, nesterov=True, momentum_decay=0.004),
    "clip and adam": lambda: fo.chain(fo.clip_by_global_norm(1.0), fo.adam(0.1)),
    "dampening": lambda: fo.sgd(0.1, momentum=0.9, dampening=0.5),
    "rest_at_zero": lambda: fo.trace(0.9, rest_at_zero=True),
    "radam": lambda: fo.radam(0.1),
    "rprop": lambda: fo.rprop(0.1),
    "params_swa": lambda: fo.chain(fo.sgd(0.1), fo.params_swa()),
    "by label": lambda: fo.adam(
        fo.by_label({"a": 0.1, "b": 0.2}, fo.path_labels({"^a": "a"}, default="b"))
    ),
    "schedule": lambda: fo.adam(fo.linear_schedule(0.1, 0.0, 5)),
}
each_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES)

ALL = jax.tree.map(lambda p: 0.3 * p, PARAMS)
SOME = {**ALL, "b": None}


@each_rule
def test_counts_from_the_start_and_counts_that_are_added_later_give_the_same(make):
    tx, grads = make(), [ALL, SOME, SOME, ALL]
    counting = fo.per_leaf_counts(tx)
    updates, state = run(tx, tx.init(PARAMS), grads)
    expected, from_start = run(counting, counting.init(PARAMS), grads)
    assert_same(updates, expected)
    names = fo.to_state_dict(state)
    assert_same(names, {k: v for k, v in fo.to_state_dict(from_start).items() if k in names})


@each_rule
def test_the_structure_of_the_state_never_changes(make):
    tx = fo.per_leaf_counts(make())
    state = tx.init(PARAMS)
    for g in (ALL, SOME, ALL):
        _, new = tx.update(g, state, PARAMS)
        assert jax.tree.structure(new) == jax.tree.structure(state)
        assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
        state = new


def test_a_leaf_without_gradients_in_some_segments_of_a_run_is_as_one_that_joins_later():
    tx, grads = fo.per_leaf_counts(fo.adam(0.1)), draw(9)
    params, state = PARAMS, tx.init(PARAMS)
    for begin, end, names in ((0, 3, "a"), (3, 6, "ab"), (6, 7, "b"), (7, 9, "ab")):
        segment = {k: g[begin:end] if k in names else None for k, g in grads.items()}
        params, state = scan(tx, params, state, segment)
    assert state.scale_by_adam.leaf_counts.tolist() == [8, 6]
    alone = fo.adam(0.1)
    own = {
        "a": jnp.concatenate([grads["a"][:6], grads["a"][7:]]),
        "b": grads["b"][3:],
    }
    for k, g in own.items():
        expected, _ = scan(alone, PARAMS[k], alone.init(PARAMS[k]), g)
        np.testing.assert_allclose(params[k], expected, rtol=1e-6)


def test_a_scan_over_a_state_without_counts_fails_where_a_gradient_is_none():
    tx = fo.adam(0.1)
    with pytest.raises(TypeError, match="carry"):
        scan(tx, PARAMS, tx.init(PARAMS), {**draw(3), "b": None})


def test_while_all_leaves_have_gradients_there_is_one_count():
    tx = fo.adam(0.1)
    _, state = run(tx, tx.init(PARAMS), [ALL, ALL])
    assert "leaf_counts" not in state.scale_by_adam
    _, state = run(tx, state, [SOME])
    assert state.scale_by_adam.count == 3
    assert state.scale_by_adam.leaf_counts.tolist() == [3, 2]


def test_a_rule_that_does_not_depend_on_time_keeps_its_state():
    tx = fo.sgd(0.1, momentum=0.9)
    state = tx.init(PARAMS)
    _, new = tx.update(SOME, state, PARAMS)
    assert jax.tree.structure(new) == jax.tree.structure(state)


def test_it_is_a_value():
    tx = fo.per_leaf_counts(fo.adam(0.1))
    assert tx == fo.per_leaf_counts(fo.adam(0.1)) != fo.adam(0.1)
    assert hash(tx) == hash(fo.per_leaf_counts(fo.adam(0.1)))
    assert pickle.loads(pickle.dumps(tx)) == tx
    assert tx.update is fo.adam(0.2).update


def test_packed_states_have_it_too():
    params = {"a": [jnp.ones(2)] * 5, "b": jnp.ones(3)}
    grads = {**params, "b": None}
    plain, packed = (fo.per_leaf_counts(tx) for tx in (fo.adam(0.1), fo.packed(fo.adam(0.1), 2)))
    found, state = packed.update(grads, packed.init(params), params)
    assert_same(found, plain.update(grads, plain.init(params), params)[0])
    assert state.scale_by_adam.leaf_counts.tolist() == [1] * 5 + [0]


@pytest.mark.parametrize("not_a_pair", [None, fo.adam, [fo.adam(0.1)]])
def test_an_argument_that_is_not_a_transformation_is_refused(not_a_pair):
    with pytest.raises(TypeError, match="per_leaf_counts: tx must be a pair of functions"):
        fo.per_leaf_counts(not_a_pair)


WRAPPERS = {
    "MultiSteps": lambda tx: fo.MultiSteps(tx, 1),
    "conditionally_transform": lambda tx: fo.conditionally_transform(tx, lambda step: step >= 0),
    "conditionally_mask": lambda tx: fo.conditionally_mask(tx, lambda step: step >= 0),
    "apply_if_finite": lambda tx: fo.apply_if_finite(tx, 3),
    "lookahead": lambda tx: fo.lookahead(tx, 2, 0.5, reset_state=True),
    "loss_scale": lambda tx: fo.loss_scale(tx, 1.0),
    "sam": lambda tx: fo.sam(tx, fo.sgd(0.1), 1),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_that_act_at_some_steps_ask_for_the_counts(name):
    wrap = WRAPPERS[name]
    tx = wrap(fo.adam(0.1))
    with pytest.raises(ValueError, match=rf"{name}: .* of scale_by_adam .* per_leaf_counts"):
        tx.update(SOME, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("around", [False, True], ids=["inside", "around"])
def test_with_the_counts_wrappers_accept_gradients_that_are_none(name, around):
    wrap = WRAPPERS[name]
    inner = fo.adam(0.1)
    tx = fo.per_leaf_counts(wrap(inner)) if around else wrap(fo.per_leaf_counts(inner))
    updates, _ = tx.update(SOME, tx.init(PARAMS), PARAMS)
    assert_same(fo.apply_updates(PARAMS, updates)["b"], PARAMS["b"])
    np.testing.assert_allclose(updates["a"], -0.1 * np.sign(PARAMS["a"]), rtol=1e-5)


def test_the_error_names_the_wrapper_where_the_inner_state_is_of_one_rule():
    tx = fo.apply_if_finite(fo.scale_by_adam(), 3)
    with pytest.raises(ValueError, match="apply_if_finite: a gradient is None, so the inner state"):
        tx.update(SOME, tx.init(PARAMS), PARAMS)
