"""One call reads what all links measured."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim.rules import TreeStats, leaf_rule


def floats(found):
    return {k: float(v) for k, v in found.items()}


def test_names_that_two_links_have_are_written_with_their_paths():
    tx = fo.chain(fo.clip_by_global_norm(2.0), fo.clip_by_global_norm(1.0))
    _, state = tx.update({"w": 4.0}, tx.init({"w": 0.0}))
    assert floats(fo.metrics(state)) == {
        "clip_by_global_norm.clip_factor": 0.5,
        "clip_by_global_norm.global_norm": 4.0,
        "clip_by_global_norm_1.clip_factor": 0.5,
        "clip_by_global_norm_1.global_norm": 2.0,
    }


def test_they_are_found_in_groups_and_in_states_of_others():
    inner = fo.chain(fo.zero_nans(), fo.sgd(0.1))
    tx = fo.partition({"a": inner, "b": fo.sgd(0.1)}, {"w": "a", "v": "b"})
    grads = {"w": jnp.array([jnp.nan, 1.0]), "v": jnp.ones(1)}
    _, state = tx.update(grads, tx.init(grads))
    assert floats(fo.metrics({"theirs": (state, 3)})) == {"nans": 1.0}


@pytest.mark.parametrize("tx", [fo.chain(), fo.sgd(0.1), fo.adam(1e-3)])
def test_rules_that_measure_nothing_have_none(tx):
    assert fo.metrics(tx.init({"w": 0.0})) == {}


def test_a_vmapped_state_has_one_for_each():
    tx = fo.clip_by_global_norm(1.0)
    state = jax.vmap(lambda g: tx.update(g, tx.init(g))[1])(jnp.array([[3.0], [4.0]]))
    assert fo.metrics(state)["global_norm"].tolist() == [3.0, 4.0]


@leaf_rule(
    slots=lambda p: {"negative": jnp.zeros((), jnp.int32)},
    tree_stats=TreeStats(
        measure=lambda g, slots, p, ctx: {"top": jnp.max(g)},
        combine=lambda stats, last: {"top": jnp.max(stats["top"])},
        metrics=("top",),
        sums=("negative",),
    ),
)
def count_negative(g, slots, p, ctx):
    """Counts the negative elements of all updates."""
    return g, {"negative": slots.negative + jnp.sum(g < 0)}


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("of", [lambda tx: tx, lambda tx: fo.packed(tx, 8)], ids=["each", "packed"])
def test_a_slot_that_counts_is_summed_over_leaves_after_each_update(wrap, of):
    tx = of(fo.chain(fo.scale(2.0), count_negative()))
    grads = {"a": jnp.array([1.0, -1.0]), "b": jnp.array([3.0, -2.0]), "none": jnp.ones(2)}
    state = tx.init(grads)
    assert floats(fo.metrics(state)) == {"top": 0.0, "negative": 0.0}
    for t in (1, 2):
        _, state = wrap(tx.update)(grads, state)
        assert floats(fo.metrics(state)) == {"top": 6.0, "negative": 2.0 * t}
