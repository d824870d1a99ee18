import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem
from ..trees import assert_close, assert_same

PARAMS = problem.arrays()


def paths(tree):
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in flat]


def test_the_state_has_a_field_for_each_link_named_after_it():
    state = fo.chain(fo.clip(1.0), fo.ema(0.9), fo.scale(-0.1)).init(PARAMS)
    assert state._fields == ("clip", "ema", "scale")
    assert state.ema is state["ema"] is state[1]


def test_links_of_one_name_are_numbered():
    state = fo.chain(fo.scale(1.0), fo.clip(1.0), fo.scale(2.0), fo.scale(3.0)).init(PARAMS)
    assert state._fields == ("scale", "clip", "scale_1", "scale_2")


def test_a_foreign_link_is_named_after_the_function_that_made_it():
    state = fo.chain(optax.clip(1.0), optax.scale_by_adam(), optax.scale(-1.0)).init(PARAMS)
    assert state._fields == ("clip", "scale_by_adam", "scale")


def test_chaining_is_associative_in_the_paths_of_the_state_and_in_the_program():
    a, b, c = fo.clip(1.0), fo.scale_by_adam(), fo.scale_by_learning_rate(0.1)
    flat = fo.chain(a, b, c)
    for nested in (fo.chain(a, fo.chain(b, c)), fo.chain(fo.chain(a, b), c), fo.chain(flat)):
        assert nested == flat
        assert nested.update is flat.update
        assert paths(nested.init(PARAMS)) == paths(flat.init(PARAMS))


def test_the_moments_of_an_optimizer_stay_where_they_are_behind_a_clip():
    alone = paths(fo.adam(1e-3).init(PARAMS))
    behind = paths(fo.chain(fo.clip(1.0), fo.adam(1e-3)).init(PARAMS))
    assert "scale_by_adam.mu.w" in alone
    assert set(alone) < set(behind)


def test_a_schedule_in_the_place_of_a_number_moves_no_path():
    constant = paths(fo.adam(1e-3).init(PARAMS))
    scheduled = paths(fo.adam(fo.linear_schedule(1.0, 0.0, 3)).init(PARAMS))
    assert set(constant) < set(scheduled)


def test_the_empty_chain_is_the_identity():
    tx = fo.chain()
    updates, state = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    assert updates is PARAMS
    assert not jax.tree.leaves(state)


def test_links_apply_in_order():
    tx = fo.chain(fo.scale(10.0), fo.clip(1.0), fo.scale(-0.5))
    updates, _ = tx.update({"w": jnp.array([3.0, 0.01])}, tx.init({"w": jnp.zeros(2)}))
    np.testing.assert_allclose(updates["w"], [-0.5, -0.05], rtol=1e-6)


def test_fused_links_give_the_same_updates_as_separate_links():
    links = (
        fo.add_decayed_weights(0.1),
        fo.clip_by_global_norm(1.0),
        fo.scale_by_adam(),
        fo.clip_by_global_norm(0.5),
        fo.trace(0.9),
        fo.scale_by_learning_rate(0.1),
    )
    tx, grads = fo.chain(*links), problem.arrays(seed=1)
    updates, state = tx.update(grads, tx.init(PARAMS), PARAMS)
    expected = grads
    for i, link in enumerate(links):
        expected, own = link.update(expected, link.init(PARAMS), PARAMS)
        assert_close(state[i], own, rtol=1e-6)
    assert_close(updates, expected, rtol=1e-6)


@dataclasses.dataclass
class Seen:
    """A foreign link that records what it is given, in three kinds of signature."""

    extra: dict = dataclasses.field(default_factory=dict)

    def strict(self, updates, state, params=None):
        return updates, state

    def named(self, updates, state, params=None, *, value):
        self.extra["named"] = {"value": value}
        return updates, state

    def open(self, updates, state, params=None, **extra):
        self.extra["open"] = extra
        return updates, state


def test_extra_arguments_go_to_the_links_that_take_them():
    seen = Seen()
    pairs = [(lambda params: (), update) for update in (seen.strict, seen.named, seen.open)]
    links = [fo.GradientTransformation(*pair) for pair in pairs]
    tx = fo.chain(links[0], fo.scale(2.0), links[1], fo.chain(links[2]))
    tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=1.0, other=2)
    assert seen.extra == {"named": {"value": 1.0}, "open": {"value": 1.0, "other": 2}}


def test_links_of_optax_run_among_ours():
    ours = fo.chain(fo.clip(0.5), fo.scale_by_adam(), fo.scale(-0.1))
    mixed = fo.chain(optax.clip(0.5), fo.scale_by_adam(), optax.scale(-0.1))
    expected, _ = ours.update(PARAMS, ours.init(PARAMS), PARAMS)
    updates, _ = jax.jit(mixed.update)(PARAMS, mixed.init(PARAMS), PARAMS)
    assert_close(updates, expected, rtol=1e-6)


def test_our_chain_runs_within_that_of_optax():
    ours = fo.chain(fo.clip(0.5), fo.adamw(1e-3))
    theirs = optax.chain(optax.identity(), ours)
    expected, _ = ours.update(PARAMS, ours.init(PARAMS), PARAMS)
    updates, _ = theirs.update(PARAMS, theirs.init(PARAMS), PARAMS)
    assert_same(updates, expected)


@pytest.mark.parametrize(
    ("links", "text"),
    [
        (([fo.clip(1.0), fo.scale(1.0)],), "link 0 must be a pair .* got list .* Pass \\*links"),
        ((fo.clip(1.0), fo.scale), "link 1 must be a pair .* got function .* it makes: scale"),
        ((fo.clip(1.0), None), "link 1 must be a pair of functions .* got NoneType None"),
    ],
)
def test_an_argument_that_is_not_a_link_is_an_error(links, text):
    with pytest.raises(TypeError, match=f"chain: {text}"):
        fo.chain(*links)


@pytest.mark.parametrize(
    ("wrapper", "where"),
    [
        (fo.cautious, "cautious: inner"),
        (fo.generalized_primal_averaging, "generalized_primal_averaging: base_optimizer"),
        (lambda tx: fo.hypergradient(tx, 0.1), "hypergradient: inner"),
        (lambda tx: fo.schedule_free(tx, 0.1), "schedule_free: base_optimizer"),
        (lambda tx: fo.masked(tx, True), "masked: inner"),
        (fo.chain, "chain: link 0"),
    ],
)
def test_a_factory_that_was_not_called_is_said_to_be_one(wrapper, where):
    with pytest.raises(TypeError, match=rf"^{where} must be a pair .*it makes: adam\(\.\.\.\)\.$"):
        wrapper(fo.adam)
