"""The state of every rule is restored bit for bit, and so are the next steps of representatives.

For orbax, and other numbers of devices, see `test_ways_to_save`.
"""

import pickle

import jax
import pytest

import functional_optim as fo
from functional_optim.interop import safetensors

from .. import problem
from ..rules import REPRESENTATIVES, each_factory, each_factory_with_extra
from ..trees import assert_same, leaf_types
from .filling import filled

pytestmark = pytest.mark.usefixtures("eager")


def check(case, tmp_path):
    params, tx = problem.arrays(), case.make()

    def step(state, seed):
        return case.update(tx, problem.arrays(seed=seed), state, params)

    template = tx.init(params)
    # Writing and reading do not depend on where the numbers come from, so training all would
    # only take time.
    trained = case.name in REPRESENTATIVES
    state = step(template, 1)[1] if trained else filled(template)
    file = tmp_path / "state.safetensors"
    safetensors.save(file, state=state)
    restored = {
        "dict": fo.from_state_dict(template, fo.to_state_dict(state)),
        "pickled dict": fo.from_state_dict(
            jax.eval_shape(lambda: template), pickle.loads(pickle.dumps(fo.to_state_dict(state)))
        ),
        "safetensors": safetensors.load(file, state=template).state,
        "pickle": pickle.loads(pickle.dumps(state)),
    }
    for new in restored.values():
        assert leaf_types(new) == leaf_types(state)
        assert_same(new, state)
    if trained:  # a state of the same bits and types gives the same step, whatever the rule
        assert_same(step(restored["safetensors"], 2), step(state, 2))


@each_factory
def test_a_state_is_restored_and_continues(case, tmp_path):
    check(case, tmp_path)


@each_factory_with_extra
def test_a_state_whose_rule_needs_extra_arguments_is_restored_and_continues(case, tmp_path):
    check(case, tmp_path)
