"""Functions of the user's: of any kind, and never with the program of what they were."""

import copy
import dataclasses
import functools
import gc
import pickle
import types
import weakref

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.core.functions import as_function, dependencies_of

PARAMS = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}


# Places: each makes a transformation of a function that gives `value`, by which the update of
# "b" must change from the first value to the second.


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a transformation takes a function.

    Attributes:
      make: the transformation, of a function of any arguments that gives a value.
      values: two values of that function that change the update of "b".
    """

    make: object
    values: tuple


def tree_of(params, value):
    return jax.tree.map(lambda p: p.ndim > 1 or value, params)


RATES, SWITCH, EVERY = (0.5, 0.25), (True, False), (1, 3)

PLACES = {
    "schedule": Place(lambda f: fo.sgd(lambda_of(f, "step")), RATES),
    "scale_by_schedule": Place(lambda f: fo.scale_by_schedule(lambda_of(f, "step")), RATES),
    "joined": Place(lambda f: fo.sgd(fo.join_schedules([lambda_of(f, "step"), 0.1], [5])), RATES),
    "by label": Place(
        lambda f: fo.sgd(fo.by_label({"a": lambda_of(f, "step")}, {"w": "a", "b": "a"})), RATES
    ),
    "mask": Place(lambda f: fo.masked(fo.sgd(0.5), lambda_of(f, "tree")), SWITCH),
    "freeze": Place(lambda f: fo.freeze(lambda_of(f, "tree"), fo.sgd(0.5)), SWITCH),
    "decay's mask": Place(
        lambda f: fo.chain(fo.add_decayed_weights(0.5, lambda_of(f, "tree")), fo.sgd(0.5)), SWITCH
    ),
    "labels": Place(
        lambda f: fo.partition({True: fo.sgd(0.5), False: fo.sgd(0.1)}, lambda_of(f, "tree")),
        SWITCH,
    ),
    "predicate": Place(
        lambda f: fo.partition(
            {"a": fo.sgd(0.5), "c": fo.sgd(0.1)},
            fo.path_labels([(lambda_of(f, "path"), "a"), ("w|b", "c")], default="c"),
        ),
        ("b", "w"),
    ),
    "condition": Place(
        lambda f: fo.conditionally_transform(fo.sgd(0.5), lambda_of(f, "step")), SWITCH
    ),
    "every_k_schedule": Place(lambda f: fo.MultiSteps(fo.sgd(0.5), lambda_of(f, "step")), EVERY),
    "should_skip": Place(
        lambda f: fo.MultiSteps(fo.sgd(0.5), 1, should_skip_update_fn=lambda_of(f, "skip")),
        SWITCH,
    ),
    "stateless": Place(lambda f: fo.stateless(lambda_of(f, "updates")), RATES),
    "stateless of leaves": Place(lambda f: fo.stateless_with_tree_map(lambda_of(f, "leaf")), RATES),
    "option": Place(
        lambda f: fo.scale_by_factored_rms(decay_rate_fn=lambda_of(f, "decay")), (0.5, 0.25)
    ),
    "pair": Place(
        lambda f: fo.chain(
            fo.GradientTransformation(lambda p: (), lambda_of(f, "update")), fo.scale(1.0)
        ),
        RATES,
    ),
    "injected schedule": Place(
        lambda f: fo.inject_hyperparams(optax.sgd)(lambda_of(f, "step")), RATES
    ),
    "injected factory": Place(lambda f: fo.inject_hyperparams(lambda_of(f, "factory"))(1.0), RATES),
}


class Kinds:
    """One callable of each signature, which reads its value from `source()`."""

    def __init__(self, source):
        self.step = lambda step: source()
        self.tree = lambda params: tree_of(params, source())
        self.path = lambda path, leaf: path == source()
        self.skip = lambda updates, step, params: (jnp.array(source()), {})
        self.updates = lambda updates, params: jax.tree.map(lambda u: u * source(), updates)
        self.leaf = lambda u, p: u * source()
        self.decay = lambda i, rate: jnp.float32(source())
        self.update = lambda u, s, p=None: (jax.tree.map(lambda x: x * source(), u), s)
        self.factory = lambda rate: fo.scale(rate * source())


def lambda_of(kinds, signature):
    """Returns the callable of a signature, as the test wraps it."""
    return kinds(signature)


def last_of_b(tx, jitted=True):
    update = jax.jit(tx.update) if jitted else tx.update
    state = tx.init(PARAMS)
    for _ in range(2):
        updates, state = update(PARAMS, state, PARAMS)
    return float(updates["b"][0])


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("way", ["jit", "optimizer"])
def test_a_new_transformation_sees_what_its_function_sees(name, way):
    """The function object stays, and its closure changes."""
    place, seen = PLACES[name], {}
    kinds = Kinds(lambda: seen["value"])

    def run():
        tx = place.make(lambda signature: getattr(kinds, signature))
        if way == "jit":
            return last_of_b(tx)
        optimizer = optim.Optimizer(PARAMS, tx)
        for _ in range(2):
            optimizer.step(PARAMS)
        return float(optimizer.params["b"][0])

    found = []
    for value in (*place.values, place.values[0]):
        seen["value"] = value
        found.append(run())
    with jax.disable_jit():
        expected = []
        for value in place.values:
            seen["value"] = value
            expected.append(run())
    assert expected[0] != expected[1]
    np.testing.assert_allclose(found, [*expected, expected[0]], rtol=1e-6)


@dataclasses.dataclass
class Unhashable:
    """A callable that cannot be hashed, as dataclasses cannot."""

    function: object

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)


class Module(eqx.Module):
    """One that holds an array."""

    function: object = eqx.field(static=True)
    held: jax.Array

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)


WRAPPERS = {
    "dataclass": Unhashable,
    "equinox": lambda f: Module(f, jnp.ones(2)),
    "partial": functools.partial,
    "method": lambda f: Unhashable(f).__call__,
}


@functools.cache
def of_first_value(name):
    """Returns the callables of a place's first value, and what a plain one makes of "b"."""
    place = PLACES[name]
    kinds = Kinds(lambda: place.values[0])
    plain = place.make(lambda signature: getattr(kinds, signature))
    return kinds, last_of_b(plain, jitted=False)


@pytest.mark.parametrize("kind", WRAPPERS)
@pytest.mark.parametrize("name", PLACES)
def test_a_callable_of_any_kind_is_taken(name, kind):
    if name in ("pair", "injected factory") and kind != "partial":
        pytest.skip("their signatures are read")
    kinds, expected = of_first_value(name)
    wrapped = PLACES[name].make(lambda signature: WRAPPERS[kind](getattr(kinds, signature)))
    assert last_of_b(wrapped, jitted=False) == expected
    assert isinstance(hash(wrapped.update), int)
    repr(wrapped)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_loss_of_any_kind_is_taken(kind):
    params, loss = {"b": PARAMS["b"]}, WRAPPERS[kind](lambda p: jnp.sum(p["b"] ** 2))
    optimizer = optim.SGD(params, lr=0.25)
    optimizer.minimize(loss)
    optimizer.backward(loss)
    optimizer.step()
    np.testing.assert_allclose(optimizer.params["b"], 0.25)
    optimizer = optim.LBFGS(params)
    optimizer.step(loss)
    assert fo.minimize(loss, params).converged


def test_a_loss_whose_closure_changed_is_another_for_a_new_optimizer():
    data = {"at": 1.0}

    def loss(p):
        return jnp.sum((p["x"] - data["at"]) ** 2)

    found, steps, minima = [], [], []
    for at in (1.0, 2.0, 1.0):
        data["at"] = at
        optimizer = optim.SGD({"x": jnp.zeros(1)}, lr=0.5)
        optimizer.minimize(loss)
        found.append(float(optimizer.params["x"][0]))
        optimizer = optim.SGD({"x": jnp.zeros(1)}, lr=0.5)
        optimizer.backward(loss)
        optimizer.step()
        steps.append(float(optimizer.params["x"][0]))
        minima.append(float(fo.minimize(loss, {"x": jnp.zeros(1)}).params["x"][0]))
    np.testing.assert_allclose(found, [1.0, 2.0, 1.0])
    np.testing.assert_allclose(steps, [1.0, 2.0, 1.0])
    np.testing.assert_allclose(minima, [1.0, 2.0, 1.0], atol=1e-4)


SCALE = jnp.float32(0.5)


def scaled_loss(p):
    return SCALE * jnp.sum(p["x"] ** 2)


@pytest.mark.parametrize("way", ["minimize", "backward"])
def test_a_loss_is_traced_once_for_many_optimizers(way, monkeypatch):
    traced, value_and_grad = [], jax.value_and_grad

    def noting(function, **options):
        def noted(*args):
            traced.append(way)
            return function(*args)

        return value_and_grad(noted, **options)

    monkeypatch.setattr(jax, "value_and_grad", noting)
    for lr in (0.1, 0.2, 0.3):
        getattr(optim.SGD({"x": jnp.zeros(29)}, lr=lr), way)(scaled_loss)
    assert traced == [way]


# Which functions are equal, and which are not.

LIMIT = 2


def reads_a_global(params):
    return jax.tree.map(lambda p: p.ndim >= LIMIT, params)


def reads_nothing(step):
    return 0.1 / (step + 1)


def recursive(n):
    return n if n < 1 else recursive(n - 1)


def closing_over(value):
    return lambda step: value


EQUAL = {
    "a function": reads_nothing,
    "a function of a global": reads_a_global,
    "a recursive function": recursive,
    "a closure over a number": closing_over(0.5),
    "a closure over an array of NumPy": closing_over(np.arange(3.0)),
    "a closure over containers": closing_over({"a": [1, {2, 3}], "b": (None, "x")}),
    "a closure over an array": closing_over(PARAMS["b"]),
    "a dataclass": Unhashable(reads_nothing),
    "an Equinox module": Module(reads_nothing, jnp.ones(2)),
    "a partial": functools.partial(closing_over, value=1),
    "a schedule of optax": optax.linear_schedule(0.1, 0.0, 10),
    "a builtin": len,
    "a function of NumPy": np.sin,
    "a function of JAX": jnp.exp,
    "a jitted function": jax.jit(reads_nothing),
    "path_labels": fo.path_labels([(reads_a_global, "a")], default="b"),
}


@pytest.mark.parametrize("name", EQUAL)
def test_functions_that_are_known_to_be_equal_share_programs(name):
    if isinstance(EQUAL[name], np.ufunc) and not hasattr(np.sin, "__qualname__"):
        pytest.skip("before NumPy 2.2, a ufunc does not say which one it is")
    assert dependencies_of(EQUAL[name]) is not None
    assert as_function(EQUAL[name]) is as_function(EQUAL[name])


def test_functions_that_are_made_at_each_access_share_programs():
    instance = Unhashable(reads_nothing)
    assert as_function(instance.__call__) is as_function(instance.__call__)
    one, two = (fo.path_labels([("w", "a"), (reads_a_global, "c")], "b") for _ in range(2))
    assert as_function(one) is as_function(two)


def test_equal_functions_over_data_of_their_own_do_not():
    """One may change, and the other not."""
    parts = [{"rate": 0.5}, {"rate": 0.5}]
    one, two = (closing_over(part) for part in parts)
    assert dependencies_of(one) == dependencies_of(two)
    assert as_function(one) is not as_function(two)


def recording(calls):
    def f(updates, params):
        calls.append(1)
        return updates

    return f


class Recorder:
    def __init__(self, calls):
        self.calls = calls

    def __call__(self, updates, params):
        self.calls.append(1)
        return updates


def recording_by_default(calls):
    def f(updates, params, calls=calls):
        calls.append(1)
        return updates

    return f


def appended(updates, params, calls):
    calls.append(1)
    return updates


RECORDERS = {
    "closure": recording,
    "nested closure": lambda calls: recording(types.SimpleNamespace(append=calls.append)),
    "default": recording_by_default,
    "attribute": Recorder,
    "bound method": lambda calls: Recorder(calls).__call__,
    "partial": lambda calls: functools.partial(appended, calls=calls),
}
"""Ways in which a function of updates and parameters holds a list to which it appends."""


@pytest.mark.parametrize("name", RECORDERS)
@pytest.mark.parametrize("wrap", [fo.stateless, fo.stateless_with_tree_map])
def test_equal_lists_of_two_functions_are_each_filled_by_their_own(name, wrap):
    lists = [[], []]
    for tx in [wrap(RECORDERS[name](calls)) for calls in lists]:
        tx.update({"w": 1.0}, tx.init({"w": 1.0}), {"w": 1.0})
    assert lists == [[1], [1]]


class Config:
    rate = 0.1


DIFFERENT = {
    "numbers": (closing_over(0.5), closing_over(0.25)),
    "kinds of numbers": (closing_over(1), closing_over(1.0)),
    "signs of zero": (closing_over(0.0), closing_over(-0.0)),
    "true and one": (closing_over(True), closing_over(1)),
    "arrays": (closing_over(jnp.ones(2)), closing_over(jnp.ones(2))),
    "arrays of NumPy": (closing_over(np.ones(2)), closing_over(np.zeros(2))),
    "objects without parts": (closing_over(object()), closing_over(object())),
    "code": (lambda step: 1.0, lambda step: 2.0),
    "defaults": (lambda s, a=1: a, lambda s, a=2: a),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_functions_do_not_share_programs(name):
    one, two = DIFFERENT[name]
    assert as_function(one) is not as_function(two)


def changes():
    """Returns pairs of a function and a change of something that it sees."""
    settings = types.ModuleType("settings")
    settings.rate = 0.1
    numbers, cell = np.ones(3), 0.1

    def of_class(step):
        return Config.rate

    def of_module(step):
        return settings.rate

    def of_array(step):
        return numbers[0]

    def of_cell(step):
        return cell

    def of_global(step):
        return LIMIT

    def of_attribute(step):
        return of_attribute.rate

    def of_helper(step):
        return of_global(step)

    of_attribute.rate = 0.1
    instance = Unhashable(1.0)

    def change_cell():
        nonlocal cell
        cell = 0.2

    def change_global():
        globals()["LIMIT"] += 1

    return {
        "class": (of_class, lambda: setattr(Config, "rate", Config.rate + 1)),
        "module": (of_module, lambda: setattr(settings, "rate", 0.2)),
        "array": (of_array, lambda: numbers.__setitem__(0, 2.0)),
        "cell": (of_cell, change_cell),
        "global": (of_global, change_global),
        "attribute": (of_attribute, lambda: setattr(of_attribute, "rate", 0.2)),
        "helper": (of_helper, change_global),
        "field": (instance, lambda: setattr(instance, "function", 2.0)),
    }


@pytest.mark.parametrize("name", changes())
def test_a_changed_function_is_a_different_function(name):
    function, change = changes()[name]
    before = as_function(function)
    assert as_function(function) is before
    change()
    assert as_function(function) is not before


def test_a_function_that_changes_before_its_first_call_is_not_shared():
    seen = {"rate": 0.5}

    def rate(step):
        return seen["rate"]

    tx = fo.sgd(rate)
    seen["rate"] = 0.25
    assert last_of_b(tx) == -0.25
    seen["rate"] = 0.5
    assert last_of_b(fo.sgd(rate)) == -0.5


def by_name(step):
    rate = globals()["LIMIT"]
    return rate * 0.1


@pytest.mark.parametrize(
    "function",
    [
        by_name,
        closing_over(iter([1])),
        closing_over(np.array([object()])),
        closing_over(list(range(9999))),
    ],
    ids=["by text", "iterator", "objects", "too much"],
)
def test_functions_whose_dependencies_are_unknown_are_not_shared(function):
    assert dependencies_of(function) is None
    assert as_function(function) is not as_function(function)
    assert not as_function(function).is_cacheable


def test_a_sweep_with_a_mask_has_one_update():
    updates = {fo.adamw(rate, mask=reads_a_global).update for rate in (0.1, 0.2, 0.3)}
    assert len(updates) == 1


def test_functions_copy_and_pickle_as_functions_do():
    tx = fo.adamw(reads_nothing, mask=reads_a_global)
    for twin in (copy.deepcopy(tx), pickle.loads(pickle.dumps(tx))):
        assert twin == tx
        assert twin.update is tx.update


def test_objects_that_a_function_closes_over_are_not_kept_alive():
    class Data:
        pass

    data = Data()
    function = closing_over((jnp.ones(3), data))
    fo.sgd(function)
    alive = weakref.ref(data)
    del data, function
    gc.collect()
    assert alive() is None
