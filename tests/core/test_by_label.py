"""by_label: one transformation, with hyperparameters that differ from leaf to leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.testing import check_transformation

from .. import problem
from ..rules.table import matrices
from ..trees import assert_close, assert_same, leaf_types

LABELS = fo.path_labels({"^w": "head"}, default="base")
LABELS_AB = fo.path_labels({"^w": "a"}, default="b")


def two(base, head):
    return fo.by_label({"base": base, "head": head}, LABELS)


def alone(tx, leaf):
    """Trains one leaf alone, with its own transformation, and returns it."""
    params = {leaf: problem.arrays()[leaf]}
    return train(tx, params)[leaf]


def train(tx, params):
    state = tx.init(params)
    for seed in (1, 2, 3):
        grads = {k: problem.arrays(seed=seed)[k] for k in params}
        updates, state = tx.update(grads, state, params)
        params = fo.apply_updates(params, updates)
    return params


PAIRS = {
    "learning_rate": lambda v: fo.adamw(v(0.1, 0.01)),
    "b1": lambda v: fo.adam(0.1, b1=v(0.5, 0.9)),
    "b2 of amsgrad": lambda v: fo.adam(0.1, b2=v(0.5, 0.9), amsgrad=True),
    "eps": lambda v: fo.rmsprop(0.1, eps=v(1e-3, 1.0), centered=True),
    "momentum": lambda v: fo.sgd(0.1, momentum=v(0.5, 0.9), dampening=v(0.0, 0.5)),
    "weight_decay": lambda v: fo.adamw(v(0.1, 0.2), weight_decay=v(0.0, 0.3)),
    "a schedule": lambda v: fo.sgd(
        v(fo.linear_schedule(1.0, 0.0, 5), fo.cosine_decay_schedule(0.3, 4))
    ),
    "one schedule": lambda v: fo.adam(v(fo.linear_schedule(1.0, 0.0, 5), 0.1)),
    "clip": lambda v: fo.chain(fo.clip_by_global_norm(1e6), fo.clip(v(0.1, 0.2))),
}


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_each_leaf_is_trained_as_by_a_transformation_of_its_own(make):
    together = train(make(two), problem.arrays())
    assert_close(together["b"], alone(make(lambda base, head: base), "b"), rtol=1e-6)
    assert_close(together["w"], alone(make(lambda base, head: head), "w"), rtol=1e-6)


def test_names_of_the_values_and_editing_one():
    tx, params = fo.adam(two(0.1, 0.2)), problem.arrays()
    state = tx.init(params)
    names = {k: float(v) for k, v in fo.get_hyperparams(state).items() if "rate" in k}
    assert names == pytest.approx({"learning_rate.base": 0.1, "learning_rate.head": 0.2})
    edited = fo.set_hyperparams(state, {"learning_rate.base": 0.0})
    updates, after = tx.update(params, edited, params)
    assert not updates["b"].any()
    assert updates["w"].all()
    assert leaf_types(after) == leaf_types(state)


def test_a_schedule_of_a_label_is_edited_by_its_numbers_only():
    state = fo.sgd(two(fo.linear_schedule(1.0, 0.0, 5), 0.1)).init(problem.arrays())
    fo.set_hyperparams(state, {"learning_rate.base.end_value": 0.5, "learning_rate.head": 0.2})
    with pytest.raises(ValueError, match=r"learning_rate\.base follows a schedule"):
        fo.set_hyperparams(state, {"learning_rate.base": 0.5})


def test_other_numbers_are_the_same_program():
    params = problem.arrays()

    def program(tx):
        return jax.jit(problem.step_of(tx)).lower(params, tx.init(params), params).as_text()

    one, other = fo.adam(two(0.1, 0.2)), fo.adam(two(0.3, 0.4), b1=0.5)
    assert one.update is other.update
    assert program(one) == program(other)


def test_the_maths_is_traced_once_for_each_shape():
    calls = []

    @fo.leaf_rule()
    def counted(g, slots, p, ctx, rate=0.1):
        calls.append(g.shape)
        return -rate * g, {}

    params = {f"{name}{i}": jnp.ones(11) for name in "wb" for i in range(10)}
    tx = counted(two(0.1, 0.2))
    updates, _ = tx.update(params, tx.init(params))
    assert calls == [(11,)]
    np.testing.assert_allclose([updates["w3"][0], updates["b3"][0]], [-0.2, -0.1], rtol=1e-6)


@pytest.mark.parametrize(
    "tx",
    [fo.adamw(two(0.1, 0.2), b1=two(0.5, 0.9)), fo.sgd(two(0.1, fo.linear_schedule(1.0, 0.1, 9)))],
    ids=["adamw", "sgd"],
)
def test_passes_the_kit(tx):
    reason = "the labels name leaves, which must be there"
    check_transformation(tx, leave_out=dict.fromkeys(["empty_trees", "none_parameters"], reason))


def test_a_leaf_without_a_gradient_does_not_shift_the_others():
    tx, params = fo.sgd(two(0.1, 0.2)), problem.arrays()
    updates, _ = tx.update({"b": None, "w": params["w"]}, tx.init(params), params)
    assert_close(updates["w"], -0.2 * params["w"], rtol=1e-6)
    with pytest.raises(ValueError, match="update needs params where some update is None"):
        tx.update({"b": None, "w": params["w"]}, tx.init(params))


def test_labels_may_be_a_tree_or_a_mask():
    params = problem.arrays()
    tree = fo.sgd(fo.by_label({"x": 0.5, "y": 0.25}, {"b": "x", "w": "y"}))
    mask = fo.sgd(fo.by_label({False: 0.5, True: 0.25}, matrices))
    assert_same(train(tree, params), train(mask, params))


def test_within_a_partition_and_a_batch_of_runs():
    rest = fo.partition({"a": fo.adam(fo.by_label({"x": 0.1}, "x")), "b": fo.sgd(0.1)}, LABELS_AB)
    train(rest, problem.arrays())
    params, tx = problem.arrays(), fo.adam(two(0.1, 0.2))
    rates = jnp.array([0.1, 0.3])

    def step(rate):
        state = fo.set_hyperparams(tx.init(params), {"learning_rate.head": rate})
        return tx.update(params, state, params)[0]

    batch = jax.vmap(step)(rates)
    assert_close(batch["w"][1], 3 * batch["w"][0], rtol=1e-5)
    assert_close(batch["b"][1], batch["b"][0], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fo.by_label({}, LABELS), ValueError, "by_label: there must be labels"),
        (lambda: fo.by_label({1: 0.1, "1": 0.2}, LABELS), ValueError, "no two may read the same"),
        (lambda: fo.adam(0.1, b1=two(0.5, 1.5)), ValueError, r"b1 of 'head' must be in \[0, 1\)"),
        (lambda: fo.clip_by_global_norm(two(1.0, 2.0)), TypeError, "the rule reads the whole tree"),
        (
            lambda: fo.adam(0.1, nesterov=two(True, False)),
            TypeError,
            "it is settled before the first",
        ),
        (lambda: fo.adagrad(0.1, two(0.1, 0.5)), TypeError, "it is settled before the first"),
        (
            lambda: fo.sgd(fo.by_label({"base": 0.1}, LABELS)).init(problem.arrays()),
            ValueError,
            "has no value for 'head', the label of the parameter at 'w'",
        ),
        (lambda: fo.layerwise_decay(0.1, 1.5, ["w"]), ValueError, r"decay must be in \(0, 1\]"),
        (lambda: fo.layerwise_decay(0.1, 0.5, []), ValueError, "layers must be patterns, got none"),
    ],
)
def test_misuse_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_layers_have_rates_that_fall_towards_the_input():
    params = {"embed": jnp.ones(2), "block_0": jnp.ones(2), "block_1": jnp.ones(2)}
    tx = fo.sgd(fo.layerwise_decay(0.8, 0.5, ["embed", r"block_0", r"block_1"]))
    updates, _ = tx.update(params, tx.init(params), params)
    assert {k: float(u[0]) for k, u in updates.items()} == pytest.approx(
        {"embed": -0.2, "block_0": -0.4, "block_1": -0.8}
    )


def test_describe_shows_the_value_of_each_leaf():
    described = fo.describe(fo.adam(two(0.1, 0.2)), problem.arrays())
    for path, rate in (("b", 0.1), ("w", 0.2)):
        assert described[path].links[1].hyperparams == {"learning_rate": rate}
    assert "learning_rate: 'head', by the rule '^w'" in "\n".join(described["w"].routes)


def test_carried_scalars_keep_their_shape_whichever_number_has_labels():
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    labels = fo.path_labels({"^a": "x"}, default="y")
    for name in ("learning_rate", "t0"):
        tx = fo.asgd(**{"learning_rate": 0.1, name: fo.by_label({"x": 0.1, "y": 0.2}, labels)})
        state = tx.init(params)
        _, after = tx.update(params, state, params)
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
