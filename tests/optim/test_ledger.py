"""Counts, clocks and numbers of a state go through a step as one array."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.core.state import State
from functional_optim.optim.form import Form
from functional_optim.optim.held import Held
from functional_optim.optim.ledger import NO_LEDGER, Ledger

from .. import problem
from ..trees import assert_same
from .makers import each, grads, quadratic
from .test_donation import slots

# What a conversion would change, and a copy of the bits does not.
AWKWARD = np.array([0x7F800001, 0x80000000, 1, 0x7FFFFFFF], np.uint32)


def state():
    return State(
        rule=State(
            count=jnp.int32(2**31 - 2),
            memory=jnp.asarray(AWKWARD.view(np.float32)),
            keys={"key": jnp.uint32(2**32 - 1)},
            mu={"w": jnp.ones((4,)), "scalar": jnp.float32(0.5)},
        )
    )


def test_what_is_closed_opens_to_the_bit():
    leaves = jax.tree.leaves(state())
    ledger = Ledger.of(state(), 4)
    closed = ledger.close(leaves)
    assert [x.shape for x in closed] == [(7,), (4,)]
    for new, old in zip(ledger.open(closed), leaves, strict=True):
        assert (new.dtype, new.shape) == (old.dtype, old.shape)
        assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


def test_numbers_are_written_open_and_closed():
    leaves, treedef = jax.tree.flatten(state())
    place = next(i for i, x in enumerate(leaves) if x.shape == () and x.dtype == jnp.float32)
    held = Held(leaves, treedef)
    for value, ledger in ((0.25, Ledger.of(state(), 4)), (0.75, NO_LEDGER)):
        held.take(Form(treedef, treedef, ledger))
        held.write({place: value})
        assert float(held.state.rule.mu["scalar"]) == value


@each
def test_a_step_takes_one_array_beside_what_is_shaped_as_the_parameters(make):
    optimizer = make(problem.arrays())
    optimizer.step(grads(0))
    (group,) = optimizer._groups
    arrays = group.held.take(optimizer._forms[0])
    assert len(arrays) <= 1 + len(slots(optimizer.state))


def test_reading_the_state_between_steps_changes_nothing():
    one, other = (optim.AdamW(problem.arrays()) for _ in range(2))
    for _ in range(3):
        one.step(grads(0))
        other.step(grads(0))
        assert int(other.state[0].scale_by_adam.count) == other.step_count
    assert_same(one.params, other.params)
    assert_same(one.state, other.state)


def form(params):
    tx = fo.adam(0.1)
    return Form.of(tx, params, tx.init(params))


def test_arrays_on_several_devices_and_traced_ones_stay_apart(mesh):
    spread = jax.device_put(jnp.ones(8), jax.NamedSharding(mesh, jax.P("x")))
    assert form({"w": spread}).ledger == NO_LEDGER

    @jax.jit
    def within(w):
        assert form({"w": w}).ledger == NO_LEDGER
        return w

    within(jnp.ones(8))


def test_a_parameter_of_the_name_of_a_clock_stays_apart():
    class Fields(NamedTuple):
        memory: jax.Array
        b: jax.Array

    optimizer = optim.SGD(Fields(jnp.ones(1000), jnp.ones(3)), lr=0.1, momentum=0.9)
    optimizer.step(Fields(jnp.ones(1000), jnp.ones(3)))
    numbers, *slots = optimizer._groups[0].held.arrays
    assert numbers.size < 100
    assert [x.shape for x in slots] == [(1000,), (3,)]


def test_weakly_typed_numbers_stay_apart():
    weak = jax.jit(lambda: 1.0)()
    assert weak.weak_type
    assert Ledger.of({"rate": weak}, 1) == NO_LEDGER


def test_a_step_transfers_nothing():
    optimizer, gradients, target = optim.AdamW(problem.arrays()), grads(0), jnp.float32(1.0)
    optimizer.step(gradients)
    optimizer.minimize(quadratic, target)
    with jax.transfer_guard("disallow"):
        optimizer.step(gradients)
        optimizer.param_groups[0]["lr"] = 0.5
        optimizer.step(gradients)
        optimizer.minimize(quadratic, target)
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            optimizer.step(jax.tree.map(np.asarray, gradients))
