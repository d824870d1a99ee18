"""Every way to save and restore gives the same bits, also on fewer devices.

The states of all kinds of rules are compared, and for representatives also the next step from the
restored state with the next step from a state that was not saved. `tests/sharding/test_devices.py`
compares the results of different numbers of devices.
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
"""Rules that make a step. A few suffice, because equal states on equal devices give equal steps
whatever the rule; the steps of all rules would take long to compile."""

OWN = sorted(name for name, case in CASES.items() if not case.oracle or name in STEPPED)
"""Rules with containers of their own; all others have those of the representative of their kind."""

RULES = {(8, 2): OWN, (1, 1): STEPPED}
"""(Number of devices when saving, number when restoring) -> rules whose states are saved. The
states of all rules are saved on one device in `test_every_rule`."""


@functools.cache
def made(name):
    return CASES[name].make()


def shardings_on(devices, tree):
    """Returns a sharding over this number of devices for each leaf of a tree."""
    mesh = Mesh(jax.devices()[:devices], ("x",), axis_types=(AxisType.Auto,))
    return jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec("x")), tree)


def arrays(seed, devices):
    rng = np.random.default_rng(seed)
    host = {k: rng.standard_normal(shape).astype(np.float32) for k, shape in SHAPES.items()}
    return jax.device_put(host, shardings_on(devices, host))


def step(states, params, grads):
    """Makes one step of each rule in `states`."""
    after = {}
    for name, state in states.items():
        updates, state = CASES[name].update(made(name), grads, state, params)
        after[name] = updates, state
    return after


@functools.cache
def template(devices, rules):
    """Returns shapes and shardings of the states of some rules."""

    def like(tree, shardings):
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings
        )

    params = arrays(0, devices)
    return {
        name: like(jax.eval_shape(tx.init, params), state_shardings(tx, params))
        for name, tx in ((name, made(name)) for name in rules)
    }


@functools.cache
def compiled_step(devices):
    """Compiles the step of all representatives as one program, which is faster than many."""
    params, states = arrays(0, devices), template(devices, tuple(STEPPED))
    program = jax.jit(step).lower(states, params, params).compile()

    def step_from(states, seed):
        chosen = {name: states[name] for name in STEPPED}
        return jax.block_until_ready(program(chosen, params, arrays(seed, devices)))

    return step_from


@functools.cache
def trained():
    """Returns the states of the representatives after two steps on one device."""
    params = arrays(0, 1)
    states = jax.tree.map(
        lambda x, like: jax.device_put(x, like.sharding),
        {name: made(name).init(params) for name in STEPPED},
        template(1, tuple(STEPPED)),
    )
    for seed in (1, 2):
        states = {name: state for name, (_, state) in compiled_step(1)(states, seed).items()}
    return states


@functools.cache
def states_to_save(devices, rules):
    """Returns states on this number of devices: trained ones, and for other rules any numbers."""
    likes = template(devices, rules)
    states = {name: filled(like) for name, like in likes.items() if name not in STEPPED}
    shardings = jax.tree.map(lambda x: x.sharding, likes)
    return jax.device_put(jax.device_get(states | trained()), shardings)


@functools.cache
def moved_without_saving(before, after, rules):
    """Returns the states moved to other devices directly, and the result of the next step there."""
    shardings = jax.tree.map(lambda x: x.sharding, template(after, rules))
    states = jax.device_put(states_to_save(before, rules), shardings)
    return states, compiled_step(after)(states, 3)


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
    (before, after), rules = devices, tuple(RULES[devices])
    restored = WAYS[way](states_to_save(before, rules), template(after, rules), tmp_path)
    states, stepped = moved_without_saving(before, after, rules)
    assert restored.keys() == set(rules)
    assert_same(restored, states)
    assert_same(compiled_step(after)(restored, 3), stepped)
    jax.tree.map(_assert_same_sharding, restored, states)


def _assert_same_sharding(x, y):
    assert x.sharding.is_equivalent_to(y.sharding, y.ndim)
