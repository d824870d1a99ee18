"""The maths of a rule is traced once for each distinct shape, however many leaves there are."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.core.decorators import renamed

from ..compiling import compilations

SHAPES = [(2,), (3,), (2, 3), (3, 2), (4, 1), ()]


def tree(offset=0, leaves=60):
    """Returns leaves of six shapes, none of which another test has traced."""
    shapes = [(*shape, 101 + offset) for shape in SHAPES]
    return [jnp.ones(shapes[i % len(shapes)]) for i in range(leaves)]


def counting_rule():
    """Returns a rule with slots and a hyperparameter, and the list that grows as it is traced."""
    calls = []

    @fo.leaf_rule(
        slots=lambda p: {"sum": jnp.zeros_like(p)}, step_scalars=lambda t, rate: {"k": -rate / t}
    )
    def counted(g, slots, p, ctx, rate=0.1):
        calls.append(g.shape)
        total = slots.sum + g
        return ctx.k * total, {"sum": total}

    return counted, calls


def test_a_rule_is_traced_once_for_each_shape():
    factory, calls = counting_rule()
    params, tx = tree(leaves=300), factory()
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


def specs_of(name):
    """Returns the rules behind a factory."""
    momentum = renamed(fo.trace, decay="momentum")
    links = {
        "sgd": (momentum, fo.scale_by_learning_rate),
        "adam": (fo.scale_by_adam, fo.scale_by_learning_rate),
        "adamw": (fo.scale_by_adam, fo.add_decayed_weights, fo.scale_by_learning_rate),
        "rmsprop": (fo.scale_by_rms, momentum, fo.scale_by_learning_rate),
        "lion": (fo.scale_by_lion, fo.add_decayed_weights, fo.scale_by_learning_rate),
        "clip_by_global_norm": (fo.clip_by_global_norm,),
        "ema": (fo.ema,),
    }
    return [link.spec for link in links[name]]


@contextlib.contextmanager
def counting(specs, function_of, with_function):
    """Counts the calls of one function of each rule.

    Args:
      specs: specs of the rules.
      function_of: `spec -> function`.
      with_function: `(spec, function) -> (attribute, value)` that replaces the function.
    """
    calls = {spec.name: 0 for spec in specs}

    def counted(name, original):
        def function(*args, **kwargs):
            calls[name] += 1
            return original(*args, **kwargs)

        return function

    with contextlib.ExitStack() as stack:
        for spec in specs:
            attribute, value = with_function(spec, counted(spec.name, function_of(spec)))
            stack.callback(object.__setattr__, spec, attribute, getattr(spec, attribute))
            object.__setattr__(spec, attribute, value)
        yield calls


def counting_maths(specs):
    return counting(specs, lambda spec: spec.maths, lambda _, function: ("maths", function))


def counting_measure(spec):
    stats = spec.tree_stats
    return counting(
        [spec],
        lambda _: stats.measure,
        lambda _, function: ("tree_stats", dataclasses.replace(stats, measure=function)),
    )


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
    with counting_maths(specs_of(name)) as calls:
        state = tx.init(params)
        update = jax.jit(lambda g, s, p: tx.update(g, s, p))
        update.lower(params, state, params)
        assert set(calls.values()) == {len(SHAPES)}
        update.lower(params, state, params)
        jax.jit(lambda g, s, p: other.update(g, s, p)).lower(params, other.init(params), params)
        assert set(calls.values()) == {len(SHAPES)}


def test_a_norm_is_measured_with_one_trace_for_each_shape_and_one_for_the_scaled_one():
    params = tree(offset=20)
    tx = fo.clip_by_global_norm(1.0)
    with counting_measure(fo.clip_by_global_norm.spec) as calls:
        for _ in range(2):
            jax.jit(lambda g, s: tx.update(g, s)).lower(params, tx.init(params))
    assert calls["clip_by_global_norm"] == 2 * len(SHAPES)


@pytest.mark.parametrize(("name", "make"), OPTIMIZERS.items(), ids=OPTIMIZERS)
def test_init_compiles_only_the_zeros_of_a_new_shape(name, make):
    tx, size = make(0.1), 301 + 3 * list(OPTIMIZERS).index(name)
    tx.init(jnp.ones(size))  # what does not depend on the shape is compiled here
    with compilations() as of_zeros:
        jnp.zeros_like(np.ones(size + 1, np.float32))
    params = jnp.asarray(np.ones(size + 2, np.float32))
    with compilations() as of_init:
        tx.init(params)
    assert of_init == of_zeros * (name != "clip_by_global_norm")
