"""A parameter whose gradient is None at some steps, in all links that accumulate or average."""

import functools
import itertools

import jax
import numpy as np
import pytest

import functional_optim as fo

from ..trees import assert_close

K = 6
PATTERNS = ["111000", "000111", "101010", "010101", "011011", "100001"]
SHAPES = {"w": (3, 2), "b": (2,)}
START = {k: np.full(shape, 0.5, np.float32) for k, shape in SHAPES.items()}


@functools.cache
def gradients(seed=0):
    rng = np.random.default_rng(seed)
    return [
        {k: rng.standard_normal(s).astype(np.float32) for k, s in SHAPES.items()} for _ in range(K)
    ]


@functools.cache
def step_of(update):
    """Returns the jitted step: one program for each set of leaves."""

    def step(g, state, params):
        updates, state = update(g, state, params)
        return fo.apply_updates(params, updates), state

    return jax.jit(step)


def run(tx, grads, params):
    """Returns all parameters on the way, and the last state."""
    step, state, seen = step_of(tx.update), tx.init(params), []
    for g in grads:
        params, state = step(g, state, params)
        seen.append(params)
    return seen, state


def given_at(pattern, g, i):
    return {"w": g["w"], "b": g["b"] if pattern[i] == "1" else None}


MOMENTUM = fo.sgd(0.1, momentum=0.9)

# Where all leaves share no clock, a step without a gradient is none for a leaf.
OWN_CLOCK = {
    "sgd": MOMENTUM,
    "adamw": fo.adamw(0.1),
    "adafactor": fo.adafactor(0.1),
    "trace": fo.chain(fo.trace(0.9), fo.scale(-0.1)),
    "ema": fo.chain(fo.ema(0.9), fo.scale(-0.1)),
    "apply_every": fo.chain(fo.apply_every(2), fo.scale(-0.1)),
    "lookahead": fo.lookahead(MOMENTUM, 2, 0.5),
    "params_ema": fo.chain(MOMENTUM, fo.params_ema(0.5)),
    "params_swa": fo.chain(MOMENTUM, fo.params_swa(0)),
    "apply_if_finite": fo.apply_if_finite(fo.adam(0.1), 2),
    "loss_scale": fo.loss_scale(fo.adam(0.1), 1.0),
    "low_bit_state": fo.low_bit_state(fo.adam(0.1)),
    "packed": fo.packed(fo.adam(0.1)),
    "masked": fo.masked(fo.adam(0.1), {"w": False, "b": True}),
    "partition": fo.partition({"x": fo.adam(0.1), "y": MOMENTUM}, {"w": "x", "b": "y"}),
    "flatten": fo.flatten(MOMENTUM),
    "conditionally_transform": fo.conditionally_transform(fo.adam(0.1), lambda step: step >= 0),
    "MultiSteps-of-1": fo.MultiSteps(fo.adam(0.1), 1),
    "kahan": fo.chain(MOMENTUM, fo.kahan_summation()),
    "monitor": fo.chain(fo.snapshot("norm", fo.global_norm), fo.adam(0.1)),
    "stochastic": fo.chain(fo.adam(0.1), fo.add_noise(0.0, 0.5, key=0)),
}

# Of these, all leaves have one clock: when a leaf acts does not depend on its own gradients.
ONE_CLOCK = {
    "MultiSteps": fo.MultiSteps(fo.adam(0.1), 2),
    "MultiSteps-sum": fo.MultiSteps(MOMENTUM, 3, use_grad_mean=False),
    "conditionally_mask": fo.conditionally_mask(fo.adam(0.1), lambda step: step % 2 == 0),
    "conditionally_transform-odd": fo.conditionally_transform(MOMENTUM, lambda step: step % 2 == 1),
    "lookahead-resets": fo.lookahead(fo.adam(0.1), 2, 0.5, reset_state=True),
    "sam": fo.sam(fo.adam(0.1), fo.sgd(0.1, momentum=0.9)),
    "sam-climbs-twice": fo.sam(MOMENTUM, fo.sgd(0.1), sync_period=3, reset_state=False),
}


@functools.cache
def counted(name):
    """Makes a transformation once: its programs are compiled for all patterns together."""
    return fo.per_leaf_counts({**OWN_CLOCK, **ONE_CLOCK}[name])


@functools.cache
def run_of_all(name):
    """Makes the run in which no gradient is None."""
    return run(counted(name), gradients(), START)[0]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", OWN_CLOCK)
def test_a_step_without_a_gradient_is_none_for_a_leaf(name, pattern):
    tx, grads = counted(name), gradients()
    mixed, _ = run(tx, [given_at(pattern, g, i) for i, g in enumerate(grads)], START)
    whole = run_of_all(name)
    # In the run with all gradients, those that the leaf has had, one after the other.
    some = [{"w": grads[0]["w"], "b": g["b"]} for i, g in enumerate(grads) if pattern[i] == "1"]
    alone, _ = run(tx, some, START)
    assert_close([p["w"] for p in mixed], [p["w"] for p in whole], rtol=1e-6)
    after = itertools.accumulate(int(c) for c in pattern)
    expected = [START["b"] if n == 0 else alone[n - 1]["b"] for n in after]
    assert_close([p["b"] for p in mixed], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", ONE_CLOCK)
def test_a_leaf_does_not_depend_on_the_gradients_of_others(name, pattern):
    tx, grads = counted(name), gradients()
    mixed, _ = run(tx, [given_at(pattern, g, i) for i, g in enumerate(grads)], START)
    for leaf in SHAPES:
        own = [{leaf: given_at(pattern, g, i)[leaf]} for i, g in enumerate(grads)]
        alone, _ = run(tx, own, {leaf: START[leaf]})
        assert_close([p[leaf] for p in mixed], [p[leaf] for p in alone], rtol=1e-6)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(
    ("make", "waiting"),
    [
        (lambda k: fo.MultiSteps(fo.sgd(1.0), k, use_grad_mean=False), lambda s: s.acc_grads),
        (lambda k: fo.chain(fo.apply_every(k), fo.sgd(1.0)), lambda s: s.apply_every.grad_acc),
        (
            lambda k: fo.flatten(fo.chain(fo.apply_every(k), fo.sgd(1.0))),
            lambda s: {"b": s.apply_every.grad_acc["float32"][:2]},
        ),
    ],
    ids=["MultiSteps", "apply_every", "flatten"],
)
def test_no_gradient_is_lost_or_taken_twice(make, waiting, k, pattern):
    grads = gradients()
    tx = fo.per_leaf_counts(make(k))
    seen, state = run(tx, [given_at(pattern, g, i) for i, g in enumerate(grads)], START)
    total = sum(g["b"] for i, g in enumerate(grads) if pattern[i] == "1")
    assert_close(START["b"] - seen[-1]["b"] + waiting(state)["b"], total, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pattern", ["10", "01", "00", "11"])
def test_sam_returns_from_a_climb_for_all_patterns_of_none(pattern):
    """Makes one period: up along the first gradient, back, and down along the second."""
    tx = fo.per_leaf_counts(fo.sam(fo.sgd(0.5), fo.sgd(0.25)))
    g = gradients()
    seen, _ = run(tx, [given_at(pattern, g[i], i) for i in range(2)], START)
    up, down = (int(c) for c in pattern)
    assert_close(seen[0]["b"], START["b"] + up * 0.25 * g[0]["b"], rtol=1e-6)
    assert_close(seen[1]["b"], START["b"] - down * 0.5 * g[1]["b"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "tx",
    [fo.cautious_adamw(0.1), fo.cautious_lion(0.1), fo.adam_hd(0.1), fo.mechanize(MOMENTUM)],
    ids=["cautious_adamw", "cautious_lion", "adam_hd", "mechanize"],
)
def test_none_for_all_parameters_is_a_gradient_where_links_compare_with_it(tx):
    tx = fo.per_leaf_counts(tx)
    updates, state = tx.update(None, tx.init(START), START)
    assert jax.tree.leaves(updates) == []
    given, _ = tx.update(START, state, START)
    fresh, _ = tx.update(START, tx.init(START), START)
    assert_close(given, fresh)


def test_an_argument_of_none_is_missing_where_there_are_gradients():
    tx = fo.rescale_heads()
    with pytest.raises(ValueError, match="update needs attention_logits"):
        tx.update(START, tx.init(START), START, attention_logits=None)
