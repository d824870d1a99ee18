"""The state of every rule, written in every way, is restored bit for bit and goes on so."""

import pickle

import jax
import pytest

import functional_optim as fo
from functional_optim.interop import orbax, safetensors

from .. import problem
from ..rules import cases, each, each_with_extra
from ..trees import assert_same, law

pytestmark = pytest.mark.usefixtures("eager")


def step_of(case, tx, params):
    """One update, with what the rule needs."""

    def step(state, seed):
        grads = problem.arrays(seed=seed)
        extra = case.extra(grads, params) if callable(case.extra) else case.extra or {}
        return tx.update(grads, state, params, **extra)

    return step


def check(case, tmp_path):
    params, tx = problem.arrays(), case.make()
    step = step_of(case, tx, params)
    _, state = step(tx.init(params), 1)
    template = tx.init(params)
    file = tmp_path / "state.safetensors"
    safetensors.save(file, state=state)
    restored = {
        "dict": fo.from_state_dict(template, fo.to_state_dict(state)),
        "pickled dict": fo.from_state_dict(
            jax.eval_shape(tx.init, params), pickle.loads(pickle.dumps(fo.to_state_dict(state)))
        ),
        "safetensors": safetensors.load(file, state=template).state,
        "pickle": pickle.loads(pickle.dumps(state)),
    }
    for new in restored.values():
        assert law(new) == law(state)
        assert_same(new, state)
    if "-" not in case.name:  # a rule's variants need not all be tried: nothing differs
        assert_same(step(restored["safetensors"], 2), step(state, 2))


@each
def test_a_state_is_restored_and_goes_on(case, tmp_path):
    check(case, tmp_path)


@each_with_extra
def test_a_state_whose_rule_needs_more_is_restored_and_goes_on(case, tmp_path):
    check(case, tmp_path)


@pytest.mark.parametrize("name", ["adamw", "chain-clip-adam-schedule", "partition", "identity"])
def test_a_state_is_restored_by_orbax_and_goes_on(name, tmp_path):
    case = next(case for case in cases() if case.name == name)
    params, tx = problem.arrays(), case.make()
    step = step_of(case, tx, params)
    _, state = step(tx.init(params), 1)
    orbax.save(tmp_path / "c", state=state, step=1)
    new = orbax.load(tmp_path / "c", state=tx.init(params)).state
    assert law(new) == law(state)
    assert_same(step(new, 2), step(state, 2))
