"""`contrib.reduce_on_plateau`: the numbers of `reduce_on_plateau`, in a state to be unpacked."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

VALUES = [3.0, 2.0, 2.5, 2.4, 2.3, 1.0, 1.5, 1.4, 1.2, 1.3, 1.1, 1.6, 0.9, 0.95, 2.0, 2.0, 2.0]
NUMBERS = [
    {"patience": 2},
    {"patience": 1, "factor": 0.5, "cooldown": 2},
    {"patience": 2, "accumulation_size": 2, "min_scale": 0.05},
    {"patience": 2, "rtol": 0.3, "atol": 0.1},
]


@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_it_has_the_numbers_of_optax_and_of_the_rule(numbers):
    txs = (
        fo.contrib.reduce_on_plateau(**numbers),
        optax.contrib.reduce_on_plateau(**numbers),
        fo.reduce_on_plateau(**numbers),
    )
    ours, theirs, rule = (tx.init({"w": jnp.zeros(2)}) for tx in txs)
    step = jax.jit(txs[0].update)
    for value in VALUES:
        grads = {"w": jnp.ones(2)}
        updates, ours = step(grads, ours, value=value)
        with jax.numpy_dtype_promotion("standard"):  # which optax needs
            _, theirs = txs[1].update(grads, theirs, value=value)
        expected, rule = txs[2].update(grads, rule, value=value)
        np.testing.assert_allclose(list(ours), list(theirs), rtol=1e-6)
        np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-6)


def test_the_state_is_made_and_read_as_in_optax():
    state = fo.contrib.reduce_on_plateau().init(jnp.zeros(2))
    fields = optax.contrib.ReduceLROnPlateauState._fields
    assert state._fields == fields
    assert isinstance(state, fo.contrib.ReduceLROnPlateauState)
    made = fo.contrib.ReduceLROnPlateauState(**dict(reversed(state._asdict().items())))
    assert made._fields == fields, "whatever the order of its arguments"
    assert not isinstance(
        fo.reduce_on_plateau().init(jnp.zeros(2)), fo.contrib.ReduceLROnPlateauState
    )


def test_updates_keep_their_dtype():
    tx = fo.contrib.reduce_on_plateau()
    updates, state = tx.update(jnp.ones(2, jnp.bfloat16), tx.init(None), value=1.0)
    assert updates.dtype == jnp.bfloat16
    assert state.scale.dtype == jnp.float32


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"factor": 1.0}, r"factor must be in \(0, 1\), got 1.0"),
        ({"patience": 0}, r"patience must be in \[1, inf\), got 0"),
        ({"rtol": 1.5}, r"rtol must be in \[0, 1\], got 1.5"),
        ({"rtol": 0.0}, "rtol and atol are both 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(numbers, text):
    with pytest.raises(ValueError, match=text):
        fo.contrib.reduce_on_plateau(**numbers)


def test_without_a_value_it_says_how_to_call_update():
    tx = fo.contrib.reduce_on_plateau()
    with pytest.raises(ValueError, match="update needs value"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
