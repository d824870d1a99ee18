"""The kit on optax's transformations: what they pass, and what is known that they do not."""

import jax
import optax
import pytest

from functional_optim.testing import ConformanceError, check_transformation

CLOSURES = {"pickling"}
"""optax makes its pairs of closures."""

HOLES = {"none_gradients"}
"""optax's tree.map needs a gradient for each parameter, or a mask."""

LEAVES = {"traces"}
"""optax traces the maths again for each leaf."""

NARROW = {"state", "zero_gradients"}
"""The state has the parameters' dtype until float32 gradients come, and float16 has no 1e-8."""

OPTIMIZERS = {
    "sgd": (optax.sgd(0.1), CLOSURES),
    "momentum": (optax.sgd(0.1, momentum=0.9), CLOSURES | HOLES | {"state"}),
    "adam": (optax.adam(1e-3), CLOSURES | HOLES | LEAVES | NARROW),
    "adamw": (optax.adamw(1e-3), CLOSURES | HOLES | LEAVES | NARROW),
    "lion": (optax.lion(1e-3), CLOSURES | HOLES | LEAVES | {"state"}),
    "rmsprop": (optax.rmsprop(1e-3), CLOSURES | HOLES | NARROW),
    "scale": (optax.scale(0.1), CLOSURES | {"extra_arguments"}),
}


@pytest.fixture(autouse=True)
def promotion():
    """Allows promotion as users of optax have it: strict promotion is more than optax asks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def failures(tx, **arguments):
    try:
        check_transformation(tx, **arguments)
    except ConformanceError as error:
        return {failure.check: failure.message for failure in error.failures}
    return {}


@pytest.mark.parametrize(("tx", "known"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optax_fails_where_it_is_known_to(tx, known):
    assert set(failures(tx, leave_out={"vmap": "slow to compile"})) == known


def test_a_drifting_dtype_is_reported_with_dtype_and_leaf():
    message = failures(optax.adam(1e-3))["state"]
    assert "float16 parameters and float32 gradients" in message
    assert "float32 (8,) at '0.mu.b' after update" in message


def test_optax_in_float32_without_holes_is_sound():
    reasons = dict.fromkeys(["pickling", "none_gradients", "traces", "extra_arguments"], "known")
    check_transformation(
        optax.adam(0.02), dtypes=("float32",), leave_out=reasons, quadratic=300, rosenbrock=3000
    )
