"""States of optax and of this package: a run that began with one continues with the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim.interop.optax_state import from_optax, to_optax

from ..problem import arrays
from ..trees import assert_close, assert_same

pytestmark = pytest.mark.usefixtures("eager")

FALL = {"init_value": 0.1, "end_value": 0.0, "transition_steps": 20}
MASK = {"w": True, "b": False}
LABELS = {"w": "a", "b": "b"}
SGD = optax.sgd(0.1, 0.5)


def odd(step):
    return step % 2 == 1


def even(step):
    return step % 2 == 0


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
    "sm3": (optax.sm3(0.1), fo.sm3(0.1)),
    "adamaxw": (optax.adamaxw(0.1), fo.adamaxw(0.1)),
    "fromage": (optax.fromage(0.1), fo.fromage(0.1)),
    "lars": (optax.lars(0.1), fo.lars(0.1)),
    "signum": (optax.signum(0.1), fo.signum(0.1)),
    "optimistic": (
        optax.optimistic_gradient_descent(0.1),
        fo.optimistic_gradient_descent(0.1),
    ),
    "optimistic-adam": (optax.optimistic_adam_v2(0.1), fo.optimistic_adam_v2(0.1)),
    "muon": (
        optax.contrib.muon(0.1, nesterov=False),
        fo.contrib.muon(0.1, nesterov=False),
    ),
    "distance": (
        optax.chain(optax.scale_by_distance_over_gradients(), optax.scale(-1.0)),
        fo.chain(fo.scale_by_distance_over_gradients(), fo.scale(-1.0)),
    ),
    "cocob": (optax.contrib.cocob(), fo.cocob()),
    "dadapt_adamw": (optax.contrib.dadapt_adamw(), fo.dadapt_adamw(bias_correction=True)),
    "dog": (optax.contrib.dog(), fo.dog()),
    "dog-first-step": (
        optax.contrib.dog(init_step=("learning_rate", 0.1), weight_decay=0.1),
        fo.dog(init_step=("learning_rate", 0.1), weight_decay=0.1),
    ),
    "mechanize": (
        optax.contrib.mechanize(optax.adam(0.5), s_init=0.1),
        fo.mechanize(fo.adam(0.5), s_init=0.1),
    ),
    "schedule_free": (
        optax.contrib.schedule_free(optax.adam(0.1, b1=0.0), 0.1),
        fo.schedule_free(fo.adam(0.1, b1=0.0), 0.1),
    ),
    "schedule_free_sgd": (
        optax.contrib.schedule_free_sgd(0.1, weight_decay=0.1),
        fo.schedule_free_sgd(0.1, weight_decay=0.1),
    ),
    "schedule_free_adamw-warmup": (
        optax.contrib.schedule_free_adamw(0.1, warmup_steps=5, weight_decay=0.1),
        fo.schedule_free_adamw(0.1, warmup_steps=5, weight_decay=0.1, warmup_from_zero=True),
    ),
    "schedule_free-in-partition": (
        optax.partition({"a": optax.contrib.schedule_free_sgd(0.1, 3), "b": SGD}, LABELS),
        fo.partition(
            {"a": fo.schedule_free_sgd(0.1, 3, warmup_from_zero=True), "b": fo.sgd(0.1, 0.5)},
            LABELS,
        ),
    ),
    "dowg": (optax.contrib.dowg(), fo.dowg()),
    "prodigy": (optax.contrib.prodigy(), fo.prodigy(bias_correction=True)),
    "apply_every": (
        optax.chain(optax.apply_every(5), optax.scale(-0.1)),
        fo.chain(fo.apply_every(5), fo.scale(-0.1)),
    ),
    "decay-schedule": (
        optax.chain(optax.add_decayed_weights(optax.linear_schedule(**FALL)), optax.sgd(0.1)),
        fo.chain(fo.add_decayed_weights(fo.linear_schedule(**FALL)), fo.sgd(0.1)),
    ),
    "measured": (
        optax.chain(optax.snapshot("n", optax.tree.norm), optax.zero_nans(), optax.adam(0.1)),
        fo.chain(fo.snapshot("n", fo.global_norm), fo.zero_nans(), fo.adam(0.1)),
    ),
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
    "masked-in-partition": (
        optax.partition(
            {"a": optax.chain(optax.masked(optax.trace(0.9), MASK), SGD), "b": optax.adamw(0.1)},
            LABELS,
        ),
        fo.partition(
            {
                "a": fo.chain(fo.masked(fo.trace(0.9), MASK), fo.sgd(0.1, 0.5)),
                "b": fo.adamw(0.1),
            },
            LABELS,
        ),
    ),
    "named_chain": (
        optax.named_chain(("x", optax.adam(0.1)), ("y", optax.trace(0.5))),
        fo.named_chain(("x", fo.adam(0.1)), ("y", fo.chain(fo.trace(0.5)))),
    ),
    "apply_if_finite": (
        optax.apply_if_finite(optax.adam(0.1), 3),
        fo.apply_if_finite(fo.adam(0.1), 3),
    ),
    "conditionally": (
        optax.chain(
            optax.conditionally_transform(optax.chain(optax.ema(0.9)), odd),
            optax.conditionally_mask(optax.adam(0.1), even),
        ),
        fo.chain(
            fo.conditionally_transform(fo.chain(fo.ema(0.9)), odd),
            fo.conditionally_mask(fo.adam(0.1), even),
        ),
    ),
    "injected": (
        optax.inject_hyperparams(optax.sgd)(0.1, momentum=0.5),
        fo.sgd(0.3, momentum=0.7),
    ),
    "injected-here-too": (
        optax.inject_hyperparams(optax.adamw)(0.1, b1=0.5),
        fo.inject_hyperparams(fo.adamw)(0.3, b1=0.7),
    ),
    "injected-decays": (
        optax.inject_hyperparams(optax.adamw)(0.1, b1=0.5, b2=0.75),
        fo.adamw(0.3),
    ),
    "injected-schedule": (
        optax.inject_hyperparams(optax.adam)(optax.linear_schedule(**FALL)),
        fo.adam(fo.linear_schedule(**FALL)),
    ),
    "injected-by-label": (
        optax.partition(
            {
                "a": optax.inject_hyperparams(optax.adam)(0.1),
                "b": optax.inject_hyperparams(optax.sgd)(0.2, momentum=0.5),
            },
            LABELS,
        ),
        fo.partition({"a": fo.adam(0.3), "b": fo.sgd(0.3, momentum=0.3)}, LABELS),
    ),
    "MultiSteps": (
        optax.MultiSteps(optax.sgd(0.1, momentum=0.9), 2),
        fo.MultiSteps(fo.sgd(0.1, momentum=0.9), 2),
    ),
    "MultiSteps-one-accumulated": (
        optax.chain(
            optax.clip(1.0),
            optax.MultiSteps(
                optax.adam(optax.linear_schedule(**FALL)),
                3,
                should_skip_update_fn=optax.skip_not_finite,
            ).gradient_transformation(),
        ),
        fo.chain(
            fo.clip(1.0),
            fo.MultiSteps(
                fo.adam(fo.linear_schedule(**FALL)), 3, should_skip_update_fn=fo.skip_not_finite
            ),
        ),
    ),
    "all-nested": (
        optax.apply_if_finite(
            optax.MultiSteps(
                optax.partition({"a": optax.adam(0.1), "b": optax.sgd(0.1, 0.9)}, LABELS), 2
            ),
            3,
        ),
        fo.apply_if_finite(
            fo.MultiSteps(fo.partition({"a": fo.adam(0.1), "b": fo.sgd(0.1, 0.9)}, LABELS), 2), 3
        ),
    ),
}

TOLERANCES = {
    PAIRS["adam-narrow"][0]: {"rtol": 2e-2, "atol": 4e-3},
    # At the first rectified steps optax's float32 has four digits of the rectification.
    PAIRS["radam"][0]: {"rtol": 1e-3, "atol": 1e-4},
}

each_pair = pytest.mark.parametrize("name", PAIRS)


@functools.cache
def drawn(seed):
    return {k: np.asarray(x) for k, x in arrays(seed=seed).items()}


def advance(tx, params, state, seed_grads):
    grads = {k: jnp.asarray(0.2 * np.asarray(p) + 0.1 * seed_grads[k]) for k, p in params.items()}
    # optax relies on both.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def run(tx, params, state, begin, end):
    for i in range(begin, end):
        params, state = advance(tx, params, state, drawn(i))
    return params, state


@functools.cache
def begun(name):
    """Returns parameters and state of optax after four steps, and the state at the start."""
    theirs, _ = PAIRS[name]
    start = theirs.init(arrays())
    return *run(theirs, arrays(), start, 0, 4), start


@each_pair
def test_a_run_of_optax_continues_here_and_then_in_optax(name):
    theirs, ours = PAIRS[name]
    params, state, start = begun(name)
    expected, end = run(theirs, params, state, 4, 6)

    template = ours.init(arrays())
    mine = from_optax(state, template, count=4)
    assert jax.tree.map(jax.typeof, mine) == jax.tree.map(jax.typeof, template)
    if counted_apart(start):
        assert counts(mine) == counts(run(ours, arrays(), template, 0, 4)[1])
    else:
        assert {n for path, n in counts(mine).items() if path.endswith(".count")} == {4}
    got, last = run(ours, params, mine, 4, 6)
    tolerance = TOLERANCES.get(theirs, {"rtol": 2e-5, "atol": 2e-6})
    assert_close(got, expected, **tolerance)

    back = to_optax(last, start)
    assert jax.tree.structure(back) == jax.tree.structure(end)
    assert [x.dtype for x in jax.tree.leaves(back)] == [x.dtype for x in jax.tree.leaves(end)]
    there, here = (run(theirs, expected, s, 6, 7)[0] for s in (end, back))
    assert_close(here, there, **tolerance)


@each_pair
def test_arrays_are_copied(name):
    _, state, start = begun(name)
    if "ApplyEvery" in repr(jax.tree.structure(start)):
        pytest.skip("at the start of a period, optax keeps what it has used")
    back = to_optax(from_optax(state, PAIRS[name][1].init(arrays()), count=4), start)
    names = [jax.tree_util.keystr(k) for k, _ in jax.tree_util.tree_flatten_with_path(state)[0]]
    pairs = zip(names, jax.tree.leaves(state), jax.tree.leaves(back), strict=True)
    for name, x, y in pairs:
        # The value of a schedule is computed here, and a measurement is of the last update.
        if not name.endswith(("rate']", "measurement['n']")):
            np.testing.assert_array_equal(x, y, err_msg=name)


def test_different_counts_of_parameters_cannot_be_written_for_optax():
    tx, params = fo.adam(0.1), arrays()
    _, state = tx.update({**params, "w": None}, tx.init(params), params)
    theirs = optax.adam(0.1).init(params)
    with pytest.raises(ValueError, match=r"'scale_by_adam' had between 0 and 1 updates"):
        to_optax(state, theirs)
    _, state = tx.update({**params, "b": None}, state, params)
    assert to_optax(state, theirs)[0].count == 1


def test_counts_of_parameters_are_filled():
    _, state = run(optax.adam(0.1), arrays(), optax.adam(0.1).init(arrays()), 0, 3)
    mine = from_optax(state, fo.per_leaf_counts(fo.adam(0.1)).init(arrays()))
    assert mine.scale_by_adam.leaf_counts.tolist() == [3, 3]


def counted_apart(state):
    """Tells whether a wrapper of optax passes on only some updates."""
    names = ("MultiSteps", "Conditionally", "ApplyEvery")
    return any(name in repr(jax.tree.structure(state)) for name in names)


def counts(state):
    """Maps the path of each count to its value."""
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        jax.tree_util.keystr(path): x.tolist()
        for path, x in flat
        if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool
    }


def test_injected_hyperparameters_are_copied():
    theirs = optax.inject_hyperparams(optax.adam)(learning_rate=0.1, b1=0.5)
    state = theirs.init(arrays())
    state.hyperparams["learning_rate"] = jnp.float32(0.25)
    mine = from_optax(state, fo.adam(0.1).init(arrays()))
    assert fo.get_hyperparams(mine)["learning_rate"] == 0.25
    assert fo.get_hyperparams(mine)["b1"] == 0.5
    mine = fo.set_hyperparams(mine, learning_rate=0.75)
    assert to_optax(mine, state).hyperparams["learning_rate"] == 0.75


def test_injected_numbers_without_one_place_are_refused():
    theirs = optax.inject_hyperparams(optax.adam)(0.1)
    ours = fo.chain(fo.adam(0.1), fo.scale_by_learning_rate(0.5))
    with pytest.raises(ValueError, match=r"injects 'learning_rate', and here .*, .* has that num"):
        from_optax(theirs.init(arrays()), ours.init(arrays()))
    theirs = optax.inject_hyperparams(optax.clip)(0.1)
    with pytest.raises(ValueError, match=r"'max_delta', and here no link has that number"):
        from_optax(theirs.init(arrays()), fo.sgd(0.1).init(arrays()))


def test_lookahead_takes_the_slow_parameters_from_the_template():
    theirs = optax.lookahead(optax.adam(0.1), sync_period=3, slow_step_size=0.5)
    ours = fo.lookahead(fo.adam(0.1), sync_period=3, slow_step_size=0.5)
    pair, state = run_pair(theirs, optax.LookaheadParams.init_synced(arrays()), None, 0, 4)
    expected, _ = run_pair(theirs, pair, state, 4, 8)
    mine = from_optax(state, ours.init(pair.slow))
    got, last = run(ours, pair.fast, mine, 4, 8)
    assert_close(got, expected.fast, rtol=2e-5, atol=2e-6)
    assert_close(last.look_back.slow, expected.slow, rtol=2e-5, atol=2e-6)
    with pytest.raises(ValueError, match="the state of 'look_back' does not say at which step"):
        to_optax(last, state)


DIAGONAL = {"w": 3.0, "b": 0.5}


def bowl(params):
    return sum(DIAGONAL[k] * jnp.sum(p**2) / 2 for k, p in params.items())


SOPHIA = {"gamma": 1.0, "update_interval": 2}
OF_LOSSES = {
    "momo": (optax.contrib.momo(0.1), fo.momo(0.1)),
    "momo-adapting": (
        optax.contrib.momo(0.1, adapt_lower_bound=True),
        fo.momo(0.1, adapt_lower_bound=True),
    ),
    "momo_adam": (optax.contrib.momo_adam(0.1), fo.momo_adam(0.1)),
    # The estimate of a diagonal Hessian is exact, whatever the random signs.
    "sophia": (optax.contrib.sophia(0.1, **SOPHIA), fo.sophia(0.1, **SOPHIA)),
}


@pytest.mark.parametrize("name", OF_LOSSES)
def test_a_run_that_needs_the_loss_continues(name):
    theirs, ours = map(fo.with_extra_args_support, OF_LOSSES[name])

    def run(tx, params, state, steps):
        for _ in range(steps):
            value = jnp.asarray(bowl({k: np.asarray(p) for k, p in params.items()}))
            grads = {k: DIAGONAL[k] * p for k, p in params.items()}
            with jax.numpy_dtype_promotion("standard"):
                updates, state = tx.update(grads, state, params, value=value, obj_fn=bowl)
            params = fo.apply_updates(params, updates)
        return params, state

    params, state = run(theirs, arrays(), theirs.init(arrays()), 3)
    expected, end = run(theirs, params, state, 3)
    got, last = run(ours, params, from_optax(state, ours.init(arrays())), 3)
    assert_close(got, expected, rtol=2e-5, atol=2e-6)
    back = to_optax(last, theirs.init(arrays()))
    there, here = (run(theirs, expected, s, 1)[0] for s in (end, back))
    assert_close(here, there, rtol=2e-5, atol=2e-6)


def test_a_run_of_complex_parameters_continues():
    theirs, ours = optax.contrib.split_real_and_imaginary(optax.adam(0.1)), fo.adam(0.1)
    params = {k: jax.lax.complex(x, x / 2) for k, x in arrays().items()}
    mine = fo.split_real_and_imaginary(ours)
    with jax.numpy_dtype_promotion("standard"):
        _, state = theirs.update(params, theirs.init(params), params)
        expected, _ = theirs.update(params, state, params)
    found, _ = mine.update(params, from_optax(state, mine.init(params)), params)
    assert_close(found, expected, rtol=2e-5, atol=2e-6)


def test_a_private_run_continues():
    theirs, ours = (
        library.chain(
            library.contrib.differentially_private_aggregate(1.0, 0.0, key=0),
            library.sgd(0.1, momentum=0.9),
        )
        for library in (optax, fo)
    )
    grads = {k: jnp.stack([x, -2 * x, x + 1]) for k, x in arrays().items()}
    with jax.numpy_dtype_promotion("standard"):
        _, state = theirs.update(grads, theirs.init(arrays()), arrays())
        expected, _ = theirs.update(grads, state, arrays())
    found, _ = ours.update(grads, from_optax(state, ours.init(arrays()), count=1), arrays())
    assert_close(found, expected, rtol=2e-5, atol=2e-6)


def run_pair(tx, pair, state, begin, end):
    state = tx.init(pair) if state is None else state
    for i in range(begin, end):
        grads = jax.tree.map(lambda p, g: 0.2 * p + 0.1 * g, pair.fast, arrays(seed=i))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(grads, state, pair)
        pair = optax.apply_updates(pair, updates)
    return pair, state


def test_a_plateau_continues():
    options = {"factor": 0.5, "patience": 2, "cooldown": 1, "accumulation_size": 2}
    theirs, ours = (m.reduce_on_plateau(**options) for m in (optax.contrib, fo.contrib))
    ours = fo.chain(ours)

    def scales(tx, state, values):
        found = []
        for value in values:
            updates, state = tx.update(arrays(), state, arrays(), value=jnp.float32(value))
            found.append(updates["b"])
        return found, state

    falling, flat = [3.0, 2.0, 2.0, 2.0, 2.0], [2.0] * 9
    with jax.numpy_dtype_promotion("standard"):
        _, state = scales(theirs, theirs.init(arrays()), falling)
        expected, end = scales(theirs, state, flat)
    got, last = scales(ours, from_optax(state, ours.init(arrays()), count=5), flat)
    assert_close(got, expected, rtol=1e-6)
    assert_close(to_optax(last, theirs.init(arrays())), end, rtol=1e-6)


def test_an_initial_state_becomes_an_initial_state():
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
        (optax.adan(0.1), fo.adan(0.1), "ScaleByAdanState weighs changes of the gradient by 1 - "),
        (optax.rprop(0.1), fo.rprop(0.1), "ScaleByRpropState takes each step one update late"),
        (optax.lbfgs(), fo.lbfgs(), "ScaleByLBFGSState keeps pairs of negative curvature"),
        (optax.adam(0.1), fo.apply_if_finite(fo.adam(0.1), 3), "state has nothing for '.root.'"),
        (
            optax.named_chain(("x", optax.scale_by_adam())),
            fo.named_chain(("x", fo.scale_by_lion())),
            "optax's ScaleByAdamState has no counterpart among the links that are left: x",
        ),
    ],
)
def test_a_state_without_counterpart_is_named(theirs, ours, message):
    with pytest.raises(ValueError, match=message):
        from_optax(theirs.init(arrays()), ours.init(arrays()))


def test_accumulated_gradients_are_refused():
    theirs, ours = optax.MultiSteps(optax.adam(0.1), 3), fo.MultiSteps(fo.adam(0.1), 3)
    _, state = run(theirs, arrays(), theirs.init(arrays()), 0, 2)
    with pytest.raises(ValueError, match="from_optax: MultiSteps has accumulated 2 gradients"):
        from_optax(state, ours.init(arrays()))
    _, state = run(ours, arrays(), ours.init(arrays()), 0, 2)
    with pytest.raises(ValueError, match="to_optax: MultiSteps has accumulated 2 gradients, as"):
        to_optax(state, theirs.init(arrays()))


def test_the_random_key_is_the_templates():
    theirs, ours = optax.noisy_sgd(0.1, key=0), fo.noisy_sgd(0.1, key=7)
    _, state = run(theirs, arrays(), theirs.init(arrays()), 0, 4)
    mine = from_optax(state, ours.init(arrays()))
    assert mine.add_noise.count == 4  # by which its variance falls
    assert_same(mine.add_noise.keys, ours.init(arrays()).add_noise.keys)


def test_a_slot_that_optax_does_not_keep_is_named():
    state = optax.sgd(0.1).init(arrays())
    with pytest.raises(ValueError, match="optax's state has nothing for 'scale_by_adam'"):
        from_optax(state, fo.adam(0.1).init(arrays()), count=1)


def test_states_of_other_parameters_are_refused():
    state = optax.adam(0.1).init({"w": jnp.ones(3), "b": jnp.ones(4)})
    with pytest.raises(ValueError, match=r"at 'w' there is shape \(3,\), where shape \(3, 4\)"):
        from_optax(state, fo.adam(0.1).init(arrays()))
