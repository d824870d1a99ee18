"""States of optax and ours: a run that began with one goes on with the other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim.interop.optax_state import from_optax, to_optax

from ..problem import arrays
from ..trees import assert_close

pytestmark = pytest.mark.usefixtures("eager")

FALL = {"init_value": 0.1, "end_value": 0.0, "transition_steps": 20}
MASK = {"w": True, "b": False}
LABELS = {"w": "a", "b": "b"}


def rmsprop_of_optax(**options):
    return fo.chain(fo.scale_by_rms(**options), fo.scale_by_learning_rate(0.1), fo.trace(0.9))


PAIRS = {
    "adam": (optax.adam(0.1, b2=0.9), fo.adam(0.1, b2=0.9)),
    "adam-narrow": (optax.adam(0.1, mu_dtype="bfloat16"), fo.adam(0.1, mu_dtype="bfloat16")),
    "adamw-mask": (optax.adamw(0.1, mask=MASK), fo.adamw(0.1, mask=MASK)),
    "amsgrad": (optax.amsgrad(0.1), fo.amsgrad(0.1)),
    "nadam": (optax.nadam(0.1), fo.nadam(0.1)),
    "adamax": (optax.adamax(0.1), fo.adamax(0.1)),
    "adabelief": (optax.adabelief(0.1), fo.adabelief(0.1)),
    "yogi": (optax.yogi(0.1), fo.yogi(0.1)),
    "radam": (optax.radam(0.1), fo.radam(0.1)),
    "lion": (optax.lion(0.1), fo.lion(0.1)),
    "lamb": (optax.lamb(0.1), fo.lamb(0.1)),
    "sgd-momentum": (optax.sgd(0.1, momentum=0.9), fo.sgd(0.1, momentum=0.9)),
    "rmsprop": (optax.rmsprop(0.1), fo.rmsprop(0.1)),
    "rmsprop-centered": (
        optax.rmsprop(0.1, centered=True, momentum=0.9),
        rmsprop_of_optax(centered=True),
    ),
    "adagrad": (optax.adagrad(0.1), fo.adagrad(0.1)),
    "adadelta": (optax.adadelta(0.1), fo.adadelta(0.1)),
    "adafactor": (
        optax.adafactor(0.1, min_dim_size_to_factor=2),
        fo.adafactor(0.1, min_dim_size_to_factor=2),
    ),
    "novograd": (optax.novograd(0.1), fo.novograd(0.1)),
    "ema": (optax.chain(optax.ema(0.9), optax.scale(-0.1)), fo.chain(fo.ema(0.9), fo.scale(-0.1))),
    "schedule": (
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.linear_schedule(**FALL))),
        fo.chain(fo.clip_by_global_norm(1.0), fo.adam(fo.linear_schedule(**FALL))),
    ),
    "masked": (
        optax.masked(optax.adam(0.1), MASK),
        fo.chain(fo.masked(fo.scale_by_adam(), MASK), fo.masked(fo.scale(-0.1), MASK)),
    ),
    "partition": (
        optax.partition({"a": optax.adam(0.1), "b": optax.sgd(0.1, momentum=0.5)}, LABELS),
        fo.partition({"a": fo.adam(0.1), "b": fo.sgd(0.1, momentum=0.5)}, LABELS),
    ),
}

TOLERANCES = {
    PAIRS["adam-narrow"][0]: {"rtol": 2e-2, "atol": 4e-3},
    # At the first rectified steps optax's float32 has four digits of the rectification.
    PAIRS["radam"][0]: {"rtol": 1e-3, "atol": 1e-4},
}

each_pair = pytest.mark.parametrize(
    ("theirs", "ours"), [pytest.param(*pair, id=name) for name, pair in PAIRS.items()]
)


def run(tx, params, state, begin, end):
    for i in range(begin, end):
        grads = jax.tree.map(lambda p, g: 0.2 * p + 0.1 * g, params, arrays(seed=i))
        with jax.numpy_dtype_promotion("standard"):  # optax relies on it
            updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@each_pair
def test_a_run_goes_on_here_and_there_again(theirs, ours):
    params, state = run(theirs, arrays(), theirs.init(arrays()), 0, 4)
    expected, end = run(theirs, params, state, 4, 7)

    template = ours.init(arrays())
    mine = from_optax(state, template, count=4)
    assert jax.tree.map(jax.typeof, mine) == jax.tree.map(jax.typeof, template)
    assert {int(x) for x in mine_counts(mine)} == {4}
    got, last = run(ours, params, mine, 4, 7)
    tolerance = TOLERANCES.get(theirs, {"rtol": 2e-5, "atol": 2e-6})
    assert_close(got, expected, **tolerance)

    back = to_optax(last, theirs.init(arrays()))
    assert jax.tree.structure(back) == jax.tree.structure(end)
    assert [x.dtype for x in jax.tree.leaves(back)] == [x.dtype for x in jax.tree.leaves(end)]
    there, here = (run(theirs, expected, s, 7, 9)[0] for s in (end, back))
    assert_close(here, there, **tolerance)


def mine_counts(state):
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    return [x for path, x in flat if jax.tree_util.keystr(path[-1:]) == ".count"]


def test_injected_hyperparameters_are_taken_over():
    theirs = optax.inject_hyperparams(optax.adam)(learning_rate=0.1, b1=0.5)
    state = theirs.init(arrays())
    state.hyperparams["learning_rate"] = jnp.float32(0.25)
    mine = from_optax(state, fo.adam(0.1).init(arrays()))
    assert fo.get_hyperparams(mine)["learning_rate"] == 0.25
    assert fo.get_hyperparams(mine)["b1"] == 0.5
    mine = fo.set_hyperparams(mine, learning_rate=0.75)
    assert to_optax(mine, state).hyperparams["learning_rate"] == 0.75


def test_a_state_before_the_first_update_is_one_before_the_first():
    mine = from_optax(optax.adam(0.1).init(arrays()), fo.adam(0.1).init(arrays()))
    np.testing.assert_equal(
        jax.tree.map(np.asarray, mine._asdict()),
        jax.tree.map(np.asarray, fo.adam(0.1).init(arrays())._asdict()),
    )


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (optax.adam(0.1), fo.lion(0.1), "optax's ScaleByAdamState has no counterpart .* scale_by_"),
        (optax.sgd(0.1), fo.sgd(0.1), "nothing in optax's state counts updates. Pass count="),
        (optax.adam(0.1), fo.adam(0.1, amsgrad=True), "optax keeps nothing for 'nu_max'"),
    ],
)
def test_what_has_no_counterpart_is_named(theirs, ours, message):
    with pytest.raises(ValueError, match=message):
        from_optax(theirs.init(arrays()), ours.init(arrays()))


def test_what_optax_has_nothing_for_is_named():
    state = optax.sgd(0.1).init(arrays())
    with pytest.raises(ValueError, match="optax's state has nothing for 'scale_by_adam'"):
        from_optax(state, fo.adam(0.1).init(arrays()), count=1)


def test_states_of_other_parameters_are_refused():
    state = optax.adam(0.1).init({"w": jnp.ones(3), "b": jnp.ones(4)})
    with pytest.raises(ValueError, match=r"at 'w' there is shape \(3,\), where shape \(3, 4\)"):
        from_optax(state, fo.adam(0.1).init(arrays()))
