"""The numbers that define a schedule may be traced, differentiated, vmapped, read and set."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .cases import CASES, STEPS, case, warmup_cosine

DIFFERENTIABLE = ("init_value", "peak_value", "end_value", "value", "power", "exponent", "alpha")
DIFFERENTIABLE += ("decay_rate", "div_factor", "final_div_factor", "max_prob", "min_prob", "decay")


def numbers_of(case):
    return {k: float(v) for k, v in case.arguments.items() if not isinstance(v, (str, bool, dict))}


def with_other_numbers(case):
    """Makes the schedule with half of each number; shares of the run must keep their order."""
    changed = {k: 0.5 * v for k, v in numbers_of(case).items() if not k.startswith("pct")}
    if scales := case.arguments.get("boundaries_and_scales"):
        changed["boundaries_and_scales"] = {k + 1: 0.5 * v for k, v in scales.items()}
    return case.make(**changed)


def cosine(peak_value=1.0, decay_steps=6):
    return fo.warmup_cosine_decay_schedule(0.0, peak_value, 2, decay_steps)


def join(rate=0.5, peak_value=1.0, boundary=4, start=0.1):
    parts = [start, fo.exponential_decay(1.0, 10, rate), cosine(peak_value)]
    return fo.join_schedules(parts, [boundary, 10])


def sgdr(peak_value=1.0, decay_steps=6):
    return fo.sgdr_schedule([{"init_value": 0.0, "warmup_steps": 2, **kwargs} for kwargs in (
        {"peak_value": peak_value, "decay_steps": decay_steps},
        {"peak_value": 0.5 * peak_value, "decay_steps": 2 * decay_steps},
    )])  # fmt: skip


ONE_OF_EACH = {each.name: each for each in reversed(CASES)}.values()
PAIRS = [(each.make(), with_other_numbers(each)) for each in ONE_OF_EACH]
PAIRS += [(join(), join(0.25, 2.0, 5, 0.3)), (sgdr(), sgdr(2.0, 9))]
PAIRS += [(fo.join_schedules([join(), 0.1], [20]), fo.join_schedules([join(0.1), 0.2], [9]))]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers_may_be_traced(case):
    schedule_values = jax.jit(lambda numbers: case.make(**numbers)(jnp.arange(len(STEPS))))
    values = schedule_values(numbers_of(case))
    largest = np.abs(case.expected()).max()
    np.testing.assert_allclose(values, case.expected(), rtol=2e-6, atol=2e-7 * largest)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_derivatives_are_those_of_the_closed_form(case, x64):
    numbers = {k: v for k, v in numbers_of(case).items() if k in DIFFERENTIABLE}
    if case.arguments.get("power") == 0:
        del numbers["power"]  # 0**power jumps from 1 to 0 there, so it has no derivative
    slopes = jax.jit(jax.jacobian(lambda n: case.make(**n)(jnp.arange(len(STEPS)))))(numbers)
    h = 1e-6
    for name, value in numbers.items():
        above, below = (case.expected(**{name: value + s}) for s in (h, -h))
        slope = (above - below) / (2 * h)
        if value == 0:  # a value below 0 would be outside the interval of some numbers
            slope = (above - case.expected()) / h
        np.testing.assert_allclose(slopes[name], slope, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_derivatives_are_finite_at_the_end(power):
    def value(numbers, step):
        return fo.polynomial_schedule(*numbers)(step)

    numbers = tuple(map(jnp.float32, (1.0, 0.1, power, 10.0, 0.0)))
    slopes = jax.jit(jax.jacobian(value))(numbers, jnp.array([0.0, 10.0, 11.0]))
    assert all(jnp.isfinite(d).all() for d in slopes)


@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt"])
def test_derivatives_by_the_lengths_of_phases_are_finite(shape):
    def value(lengths, step):
        return fo.warmup_stable_decay_schedule(0.0, 1.0, *lengths, shape=shape)(step)

    for lengths in ((3.0, 4.0, 5.0), (0.0, 0.0, 0.0)):
        slopes = jax.jit(jax.jacobian(value))(tuple(map(jnp.float32, lengths)), jnp.arange(15))
        assert all(jnp.isfinite(d).all() for d in slopes)


def test_numbers_may_be_vmapped():
    peaks, warmups = jnp.array([0.5, 1.0, 2.0]), jnp.array([0.0, 3.0, 7.0])

    def values(peak, warmup):
        return fo.warmup_cosine_decay_schedule(0.0, peak, warmup, 20)(jnp.arange(30))

    actual = jax.jit(jax.vmap(values))(peaks, warmups)
    expected = [
        [warmup_cosine(t, 0.0, peak, warmup, 20) for t in range(30)]
        for peak, warmup in zip(peaks.tolist(), warmups.tolist(), strict=True)
    ]
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize(("schedule", "changed"), PAIRS, ids=lambda s: repr(s)[:60])
def test_other_numbers_give_the_same_program(schedule, changed):
    assert schedule != changed
    a, b = (fo.scale_by_learning_rate(s) for s in (schedule, changed))
    assert a.update is b.update
    grads = {"w": jnp.ones(2)}
    texts = {jax.jit(tx.update).lower(grads, tx.init(grads)).as_text() for tx in (a, b)}
    assert len(texts) == 1


@pytest.mark.parametrize(("schedule", "changed"), PAIRS, ids=lambda s: repr(s)[:60])
def test_setting_numbers_takes_effect_at_the_next_step_and_does_not_recompile(schedule, changed):
    tx, target = (fo.scale_by_learning_rate(s) for s in (schedule, changed))
    grads = {"w": jnp.ones(2)}
    update = jax.jit(lambda *args: tx.update(*args))
    state, wanted = tx.init(grads), fo.get_hyperparams(target.init(grads))
    _, state = update(grads, state)
    numbers = {k: v for k, v in wanted.items() if k != "learning_rate"}
    assert numbers
    assert fo.get_hyperparams(state).keys() == wanted.keys()
    state = fo.set_hyperparams(state, numbers)
    for expected in changed(jnp.arange(45))[1:14].tolist():
        updates, state = update(grads, state)
        np.testing.assert_allclose(updates["w"], -expected, rtol=2e-6, atol=1e-8)
        assert fo.get_hyperparams(state)["learning_rate"] == -updates["w"][0]
    assert update._cache_size() == 1


def test_numbers_have_readable_names():
    state = fo.scale_by_learning_rate(fo.join_schedules([0.1, cosine(), sgdr()], [5, 9])).init(
        {"w": 0.0}
    )
    names = [n.removeprefix("learning_rate.") for n in fo.get_hyperparams(state)]
    cycle = ["decay_steps", "end_value", "exponent", "init_value", "peak_value", "warmup_steps"]
    assert names == [
        "learning_rate",
        "boundaries.0",
        "boundaries.1",
        "schedules.0.value",
        *(f"schedules.1.{k}" for k in cycle),
        *(f"schedules.2.cycles.0.{k}" for k in cycle),
        *(f"schedules.2.cycles.1.{k}" for k in cycle),
    ]
    schedule = fo.piecewise_constant_schedule(1.0, {20: 0.1, 7: 0.5})
    known = fo.get_hyperparams(fo.scale_by_learning_rate(schedule).init({"w": 0.0}))
    assert {k.removeprefix("learning_rate."): float(v) for k, v in known.items()} == {
        "learning_rate": 1.0,
        "init_value": 1.0,
        "boundaries.0": 7.0,
        "boundaries.1": 20.0,
        "scales.0": 0.5,
        "scales.1": np.float32(0.1),
    }


def test_a_cooldown_can_be_started_during_the_run():
    tx = fo.sgd(fo.warmup_stable_decay_schedule(0.0, 1.0, 2, 1000, 4))
    grads = {"w": jnp.ones(())}
    state = tx.init(grads)
    rates = []
    for step in range(12):
        if step == 6:
            state = fo.set_hyperparams(state, {"learning_rate.stable_steps": step - 2})
        updates, state = tx.update(grads, state)
        rates.append(-float(updates["w"]))
    assert rates == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_training_can_be_differentiated_with_respect_to_the_numbers_of_its_schedule():
    def trained(peak):
        tx = fo.sgd(join(peak_value=peak, boundary=0, start=0.0))
        state, params = tx.init({"w": 1.0}), {"w": jnp.float32(0.0)}
        for _ in range(14):
            updates, state = tx.update({"w": jnp.float32(1.0)}, state)
            params = fo.apply_updates(params, updates)
        return params["w"]

    # The parameter is minus the sum of the rates. Only those of the steps 10 to 13, the first four
    # of the cosine schedule, depend on the peak.
    expected = -sum(warmup_cosine(t, 0.0, 1.0, 2, 6) for t in range(4))
    np.testing.assert_allclose(jax.jit(jax.grad(trained))(jnp.float32(2.0)), expected, rtol=1e-6)


@pytest.mark.parametrize(("schedule", "changed"), PAIRS, ids=lambda s: repr(s)[:60])
def test_schedules_compare_hash_copy_and_pickle(schedule, changed):
    tx, target = fo.sgd(schedule), fo.sgd(changed)
    for twin in (pickle.loads(pickle.dumps(tx)), copy.deepcopy(tx)):
        assert twin == tx
        assert hash(twin) == hash(tx)
        assert twin != target
        assert twin.update is tx.update
    assert repr(tx).count(repr(schedule)) == 1


def test_a_schedule_defined_inside_a_function_can_be_copied():
    @fo.schedule(bounds={"rate": "(0, 1]"})
    def geometric(step, rate):
        return rate**step

    assert copy.deepcopy(geometric(0.5)) == geometric(0.5)


def test_options_give_other_programs():
    decay = case("exponential_decay", None, init_value=1.0, transition_steps=3, decay_rate=0.5)
    a, b, c = decay.make(), decay.make(staircase=True), decay.make(end_value=0.1)
    assert len({fo.sgd(s).update for s in (a, b, c)}) == 3


def test_a_horizon_may_exceed_int32():
    schedule = fo.cosine_decay_schedule(1.0, 10**10)
    assert schedule(0) == 1.0
    exact = 0.5 * (1 + np.cos(np.pi * 2**30 / 10**10))
    np.testing.assert_allclose(schedule(2**30), exact, rtol=1e-6)


def test_the_decorator_needs_no_parentheses():
    @fo.schedule
    def halving(step, init_value):
        """Halves a value at each step."""
        return init_value * 0.5**step

    assert halving(8.0)(2) == 2.0
    assert (
        float(fo.get_hyperparams(fo.sgd(halving(8.0)).init(1.0))["learning_rate.init_value"]) == 8
    )
