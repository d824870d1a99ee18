"""Updates are counted leaf by leaf where leaves differ; before that, one count serves all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.rules import leaf_rule

from .. import problem
from ..compiling import USUAL
from ..trees import assert_close, assert_same, leaf_types

# The tests without jit run the programs of leaves that the fixture `compiled` needs optimized: all
# tests use these, or each would be compiled twice.
pytestmark = pytest.mark.usefixtures("optimized")


def leaves(seed):
    """Draws two leaves of one shape, which share their programs."""
    return dict(zip("bw", problem.arrays(seed=seed)["w"][:2], strict=True))


PARAMS = leaves(0)

OPTIMIZERS = {
    "adam": fo.adam(0.1),
    "adamw": fo.adamw(0.1),
    "amsgrad": fo.amsgrad(0.1),
    "adamax": fo.adamax(0.1),
    "nadam": fo.nadam(0.1),
    "torch's nadam": fo.adam(0.1, nesterov=True, momentum_decay=0.004),
    "radam": fo.radam(0.1),
    "adadelta": fo.adadelta(0.1),
    "asgd": fo.asgd(0.1, t0=2.0),
    "rprop": fo.rprop(0.1),
    "rmsprop": fo.rmsprop(0.1, momentum=0.9, centered=True),
    "novograd": fo.novograd(0.1),
    "ema": fo.ema(0.9),
    "by label": fo.adam(
        0.1, b1=fo.by_label({"x": 0.5, "y": 0.9}, fo.path_labels({"w": "x"}, default="y"))
    ),
    "scheduled": fo.adam(fo.linear_schedule(0.1, 0.0, 9), b1=fo.linear_schedule(0.5, 0.9, 9)),
}
each_optimizer = pytest.mark.parametrize("tx", OPTIMIZERS.values(), ids=OPTIMIZERS)


def grads(seed, *without):
    """Returns gradients, None for some leaves."""
    return {k: None if k in without else g for k, g in leaves(seed).items()}


def run(tx, gradients, params=PARAMS):
    """Returns parameters and state after some updates."""
    step = problem.step_of(tx)
    state = tx.init(params)
    for g in gradients:
        params, state = step(params, state, g)
    return params, state


@functools.cache
def run_with_all(tx, seeds):
    """Returns the parameters after updates in which no gradient is None."""
    return run(tx, [grads(k) for k in seeds])[0]


def counts_of(state):
    """Returns all leaf counts within a state."""
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    return [x for path, x in flat if jax.tree_util.keystr(path[-1:]) == ".leaf_counts"]


@pytest.mark.usefixtures("eager")
@each_optimizer
def test_a_state_has_no_leaf_counts_while_all_leaves_have_gradients(tx):
    _, state = run(tx, [grads(1), grads(2)])
    assert not counts_of(state)


def test_leaf_counts_begin_at_the_first_update_without_a_gradient():
    tx = fo.scale_by_adam()
    state = tx.init(PARAMS)
    seen = []
    for g in (grads(1), grads(2), grads(3, "b"), grads(4, "w"), grads(5, "b"), grads(6)):
        _, state = tx.update(g, state, PARAMS)
        counts = state.leaf_counts.tolist() if "leaf_counts" in state else None
        seen.append((int(state.count), counts))
    assert seen == [(1, None), (2, None), (3, [2, 3]), (4, [3, 3]), (5, [3, 4]), (6, [4, 5])]
    assert state._fields[:2] == ("count", "leaf_counts")
    assert state.leaf_counts.dtype == jnp.int32


def test_leaf_counts_stay_in_the_state():
    tx = fo.adam(0.1)
    _, state = run(tx, [grads(1, "b")])
    _, after = jax.eval_shape(tx.update, grads(2), state, PARAMS)
    assert leaf_types(after) == leaf_types(state)


def test_a_rule_whose_scalars_do_not_depend_on_the_count_has_none():
    for tx in (fo.sgd(0.1, momentum=0.9), fo.lion(0.1), fo.rmsprop(0.1)):
        _, state = run(tx, [grads(1, "b"), grads(2)])
        assert not counts_of(state)


@pytest.mark.parametrize("missing", ["b", "w"])
@pytest.mark.parametrize("tx", [tx for k, tx in OPTIMIZERS.items() if k != "scheduled"], ids=repr)
def test_each_leaf_is_as_old_as_its_own_updates(tx, missing):
    """A leaf that misses updates ends where it ends if there are none but its own."""
    with_gap = [grads(1), grads(2, missing), grads(3), grads(4, missing), grads(5)]
    params, _ = run(tx, with_gap)
    alone, whole = run_with_all(tx, (1, 3, 5)), run_with_all(tx, range(1, 6))
    other = next(k for k in PARAMS if k != missing)
    assert_close(params[missing], alone[missing], rtol=1e-6)
    assert_close(params[other], whole[other], rtol=1e-6)


def test_a_schedule_counts_the_updates_of_all_leaves_together():
    tx = fo.sgd(fo.linear_schedule(1.0, 0.0, 4))
    _, state = run(tx, [grads(1), grads(2, "b")])
    updates, _ = tx.update(PARAMS, state, PARAMS)
    assert_same(updates["b"], -0.5 * PARAMS["b"])


@pytest.fixture(scope="module")
def compiled(optimized):
    """Runs all optimizers in two programs, with and without leaf counts.

    Returns, for each optimizer, the parameters and state from both.
    """
    gradients, runs = [grads(k) for k in range(1, 5)], []
    for wrap in (lambda tx: tx, fo.per_leaf_counts):
        txs = {name: wrap(tx) for name, tx in OPTIMIZERS.items()}

        def steps(all_of_them, g, txs=txs):
            return {k: problem.step_of(txs[k])(*held, g) for k, held in all_of_them.items()}

        program = jax.jit(steps, compiler_options=USUAL)
        held = {name: (PARAMS, tx.init(PARAMS)) for name, tx in txs.items()}
        for g in gradients:
            held = program(held, g)
        runs.append(held)
    return {name: (runs[0][name], runs[1][name]) for name in OPTIMIZERS}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_shared_count_gives_the_bits_that_a_count_for_each_leaf_gives(name, compiled):
    tx, gradients = OPTIMIZERS[name], [grads(k) for k in range(1, 5)]
    (shared, state), (per_leaf, counted) = compiled[name]
    assert_close(shared, per_leaf, rtol=2e-7, atol=1e-9)
    without_jit = run(tx, gradients), run(fo.per_leaf_counts(tx), gradients)
    assert_same(without_jit[0][0], without_jit[1][0])
    assert all(x.tolist() == [4, 4] for x in counts_of(counted))
    assert not counts_of(state)


@each_optimizer
def test_counts_from_the_start_give_what_counts_from_the_first_none_give(tx):
    gradients = [grads(1), grads(2), grads(3, "w"), grads(4)]
    late, state = run(tx, gradients)
    early, counted = run(fo.per_leaf_counts(tx), gradients)
    assert_same(late, early)
    if counts_of(state):
        assert_same(counts_of(state), counts_of(counted)[: len(counts_of(state))])


def test_per_leaf_counts_are_kept_by_rules_with_slots_or_with_scalars_that_depend_on_them():
    tx = fo.per_leaf_counts(fo.chain(fo.clip(1.0), fo.trace(0.9), fo.scale_by_adam()))
    state = tx.init(PARAMS)
    assert state.trace.leaf_counts.tolist() == state.scale_by_adam.leaf_counts.tolist() == [0, 0]
    assert "leaf_counts" not in state.clip


def test_per_leaf_counts_do_not_change_the_structure_of_a_scan():
    tx = fo.per_leaf_counts(fo.nadam(0.1))
    state = tx.init(PARAMS)
    _, after = jax.eval_shape(tx.update, grads(1, "b"), state, PARAMS)
    assert leaf_types(after) == leaf_types(state)


def test_a_carried_scalar_becomes_one_for_each_leaf():
    tx = fo.scale_by_adam(nesterov=True, momentum_decay=0.004)
    _, state = run(tx, [grads(1)])
    assert [x.shape for x in state.carry.values()] == [()]
    _, state = tx.update(grads(2, "b"), state, PARAMS)
    (product,) = state.carry.values()
    assert product.shape == (2,)
    assert product[0] > product[1], "b had one update, w two"


def test_a_rule_without_slots_may_count_the_updates_of_each_parameter():
    @leaf_rule(step_scalars=lambda t: {"t": t}, needs=("params",))
    def counted(g, slots, p, ctx):
        return ctx.t * g, {}

    params = {"a": jnp.ones(()), "b": jnp.ones(())}
    tx = counted()
    state = tx.init(params)
    _, state = tx.update({"a": None, "b": params["b"]}, state, params)
    assert state.leaf_counts.tolist() == [0, 1]
    updates, state = tx.update(params, state, params)
    assert (float(updates["a"]), float(updates["b"])) == (1.0, 2.0)


def test_without_params_a_rule_without_slots_cannot_know_which_leaf_has_no_gradient():
    @leaf_rule(step_scalars=lambda t: {"t": t})
    def counted(g, slots, p, ctx):
        return ctx.t * g, {}

    tx = counted()
    with pytest.raises(ValueError, match="counted: update needs params where some update is None"):
        tx.update(grads(1, "b"), tx.init(PARAMS))
    _, state = tx.update(grads(1, "b"), tx.init(PARAMS), PARAMS)
    assert state.leaf_counts.tolist() == [0, 1]


WRAPPERS = {
    "apply_if_finite": lambda tx: fo.apply_if_finite(tx, 2),
    "MultiSteps": lambda tx: fo.MultiSteps(tx, 2),
    "conditionally_transform": lambda tx: fo.conditionally_transform(tx, lambda step: step > 0),
    "conditionally_mask": lambda tx: fo.conditionally_mask(tx, lambda step: step > 0),
}


@pytest.mark.parametrize(("name", "wrap"), WRAPPERS.items(), ids=WRAPPERS)
def test_wrappers_that_act_at_some_steps_need_the_counts_from_the_start(name, wrap):
    tx = wrap(fo.scale_by_adam())
    with pytest.raises(ValueError, match=rf"^{name}: a gradient is None, .* per_leaf_counts"):
        tx.update(grads(1, "b"), tx.init(PARAMS), PARAMS)
    tx = fo.per_leaf_counts(tx)
    state = tx.init(PARAMS)
    _, after = tx.update(grads(1, "b"), state, PARAMS)
    assert leaf_types(after) == leaf_types(state)


def test_a_state_of_another_number_of_leaves_is_refused():
    tx = fo.per_leaf_counts(fo.scale_by_adam())
    state = tx.init(PARAMS)
    other = state._replace(leaf_counts=jnp.zeros(3, np.int32))
    with pytest.raises(ValueError, match="scale_by_adam: the state was made for 3 parameters, got"):
        tx.update(grads(1), other, PARAMS)


def test_a_leaf_that_has_not_started_begins_with_its_first_bias_correction():
    tx = fo.scale_by_adam()
    state = tx.init(PARAMS)
    for k in range(3):
        _, state = tx.update(grads(k, "b"), state, PARAMS)
    updates, _ = tx.update(grads(4), state, PARAMS)
    np.testing.assert_allclose(updates["b"], np.sign(grads(4)["b"]), rtol=1e-4)
