"""The conformance kit on optax's transformations, with the checks that they do not pass."""

import jax
import optax
import pytest

from functional_optim.testing import ConformanceError, check_transformation

PICKLING = {"pickling"}
"""optax's pairs consist of closures, which cannot be pickled."""

NONE_GRADIENTS = {"none_gradients"}
"""optax needs a gradient for each parameter, or a mask."""

TRACES = {"traces"}
"""optax traces the maths again for each leaf."""

NARROW_STATE = {"state", "zero_gradients"}
"""Float32 gradients change the dtype of a float16 state, and in float16 an eps of 1e-8 is 0."""

OPTIMIZERS = {
    "sgd": (optax.sgd(0.1), PICKLING),
    "momentum": (optax.sgd(0.1, momentum=0.9), PICKLING | NONE_GRADIENTS | {"state"}),
    "adam": (optax.adam(1e-3), PICKLING | NONE_GRADIENTS | TRACES | NARROW_STATE),
    "adamw": (optax.adamw(1e-3), PICKLING | NONE_GRADIENTS | TRACES | NARROW_STATE),
    "lion": (optax.lion(1e-3), PICKLING | NONE_GRADIENTS | TRACES | {"state"}),
    "rmsprop": (optax.rmsprop(1e-3), PICKLING | NONE_GRADIENTS | NARROW_STATE),
    "scale": (optax.scale(0.1), PICKLING | {"extra_arguments"}),
}


@pytest.fixture(autouse=True)
def promotion():
    """Allows promotion, as JAX does by default."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def failures(tx, **arguments):
    try:
        check_transformation(tx, **arguments)
    except ConformanceError as error:
        return {failure.check: failure.message for failure in error.failures}
    return {}


@pytest.mark.parametrize(("tx", "known"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optax_fails_only_the_known_checks(tx, known):
    assert set(failures(tx, leave_out={"vmap": "slow to compile"})) == known


def test_a_change_of_dtype_is_reported_with_dtype_and_leaf():
    message = failures(optax.adam(1e-3))["state"]
    assert "float16 parameters and float32 gradients" in message
    assert "float32 (8,) at '0.mu.b' after update" in message


def test_optax_passes_the_other_checks_in_float32():
    reasons = dict.fromkeys(["pickling", "none_gradients", "traces", "extra_arguments"], "known")
    check_transformation(
        optax.adam(0.02), dtypes=("float32",), leave_out=reasons, quadratic=300, rosenbrock=3000
    )
