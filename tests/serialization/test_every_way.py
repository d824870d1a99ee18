"""The state of every rule, saved in every way and restored on fewer devices: the same bits.

And the next step of representatives is, to the bit, that of the state which was not saved. For the
numbers that devices give, see `tests/sharding/test_devices.py`.
"""

import functools
import pickle

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.interop import orbax, safetensors
from functional_optim.sharding import state_shardings

from ..rules import REPRESENTATIVES, cases, cases_with_extra, plain
from ..trees import assert_same
from .filling import filled

if jax.device_count() < 8:
    pytest.skip("needs eight devices; the host has them on CPU", allow_module_level=True)

SHAPES = {"b": (8,), "w": (8, 4)}
CASES = {case.name: case for case in plain([*cases(), *cases_with_extra()])}
STEPPED = sorted(REPRESENTATIVES & CASES.keys())
"""A state of the same bits in the same places gives the same step: few rules show that as well as
all, whose steps take long to compile."""

RULES = {(8, 2): sorted(CASES), (1, 1): STEPPED}
"""Whose states are saved on how many devices, and restored on how many. For those of other rules
on one device, see `test_every_rule`."""


@functools.cache
def made(name):
    return CASES[name].make()


def on(devices, shapes):
    """Where parameters, or what has their names, are on so many devices."""
    mesh = Mesh(jax.devices()[:devices], ("x",), axis_types=(AxisType.Auto,))
    return jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec("x")), shapes)


def arrays(seed, devices):
    rng = np.random.default_rng(seed)
    draw = {k: rng.standard_normal(shape).astype(np.float32) for k, shape in SHAPES.items()}
    return jax.device_put(draw, on(devices, draw))


def step(states, params, grads):
    """One step of every representative."""
    after = {}
    for name, state in states.items():
        updates, state = CASES[name].update(made(name), grads, state, params)
        after[name] = updates, state
    return after


@functools.cache
def template(devices, rules):
    """Shapes and shardings of the states of some rules."""

    def like(tree, places):
        return jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree, places
        )

    params = arrays(0, devices)
    return {
        name: like(jax.eval_shape(tx.init, params), state_shardings(tx, params))
        for name, tx in ((name, made(name)) for name in rules)
    }


@functools.cache
def stepping(devices):
    """The step of all representatives, compiled; one program takes less time than many."""
    params, states = arrays(0, devices), template(devices, tuple(STEPPED))
    program = jax.jit(step).lower(states, params, params).compile()

    def advance(states, seed):
        chosen = {name: states[name] for name in STEPPED}
        return jax.block_until_ready(program(chosen, params, arrays(seed, devices)))

    return advance


@functools.cache
def trained():
    """States of the representatives after two steps on one device."""
    params = arrays(0, 1)
    states = jax.tree.map(
        lambda x, like: jax.device_put(x, like.sharding),
        {name: made(name).init(params) for name in STEPPED},
        template(1, tuple(STEPPED)),
    )
    for seed in (1, 2):
        states = {name: state for name, (_, state) in stepping(1)(states, seed).items()}
    return states


@functools.cache
def saved(devices, rules):
    """States on so many devices: the representatives' are trained, all others any numbers."""
    likes = template(devices, rules)
    states = {name: filled(like) for name, like in likes.items() if name not in STEPPED}
    places = jax.tree.map(lambda x: x.sharding, likes)
    return jax.device_put(jax.device_get(states | trained()), places)


@functools.cache
def unsaved(before, now, rules):
    """The states, put on other devices without being saved; and after the next step there."""
    places = jax.tree.map(lambda x: x.sharding, template(now, rules))
    states = jax.device_put(saved(before, rules), places)
    return states, stepping(now)(states, 3)


def by_safetensors(states, like, folder):
    safetensors.save(folder / "c", state=states)
    return safetensors.load(folder / "c", state=like).state


def by_orbax(states, like, folder):
    orbax.save(folder / "c", state=states)
    return orbax.load(folder / "c", state=like).state


def by_state_dict(states, like, folder):
    return fo.from_state_dict(like, fo.to_state_dict(states))


def by_pickle(states, like, folder):
    copy = pickle.loads(pickle.dumps(states))
    return jax.device_put(copy, jax.tree.map(lambda x: x.sharding, like))


WAYS = {
    "safetensors": by_safetensors,
    "orbax": by_orbax,
    "dict": by_state_dict,
    "pickle": by_pickle,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("devices", RULES, ids=["8-to-2", "1-to-1"])
def test_rules_continue_with_the_same_bits(devices, way, tmp_path):
    (before, now), rules = devices, tuple(RULES[devices])
    restored = WAYS[way](saved(before, rules), template(now, rules), tmp_path)
    states, stepped = unsaved(before, now, rules)
    assert restored.keys() == CASES.keys() & rules
    assert_same(restored, states)
    assert_same(stepping(now)(restored, 3), stepped)
    jax.tree.map(_assert_in_one_place, restored, states)


def _assert_in_one_place(x, y):
    assert x.sharding.is_equivalent_to(y.sharding, y.ndim)
