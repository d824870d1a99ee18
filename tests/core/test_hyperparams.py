import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim import get_hyperparams, set_hyperparams

PARAMS = {"w": jnp.ones(2), "b": jnp.ones(())}

WRAPPED = {
    "alone": lambda tx: tx,
    "chain": lambda tx: fo.chain(fo.clip(1.0), tx),
    "masked": lambda tx: fo.masked(tx, {"w": True, "b": False}),
    "partition": lambda tx: fo.partition({"a": tx, "b": fo.set_to_zero()}, {"w": "a", "b": "b"}),
    "optax.chain": lambda tx: optax.chain(optax.clip(1.0), tx),
    "optax.masked": lambda tx: optax.masked(tx, {"w": True, "b": False}),
    "optax.MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
    "optax.apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
}
each_wrapped = pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)


@pytest.fixture
def promotion():
    """Allows implicit promotion of dtypes, on which optax's arithmetic relies."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def floats(state):
    return {name: float(value) for name, value in get_hyperparams(state).items()}


def test_reads_all_numbers_of_an_optimizer():
    expected = {"b1": 0.9, "b2": 0.99, "eps": 0.5, "eps_root": 0.0, "learning_rate": 0.25}
    assert floats(fo.adam(0.25, b2=0.99, eps=0.5).init(PARAMS)) == pytest.approx(expected)


@pytest.mark.usefixtures("promotion")
@each_wrapped
def test_reads_and_sets_in_any_nesting(wrap):
    tx = wrap(fo.adam(0.5))
    state = tx.init(PARAMS)
    assert get_hyperparams(state)["learning_rate"] == 0.5
    edited = set_hyperparams(state, learning_rate=0.25, b1=0.75)
    assert get_hyperparams(edited)["learning_rate"] == 0.25
    assert get_hyperparams(edited)["b1"] == 0.75
    assert get_hyperparams(state)["learning_rate"] == 0.5, "a state is a value"
    assert jax.tree.structure(edited) == jax.tree.structure(state)
    tx.update(PARAMS, edited, PARAMS)


@pytest.mark.usefixtures("promotion")
@each_wrapped
def test_an_edit_acts_on_the_next_step(wrap):
    tx = wrap(fo.sgd(1.0))
    state = set_hyperparams(tx.init(PARAMS), learning_rate=0.25)
    updates = PARAMS
    for _ in range(2):  # MultiSteps moves at the second
        updates, state = tx.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(updates["w"], [-0.25, -0.25])


def test_a_name_that_several_links_have_is_written_with_its_path():
    tx = fo.chain(fo.ema(0.5), fo.trace(0.75), fo.trace(0.25))
    state = tx.init(PARAMS)
    names = {"ema.decay": 0.5, "trace.decay": 0.75, "trace_1.decay": 0.25}
    found = floats(state)
    assert {k: found[k] for k in names} == names
    edited = set_hyperparams(state, {"trace_1.decay": 0.125})
    assert {k: floats(edited)[k] for k in names} == {**names, "trace_1.decay": 0.125}
    several = r"'decay' could be any of ema\.decay, trace\.decay, trace_1\.decay\. Pass one"
    with pytest.raises(KeyError, match=several):
        set_hyperparams(state, decay=0.1)


def test_a_name_that_one_link_has_may_be_written_with_its_path():
    state = fo.adam(0.5).init(PARAMS)
    edited = set_hyperparams(state, {"scale_by_adam.b1": 0.5})
    assert get_hyperparams(edited)["b1"] == 0.5


@pytest.mark.parametrize(
    ("tx", "names"),
    [
        (fo.sgd(0.1, momentum=0.9), ["momentum"]),
        (fo.chain(fo.sgd(0.1, momentum=0.9), fo.params_ema(0.99)), ["momentum"]),
        (fo.lars(0.1), ["momentum", "trust_coefficient", "eps"]),
        (fo.rmsprop(0.1, momentum=0.9), ["decay", "momentum", "eps"]),
        (fo.signum(0.1), ["beta"]),
        (fo.sm3(0.1), ["momentum"]),
        (fo.lamb(0.1), ["eps", "eps_root"]),
        (fo.polyak_sgd(), ["scaling"]),
        (
            fo.adafactor(0.1, momentum=0.9, weight_decay_rate=0.1),
            ["clipping_threshold", "decay_offset", "momentum", "eps", "weight_decay_rate"],
        ),
        (
            fo.muon(0.1, adam_learning_rate=0.2),
            [
                *("learning_rate", "eps", "weight_decay", "adam_b1", "adam_b2", "adam_eps"),
                *("adam_eps_root", "adam_weight_decay", "adam_learning_rate"),
            ],
        ),
    ],
    ids=lambda x: None if isinstance(x, list) else repr(x).split("(")[1],
)
def test_a_number_is_known_by_the_argument_that_gave_it(tx, names):
    state = tx.init({"w": jnp.ones((2, 2)), "b": jnp.ones(2)})
    for name in names:
        edited = set_hyperparams(state, {name: 0.25}, tx=tx)
        before, after = floats(state), floats(edited)
        assert {k: v for k, v in after.items() if v != before[k]} == {name: 0.25}


def test_every_number_of_an_optimizer_is_known_by_its_argument():
    """Each float argument of each optimizer is in the state, but those of `init` or of shapes."""
    params = {"w": jnp.ones((4, 4)), "b": jnp.ones(4)}
    init_only = {
        *("initial_accumulator_value", "initial_scale", "init_estimate", "reps_rel"),
        *("init_factor", "preconditioner_init_scale"),
    }
    of_shapes = {"fraction", "rank_fraction", "max_skew_triangular"}
    tried = 0
    for factory in {f for f in map(fo.__getattr__, fo.__all__) if inspect.isfunction(f)}:
        signature = inspect.signature(factory).parameters
        if "learning_rate" not in signature or "inner" in signature or "optimizer" in signature:
            continue
        try:
            state = factory(learning_rate=0.1).init(params)
        except TypeError:  # it takes more arguments than this one
            continue
        defaults = {k: p.default for k, p in signature.items() if isinstance(p.default, float)}
        paths = get_hyperparams(state, with_paths=True)  # one argument may give several numbers
        missing = defaults.keys() - {k.rpartition(".")[2] for k in paths} - init_only - of_shapes
        assert not missing, (factory.__name__, missing)
        tried += len(defaults)
    assert tried > 60


def test_a_name_may_have_a_part_of_its_path():
    tx = fo.partition({"a": fo.adam(0.1), "b": fo.sgd(0.2)}, {"w": "a", "b": "b"})
    state = tx.init(PARAMS)
    edited = set_hyperparams(state, {"a.learning_rate": 0.5, "b.learning_rate": 0.25})
    assert edited.a.scale_by_learning_rate.hyperparams["learning_rate"] == 0.5
    assert edited.b.scale_by_learning_rate.hyperparams["learning_rate"] == 0.25
    several = (
        r"'learning_rate' could be any of a\.scale_by_learning_rate\.learning_rate, "
        r"b\.scale_by_learning_rate\.learning_rate\."
    )
    with pytest.raises(KeyError, match=several):
        set_hyperparams(state, learning_rate=0.5)
    with pytest.raises(KeyError, match=r"there is no 'c\.learning_rate'"):
        set_hyperparams(state, {"c.learning_rate": 0.5})


def test_names_with_paths_do_not_depend_on_other_links():
    alone = get_hyperparams(fo.adam(0.1).init(PARAMS), with_paths=True)
    among = get_hyperparams(
        fo.chain(fo.clip(1.0), fo.adam(0.1), fo.scale_by_lion(), fo.params_ema(0.9)).init(PARAMS),
        with_paths=True,
    )
    assert "scale_by_adam.b1" in alone
    assert alone.keys() <= among.keys()


def test_an_unknown_name_lists_the_known():
    state = fo.sgd(0.5, momentum=0.9).init(PARAMS)
    with pytest.raises(KeyError, match=r"no 'lr' in this state\. It has: momentum, learning_rate"):
        set_hyperparams(state, lr=0.1)
    with pytest.raises(KeyError, match=r"no 'lr' in this state\. It has: none"):
        set_hyperparams({"any": "state"}, lr=0.1)


class TestScheduled:
    tx = fo.chain(fo.clip(1.0), fo.sgd(fo.linear_schedule(1.0, 0.0, 4)))

    def test_shows_the_value_in_force_and_the_numbers(self):
        state = self.tx.init(PARAMS)
        assert get_hyperparams(state)["learning_rate"] == 1.0
        for expected in (1.0, 0.75, 0.5):
            _, state = self.tx.update(PARAMS, state, PARAMS)
            assert get_hyperparams(state)["learning_rate"] == expected
        assert get_hyperparams(state)["learning_rate.transition_steps"] == 4

    def test_refuses_the_value_and_lists_the_numbers(self):
        text = (
            "learning_rate follows a schedule, .* Set its numbers instead: "
            "learning_rate.end_value, learning_rate.init_value, learning_rate.transition_begin"
        )
        with pytest.raises(ValueError, match=text):
            set_hyperparams(self.tx.init(PARAMS), learning_rate=0.1)

    def test_refuses_the_value_of_a_function_that_has_no_numbers(self):
        state = fo.sgd(lambda step: 0.1).init(PARAMS)
        with pytest.raises(ValueError, match=r"learning_rate follows a schedule, .* no numbers"):
            set_hyperparams(state, learning_rate=0.1)

    def test_a_number_that_was_set_acts_on_the_next_step(self):
        state = set_hyperparams(self.tx.init(PARAMS), {"learning_rate.init_value": 0.5})
        updates, _ = self.tx.update(PARAMS, state, PARAMS)
        assert updates["b"] == -0.5

    def test_numbers_of_two_schedules_are_distinguished_by_their_links(self):
        ramp = fo.linear_schedule(1.0, 0.0, 4)
        state = fo.chain(fo.scale(ramp), fo.scale(ramp)).init(PARAMS)
        edited = set_hyperparams(state, {"scale_1.step_size.end_value": 0.5})
        assert edited.scale.schedules["step_size"]["end_value"] == 0
        assert edited.scale_1.schedules["step_size"]["end_value"] == 0.5
        with pytest.raises(ValueError, match=r"scale\.step_size follows a schedule"):
            set_hyperparams(state, {"scale.step_size": 0.1})


class TestBatched:
    tx = fo.adam(0.5)
    states = jax.vmap(lambda rate: fo.adam(rate).init(PARAMS))(jnp.array([0.1, 0.2, 0.3]))

    def test_reads_one_value_for_each_run(self):
        np.testing.assert_allclose(get_hyperparams(self.states)["learning_rate"], [0.1, 0.2, 0.3])

    @pytest.mark.parametrize("value", [0.5, [0.5, 0.5, 0.5]], ids=str)
    def test_sets_one_value_for_all_or_one_for_each(self, value):
        edited = set_hyperparams(self.states, learning_rate=jnp.array(value))
        np.testing.assert_allclose(get_hyperparams(edited)["learning_rate"], [0.5, 0.5, 0.5])

    def test_refuses_another_shape(self):
        text = r"learning_rate has shape \(3,\) in this state, got a value of shape \(2,\)"
        with pytest.raises(ValueError, match=text):
            set_hyperparams(self.states, learning_rate=jnp.ones(2))


def test_reads_and_sets_within_jit():
    state = fo.adam(0.5).init(PARAMS)

    @jax.jit
    def halve(state):
        return set_hyperparams(state, learning_rate=get_hyperparams(state)["learning_rate"] / 2)

    assert get_hyperparams(halve(state))["learning_rate"] == 0.25


@pytest.mark.parametrize("value", [1, 0.5, np.float64(0.5), np.int64(2), jnp.int32(3)])
def test_a_value_takes_the_dtype_that_the_state_has(value):
    edited = set_hyperparams(fo.adam(0.1).init(PARAMS), learning_rate=value)
    rate = get_hyperparams(edited)["learning_rate"]
    assert (rate.dtype, rate.weak_type, rate.shape) == (jnp.float32, False, ())
    assert float(rate) == float(value)


@pytest.mark.parametrize("value", [1j, True, None, "0.1", [0.1, None]], ids=repr)
def test_refuses_values_that_are_not_real_numbers(value):
    with pytest.raises(TypeError, match="set_hyperparams: b1 must be a real number, got"):
        set_hyperparams(fo.adam(0.1).init(PARAMS), b1=value)


def test_a_schedule_is_set_by_another_transformation():
    text = r"b1 must be a real number, got linear_schedule.* make one with b1=linear_schedule"
    with pytest.raises(TypeError, match=text):
        set_hyperparams(fo.adam(0.1).init(PARAMS), b1=fo.linear_schedule(0.1, 0.0, 3))


class TestBounds:
    tx = fo.partition(
        {"a": fo.adam(0.1), "b": fo.sgd(0.1)}, fo.path_labels({"^b": "b"}, default="a")
    )
    state = tx.init(PARAMS)

    @pytest.mark.parametrize(
        ("name", "value", "interval"),
        [
            ("b1", 1.5, r"\[0, 1\)"),
            ("a.scale_by_adam.b1", 1, r"\[0, 1\)"),
            ("b.scale_by_learning_rate.learning_rate", -0.5, r"\[0, inf\)"),
            ("eps", np.float32("nan"), r"\[0, inf\)"),
            ("b2", jnp.float32(-1), r"\[0, 1\)"),
        ],
    )
    def test_values_are_checked_where_the_transformation_is_given(self, name, value, interval):
        text = f"set_hyperparams: {name} must be in {interval}, got {float(value):g}"
        with pytest.raises(ValueError, match=text):
            set_hyperparams(self.state, {name: value}, tx=self.tx)
        if value == value:
            set_hyperparams(self.state, {name: value})

    def test_nan_is_refused_without_a_transformation_too(self):
        with pytest.raises(ValueError, match="set_hyperparams: b1 must be a number, got nan"):
            set_hyperparams(self.state, b1=float("nan"))

    def test_a_value_is_checked_as_the_state_rounds_it(self):
        with pytest.raises(ValueError, match=r"b2 must be in \[0, 1\), got .*, which is 1.0 in"):
            set_hyperparams(self.state, b2=0.99999999, tx=self.tx)

    def test_each_of_several_values_is_checked(self):
        states = jax.vmap(lambda _: self.state)(jnp.arange(2))
        with pytest.raises(ValueError, match=r"b1 must be in .* got 1\.5"):
            set_hyperparams(states, b1=jnp.array([0.5, 1.5]), tx=self.tx)

    def test_traced_values_are_not_looked_at(self):
        edit = jax.jit(lambda value: set_hyperparams(self.state, b1=value, tx=self.tx))
        assert get_hyperparams(edit(1.5))["b1"] == 1.5

    def test_an_argument_that_is_not_a_transformation_is_refused(self):
        with pytest.raises(TypeError, match="set_hyperparams: tx must be a pair of functions"):
            set_hyperparams(self.state, b1=0.5, tx=fo.adam)


def test_an_empty_edit_changes_nothing():
    state = fo.adam(0.1).init(PARAMS)
    assert jax.tree.leaves(set_hyperparams(state)) == jax.tree.leaves(state)


def test_links_within_wrappers_are_read_and_set():
    tx = fo.apply_if_finite(fo.MultiSteps(fo.sgd(0.5), 2), 3)
    state = tx.init({"w": 0.0})
    assert fo.get_hyperparams(state)["learning_rate"] == 0.5
    state = fo.set_hyperparams(state, learning_rate=0.25)
    inner = state.inner_state.inner_opt_state
    assert inner.scale_by_learning_rate.hyperparams["learning_rate"] == 0.25


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), np.array(0.25), 1, "array"], ids=repr)
def test_numbers_are_set_under_a_transfer_guard(value):
    tx = fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(fo.linear_schedule(1.0, 0.0, 10)))
    state = tx.init(PARAMS)
    value = jnp.array(0.25) if isinstance(value, str) else value
    names = ("max_norm", "weight_decay", "learning_rate.end_value")
    with jax.transfer_guard("disallow"):
        found = set_hyperparams(state, dict.fromkeys(names, value), tx=tx)
    assert [floats(found)[name] for name in names] == [float(value)] * 3


@pytest.mark.parametrize("value", ["0.1", None, 1j, True, [0.1, "x"]], ids=repr)
def test_values_that_are_not_numbers_are_not_set(value):
    state = fo.sgd(0.1).init(PARAMS)
    with pytest.raises(TypeError, match="learning_rate must be a real number, got"):
        set_hyperparams(state, learning_rate=value)
