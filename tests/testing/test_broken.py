"""Each check catches the fault that it is for."""

import re

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim import testing
from functional_optim.testing import CHECKS, ConformanceError, check_transformation

from . import broken


@pytest.mark.parametrize(
    ("name", "tx", "message"),
    [pytest.param(*row, id=f"{row[0]}-{i}") for i, row in enumerate(broken.BROKEN)],
)
def test_a_check_catches_its_fault(name, tx, message):
    check = getattr(testing, f"check_{name}")
    with pytest.raises(ConformanceError, match=message) as caught:
        check(tx)
    assert [failure.check for failure in caught.value.failures] == [name]
    assert str(caught.value).startswith(f"check_{name}: ")
    assert re.fullmatch(r".*[.!?] [A-Z][^.]*( .*)?\.", str(caught.value), re.DOTALL)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("it is so.", "raised ValueError: it is so. "),
        ("unsupported operand: 'str'", "raised ValueError: unsupported operand: 'str'. "),
        ("is it so?", "raised ValueError: is it so? "),
        ("", "raised ValueError. "),
        ("two words " * 50, " ... "),
    ],
)
def test_a_reported_exception_ends_as_a_sentence(text, sentence):
    def failing(updates, state, params=None):
        raise ValueError(text)

    with pytest.raises(ConformanceError, match=re.escape(sentence)):
        testing.check_extra_arguments(broken.pair(failing))


def test_reductions_are_blamed_where_there_are_some():
    def largest(updates, state, params=None):
        top = max(jnp.max(x) for x in jax.tree.leaves(updates))
        return jax.tree.map(lambda u: u / top, updates), state

    def by_name(updates, state, params=None):
        return {"w": updates["w"]}, state

    with pytest.raises(ConformanceError, match="Let reductions over leaves start"):
        testing.check_empty_trees(broken.pair(largest))
    with pytest.raises(ConformanceError, match=r"KeyError: 'w'\. Let init and update map over"):
        testing.check_empty_trees(broken.pair(by_name))


def test_every_check_is_public_and_has_a_broken_pair():
    assert {f"check_{name}" for name in CHECKS} <= set(testing.__all__)
    # No pair of `broken.py` recompiles for new hyperparameters; the next test has such a pair.
    assert set(CHECKS) == {name for name, *_ in broken.BROKEN} | {"new_hyperparams"}


def test_a_state_that_follows_the_dtype_of_new_hyperparameters_is_caught(monkeypatch):
    def loose(state, values):
        numbers = {k: jnp.asarray(v, jnp.float16) for k, v in values.items()}
        return state._replace(hyperparams={**state.hyperparams, **numbers})

    monkeypatch.setattr("functional_optim.testing.compilation.set_hyperparams", loose)
    with pytest.raises(ConformanceError, match="another step_size compiled the step again"):
        testing.check_new_hyperparams(fo.scale(0.5))


def test_a_state_that_leaves_the_parameters_devices_is_caught():
    if jax.device_count() == 1:
        pytest.skip("needs several devices")
    with pytest.raises(ConformanceError, match=r"a step moves the state's '[bw]'"):
        testing.check_sharding(broken.pair(broken.gathered, broken.zeros))


@pytest.mark.parametrize("check", [testing.check_quadratic, testing.check_rosenbrock])
def test_ascent_fails(check):
    with pytest.raises(ConformanceError, match=r"20 steps went from .* Allow more steps"):
        check(broken.pair(broken.ascending), steps=20)


def test_all_failures_are_reported():
    with pytest.raises(ConformanceError) as caught:
        check_transformation(broken.pair(broken.zero_by_zero), dtypes=("float16",), quadratic=2)
    failed = [failure.check for failure in caught.value.failures]
    assert "zero_gradients" in failed
    assert "pickling" in failed
    assert len(str(caught.value).splitlines()) == len(failed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"leave_out": {"speed": "slow"}}, "leave_out has 'speed'; it must be one of state, "),
        ({"leave_out": {"jit": ""}}, "leave_out gives no reason for 'jit'"),
        ({"dtypes": ("int8",)}, "dtypes has 'int8'; it must be one of float16, "),
    ],
)
def test_misuse_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_transformation(fo.identity(), **arguments)


def test_other_arguments_than_a_pair_are_refused():
    with pytest.raises(TypeError, match="check_transformation: tx must be a pair of functions"):
        check_transformation(fo.adam)
