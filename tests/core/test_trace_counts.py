"""The maths of a rule is traced once for each distinct shape, however many leaves there are."""

import contextlib

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

SHAPES = [(2,), (3,), (2, 3), (3, 2), (4, 1), ()]
LEAVES = 300


def tree(offset=0):
    """Three hundred leaves of six shapes, none of which another test has traced."""
    shapes = [(*shape, 7 + offset) for shape in SHAPES]
    return [jnp.ones(shapes[i % len(shapes)]) for i in range(LEAVES)]


def counting_rule():
    """A rule with slots and a hyperparameter, and the list that grows as it is traced."""
    calls = []

    @fo.leaf_rule(slots=lambda p: {"sum": jnp.zeros_like(p)})
    def counted(g, slots, p, now, rate=0.1):
        calls.append(g.shape)
        total = slots.sum + g
        return -rate * total / now.t, {"sum": total}

    return counted, calls


def test_a_rule_is_traced_once_for_each_shape():
    factory, calls = counting_rule()
    params, tx = tree(), factory()
    _, state = tx.update(params, tx.init(params), params)
    assert len(calls) == len(SHAPES)
    _, state = tx.update(params, state, params)
    tx.update(params, fo.set_hyperparams(state, rate=0.5), params)
    tx.update(params, factory(0.7).init(params), params)
    assert len(calls) == len(SHAPES)


def test_another_jitted_function_around_it_traces_nothing_more():
    factory, calls = counting_rule()
    params = tree()
    tx = factory()
    for _ in range(2):
        jax.jit(lambda g, s: tx.update(g, s)).lower(params, tx.init(params))
    assert len(calls) == len(SHAPES)


def test_each_dtype_is_traced_once_more():
    factory, calls = counting_rule()
    params = [jnp.ones(5), jnp.ones(5), jnp.ones(5, jnp.bfloat16), jnp.ones(5, jnp.bfloat16)]
    factory().update(params, factory().init(params))
    assert len(calls) == 2


def rules_of(name):
    """The rules behind a factory."""
    links = {
        "sgd": (fo.trace, fo.scale_by_learning_rate),
        "adam": (fo.scale_by_adam, fo.scale_by_learning_rate),
        "adamw": (fo.scale_by_adam, fo.add_decayed_weights, fo.scale_by_learning_rate),
        "rmsprop": (fo.scale_by_rms, fo.trace, fo.scale_by_learning_rate),
        "lion": (fo.scale_by_lion, fo.add_decayed_weights, fo.scale_by_learning_rate),
        "clip_by_global_norm": (fo.clip_by_global_norm,),
        "ema": (fo.ema,),
    }
    return [link.rule for link in links[name]]


@contextlib.contextmanager
def counting(rules, part):
    """Counts the calls of one function of each rule."""
    calls = {rule.name: 0 for rule in rules}
    originals = {rule: getattr(rule, part) for rule in rules}

    def counted(rule):
        def function(*args, **kwargs):
            calls[rule.name] += 1
            return originals[rule](*args, **kwargs)

        return function

    for rule in rules:
        object.__setattr__(rule, part, counted(rule))
    try:
        yield calls
    finally:
        for rule, original in originals.items():
            object.__setattr__(rule, part, original)


OPTIMIZERS = {
    "sgd": lambda rate: fo.sgd(rate, momentum=0.9),
    "adam": fo.adam,
    "adamw": fo.adamw,
    "rmsprop": lambda rate: fo.rmsprop(rate, centered=True, momentum=0.9),
    "lion": fo.lion,
    "clip_by_global_norm": fo.clip_by_global_norm,
    "ema": fo.ema,
}


@pytest.mark.parametrize(("name", "make"), OPTIMIZERS.items(), ids=OPTIMIZERS)
def test_the_rules_of_the_package_are_traced_once_for_each_shape(name, make):
    params = tree(offset=1 + list(OPTIMIZERS).index(name))
    tx, other = make(0.1), make(0.2)
    with counting(rules_of(name), "leaf") as calls:
        state = tx.init(params)
        update = jax.jit(lambda g, s, p: tx.update(g, s, p))
        update.lower(params, state, params)
        assert set(calls.values()) == {len(SHAPES)}
        update.lower(params, state, params)
        jax.jit(lambda g, s, p: other.update(g, s, p)).lower(params, other.init(params), params)
        assert set(calls.values()) == {len(SHAPES)}


def test_the_norm_is_measured_with_one_trace_for_each_shape():
    params = tree(offset=20)
    tx = fo.clip_by_global_norm(1.0)
    with counting([fo.clip_by_global_norm.rule], "measure") as calls:
        jax.jit(lambda g, s: tx.update(g, s)).lower(params, tx.init(params))
    assert calls["clip_by_global_norm"] == len(SHAPES)
