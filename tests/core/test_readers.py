"""Functions that read a state raise a helpful error when something else is passed."""

import jax.numpy as jnp
import optax
import pytest

import functional_optim as fo

PARAMS = {"w": jnp.ones(2)}
NO_STATES = {
    "nothing": None,
    "an empty dict": {},
    "the parameters": PARAMS,
    "a state of optax": optax.adam(0.1).init(PARAMS),
}
READERS = {
    "eval_params": lambda state, **options: fo.eval_params(state, PARAMS, **options),
    "get_hyperparams": fo.get_hyperparams,
    "metrics": fo.metrics,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("given", NO_STATES)
def test_an_argument_that_is_not_a_state_is_an_error_without_a_default(given, reader):
    read, state = READERS[reader], NO_STATES[given]
    with pytest.raises(ValueError, match=f"^{reader}: .*Pass .*default="):
        read(state)
    for default in ("its own", None):
        assert read(state, default=default) is default


def test_a_state_without_an_average_is_an_error_without_a_default():
    state = fo.adam(0.1).init(PARAMS)
    with pytest.raises(ValueError, match="eval_params: the state has no parameters to evaluate"):
        fo.eval_params(state, PARAMS)
    assert fo.eval_params(state, PARAMS, default=PARAMS) is PARAMS


@pytest.mark.parametrize(
    "tx", [fo.chain(), fo.identity(), fo.stateless(lambda u, p: u), fo.scale_by_sign()]
)
@pytest.mark.parametrize("read", [fo.get_hyperparams, fo.metrics])
def test_a_state_that_has_none_has_none(read, tx):
    assert read(tx.init(PARAMS)) == {}
