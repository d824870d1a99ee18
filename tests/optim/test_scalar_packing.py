"""The scalars of a state (counts, carried scalars, hyperparameters) are stored as one array."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.core.state import State
from functional_optim.optim.step.group_state import GroupState
from functional_optim.optim.step.scalar_packing import NO_PACKING, ScalarPacking
from functional_optim.optim.step.state_layout import StateLayout

from .. import problem
from ..trees import assert_same
from .makers import each, grads, quadratic
from .test_donation import slots

# Bit patterns that a conversion of dtypes would change, and a copy of the bits does not.
AWKWARD = np.array([0x7F800001, 0x80000000, 1, 0x7FFFFFFF], np.uint32)


def state():
    return State(
        rule=State(
            count=jnp.int32(2**31 - 2),
            carry=jnp.asarray(AWKWARD.view(np.float32)),
            keys={"key": jnp.uint32(2**32 - 1)},
            mu={"w": jnp.ones((4,)), "scalar": jnp.float32(0.5)},
        )
    )


def test_packing_round_trips_bit_for_bit():
    leaves = jax.tree.leaves(state())
    packing = ScalarPacking.of(state(), 4)
    packed = packing.pack(leaves)
    assert [x.shape for x in packed] == [(7,), (4,)]
    for new, old in zip(packing.unpack(packed), leaves, strict=True):
        assert (new.dtype, new.shape) == (old.dtype, old.shape)
        assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


def test_scalars_are_written_packed_and_unpacked():
    leaves, treedef = jax.tree.flatten(state())
    position = next(i for i, x in enumerate(leaves) if x.shape == () and x.dtype == jnp.float32)
    stored = GroupState(leaves, treedef)
    for value, packing in ((0.25, ScalarPacking.of(state(), 4)), (0.75, NO_PACKING)):
        stored.in_layout(StateLayout(treedef, treedef, packing))
        stored.write_scalars({position: value})
        assert float(stored.state.rule.mu["scalar"]) == value


@each
def test_a_step_takes_one_array_next_to_the_slots(make):
    optimizer = make(problem.arrays())
    optimizer.step(grads(0))
    (group,) = optimizer._groups
    arrays = group.stored.in_layout(optimizer._state_layouts[0])
    assert len(arrays) <= 1 + len(slots(optimizer.state))


def test_reading_the_state_between_steps_changes_nothing():
    one, other = (optim.AdamW(problem.arrays()) for _ in range(2))
    for _ in range(3):
        one.step(grads(0))
        other.step(grads(0))
        assert int(other.state[0].scale_by_adam.count) == other.step_count
    assert_same(one.params, other.params)
    assert_same(one.state, other.state)


def layout(params):
    tx = fo.adam(0.1)
    return StateLayout.of(tx, params, tx.init(params))


def test_scalars_on_several_devices_and_traced_ones_are_not_packed(mesh):
    spread = jax.device_put(jnp.ones(8), jax.NamedSharding(mesh, jax.P("x")))
    assert layout({"w": spread}).scalars == NO_PACKING

    @jax.jit
    def within(w):
        assert layout({"w": w}).scalars == NO_PACKING
        return w

    within(jnp.ones(8))


def test_a_parameter_named_like_a_field_of_the_engine_is_not_packed():
    class Fields(NamedTuple):
        carry: jax.Array
        b: jax.Array

    optimizer = optim.SGD(Fields(jnp.ones(1000), jnp.ones(3)), lr=0.1, momentum=0.9)
    optimizer.step(Fields(jnp.ones(1000), jnp.ones(3)))
    scalars, *slots = optimizer._groups[0].stored.arrays
    assert scalars.size < 100
    assert [x.shape for x in slots] == [(1000,), (3,)]


def test_weakly_typed_scalars_are_not_packed():
    weak = jax.jit(lambda: 1.0)()
    assert weak.weak_type
    assert ScalarPacking.of({"rate": weak}, 1) == NO_PACKING


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
