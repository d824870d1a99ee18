"""Every mistake has a message that names the link and the place, and says what to do."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from ..rules import RULES, Case, cases

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}

BAD = [
    pytest.param(entry.factory, *bad, id=f"{entry.factory.__name__}-{','.join(bad[0])}")
    for entry in RULES
    for bad in entry.bad
]


@pytest.mark.parametrize(("factory", "arguments", "error", "text"), BAD)
def test_bad_arguments(factory, arguments, error, text):
    with pytest.raises(error, match=text) as caught:
        factory(**arguments)
    assert str(caught.value).startswith(f"{factory.__name__}: ")


def one_per_number():
    """Returns each factory once for each of its numbers."""
    seen = {}
    for case in cases():
        for name in case.numbers:
            seen.setdefault(
                (case.factory, name), pytest.param(case, name, id=f"{case.name}-{name}")
            )
    return list(seen.values())


NOT_NUMBERS = [
    (True, TypeError, "must be a real number, got True of type bool"),
    ("0.1", TypeError, "must be a real number, got '0.1' of type str"),
    (1j, TypeError, "must be a real number, got 1j of type complex"),
    ([0.1, 0.2], TypeError, r"must be a real number, got \[0.1, 0.2\] of type list"),
    (np.ones(3), ValueError, r"must be a scalar, got an array of shape \(3,\)"),
    (jnp.ones((1,)), ValueError, r"must be a scalar, got an array of shape \(1,\)"),
]


@pytest.mark.parametrize(("case", "name"), one_per_number())
def test_an_argument_that_is_not_a_number(case: Case, name):
    for value, error, text in NOT_NUMBERS:
        with pytest.raises(error, match=rf"^\w+: \w+ {text}"):
            case.make(**{name: value})


LINKS = [fo.scale_by_adam, fo.scale_by_learning_rate, fo.add_decayed_weights, fo.trace, fo.clip]
OPTIMIZERS = [fo.adam, fo.adamw, fo.sgd, fo.lion, fo.rmsprop]


@pytest.mark.parametrize("factory", [*LINKS, fo.scale])
def test_the_error_for_an_unknown_argument_lists_the_arguments(factory):
    takes = ".*".join(inspect.signature(factory).parameters)
    text = rf"{factory.__name__}: got an unexpected keyword argument 'lr'.*{takes}"
    with pytest.raises(TypeError, match=text):
        factory(0.1, lr=0.1)


@pytest.mark.parametrize("factory", [fo.scale_by_learning_rate, fo.clip, fo.trace])
def test_a_missing_argument_of_a_link(factory):
    with pytest.raises(TypeError, match=rf"{factory.__name__}: missing a required argument"):
        factory()


@pytest.mark.parametrize("factory", OPTIMIZERS)
def test_arguments_of_an_optimizer_are_checked_as_those_of_any_function(factory):
    name = factory.__name__
    with pytest.raises(TypeError, match=rf"{name}: got an unexpected keyword argument 'lr'"):
        factory(0.1, lr=0.1)
    with pytest.raises(TypeError, match=rf"{name}: missing a required argument: 'learning_rate'"):
        factory()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: fo.adam(None), "^adam: learning_rate must be a real number, got None"),
        (lambda: fo.adam(1e-3, b1=None), "^adam: b1 must be a real number, got None"),
        (lambda: fo.scale_by_adam(None), "^scale_by_adam: b1 must be a real number, got None"),
        (lambda: fo.clip(None), "clip: max_delta must be a real number, got None"),
    ],
)
def test_none_as_a_hyperparameter_raises(make, text):
    with pytest.raises(TypeError, match=text):
        make()


@pytest.mark.parametrize("option", ["nesterov", "dampening", "accumulator_dtype"])
@pytest.mark.parametrize("factory", [fo.sgd, fo.rmsprop])
def test_an_option_of_momentum_without_momentum(factory, option):
    value = {"nesterov": True, "dampening": 0.5, "accumulator_dtype": "float32"}[option]
    with pytest.raises(ValueError, match=f"{option}=.* needs momentum, got None. Pass"):
        factory(0.1, **{option: value})


@pytest.mark.parametrize("dtype", ["int32", bool])
def test_a_slot_dtype_that_is_not_floating_point(dtype):
    with pytest.raises(TypeError, match="mu_dtype must be a floating-point dtype, got"):
        fo.scale_by_adam(mu_dtype=dtype)
    with pytest.raises(TypeError, match="state_dtype must be a floating-point dtype, got"):
        fo.scale_by_adam(state_dtype=dtype)


def test_a_dtype_for_a_slot_that_does_not_exist():
    text = "scale_by_adam: state_dtype names the slot 'nn', .* Its slots are: mu, nu"
    with pytest.raises(ValueError, match=text):
        fo.scale_by_adam(state_dtype={"nn": "float32"}).init(PARAMS)


BAD_PARAMS = [
    (jnp.ones(3, int), "at 'w' has dtype int32, and only floating-point and complex"),
    (jnp.ones(3, bool), "at 'w' has dtype bool, and only floating-point and complex"),
    (3, "at 'w' is the integer 3. Write 3.0 if it is trained, and put None in its place"),
    ("text", "at 'w' is of type str, not an array. Put None in its place"),
    (jax.random.key(0), "at 'w' has dtype key<fry>, and only floating-point"),
]


@pytest.mark.parametrize("factory", [fo.adam, fo.sgd])
@pytest.mark.parametrize(("leaf", "text"), BAD_PARAMS)
def test_parameters_that_cannot_be_trained(factory, leaf, text):
    with pytest.raises(TypeError, match=rf"^\w+: the parameter {text}"):
        factory(0.1).init({"w": leaf})


WRONG_UPDATES = [
    ({"w": PARAMS["w"]}, ValueError, r"updates has no leaf at 'b', where .* of shape \(3,\)"),
    ({**PARAMS, "c": PARAMS["b"]}, ValueError, "updates has a leaf at 'c', where .* have none"),
    ({**PARAMS, "b": [PARAMS["b"]]}, ValueError, "updates has .* leaf at 'b"),
    ([*PARAMS.values()], ValueError, "updates has no leaf at 'b'"),
    (
        {**PARAMS, "w": jnp.ones((3, 2))},
        ValueError,
        r"the update at 'w' has shape \(3, 2\), and .* has shape \(2, 3\). Pass the gradient",
    ),
    (
        {**PARAMS, "w": jnp.ones(3)},
        ValueError,
        r"the update at 'w' has shape \(3,\), and .* \(2, 3\)",
    ),
    (
        {**PARAMS, "w": jnp.ones((2, 3), int)},
        TypeError,
        "the update at 'w' has dtype int32. Pass None for a leaf that is not trained",
    ),
]


@pytest.mark.parametrize("with_params", [True, False])
@pytest.mark.parametrize(("updates", "error", "text"), WRONG_UPDATES)
def test_updates_that_do_not_fit_the_state(updates, error, text, with_params):
    tx = fo.adam(1e-3)
    args = (updates, tx.init(PARAMS)) + ((PARAMS,) if with_params else ())
    for update in (tx.update, jax.jit(tx.update)):
        with pytest.raises(error, match=rf"^scale_by_adam: {text}"):
            update(*args)


def test_an_update_that_is_not_an_array():
    tx = fo.adam(1e-3)
    with pytest.raises(TypeError, match=r"scale_by_adam: the update at 'w' is of type str\."):
        tx.update({**PARAMS, "w": "kernel"}, tx.init(PARAMS))


def test_updates_that_do_not_fit_the_parameters_of_a_stateless_link():
    tx = fo.scale(0.1)
    with pytest.raises(ValueError, match=r"scale: the update at 'b' has shape \(2,\), and the par"):
        tx.update({**PARAMS, "b": jnp.ones(2)}, tx.init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match="scale: params has no leaf at 'b'"):
        tx.update(PARAMS, tx.init(PARAMS), {"w": PARAMS["w"]})


def test_complex_updates_of_real_parameters():
    tx = fo.adam(0.1)
    grads = jax.tree.map(lambda p: p.astype(jnp.complex64), PARAMS)
    with pytest.raises(TypeError, match="the update at 'b' is complex, and the parameter real"):
        tx.update(grads, tx.init(PARAMS), PARAMS)
    with pytest.raises(TypeError, match="the update at 'b' is complex"):
        tx.update(grads, tx.init(PARAMS))


@pytest.mark.parametrize("make", [fo.adamw, fo.lion, lambda _: fo.add_decayed_weights(0.1)])
def test_a_decay_without_parameters(make):
    tx = make(1e-3)
    text = r"add_decayed_weights: update needs params. Call update\(updates, state, params\)"
    with pytest.raises(ValueError, match=text):
        tx.update(PARAMS, tx.init(PARAMS))


def raw(state):
    """Turns states into dictionaries, as restoring a checkpoint without a target does."""
    return {k: raw(v) if isinstance(v, fo.State) else v for k, v in state._asdict().items()}


def made_by(tx):
    return tx.init(PARAMS)


adam, momentum = fo.adam(1e-3), fo.sgd(0.1, momentum=0.9)
WRONG_STATES = {
    "of as many links": (momentum, made_by(adam)),
    "of more links": (momentum, made_by(fo.chain(fo.clip(1.0), momentum))),
    "of a link for a chain": (adam, made_by(fo.scale_by_adam())),
    "of a chain for a link": (fo.scale_by_adam(), made_by(adam)),
    "of another link": (fo.scale(0.1), made_by(fo.clip(1.0))),
    "of the same link without its schedule": (
        fo.sgd(fo.linear_schedule(1.0, 0.0, 3)),
        made_by(fo.sgd(0.1)),
    ),
    "of the same link with a schedule": (
        fo.sgd(0.1),
        made_by(fo.sgd(fo.linear_schedule(1.0, 0.0, 3))),
    ),
    "of other options": (fo.scale_by_adam(amsgrad=True), made_by(fo.scale_by_adam())),
    "raw": (adam, raw(made_by(adam))),
    "raw link": (fo.scale_by_adam(), raw(made_by(fo.scale_by_adam()))),
    "none": (adam, None),
    "tuple": (adam, tuple(made_by(adam))),
}


@pytest.mark.parametrize(("tx", "state"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_a_state_that_another_transformation_made(tx, state):
    text = (
        r"^\w+: state must be one that init of the same transformation made, .*Restore a checkpoint"
    )
    with pytest.raises((TypeError, ValueError), match=text):
        tx.update(PARAMS, state, PARAMS)


def test_a_state_of_other_parameters():
    tx = fo.adam(1e-3)
    with pytest.raises(ValueError, match="scale_by_adam: updates has no leaf at 'c'"):
        tx.update(PARAMS, tx.init({**PARAMS, "c": jnp.ones(1)}), PARAMS)


NESTED = {"dense": PARAMS, "out": PARAMS}
ROUTES = [
    (functools.partial(fo.masked, fo.scale(1.0)), r"masked\(scale\): mask"),
    (functools.partial(fo.freeze, inner=fo.chain(fo.scale(1.0))), "^freeze: mask"),
    (functools.partial(fo.add_decayed_weights, 0.1), "^add_decayed_weights: mask"),
    (functools.partial(fo.partition, {True: fo.scale(1.0)}), "partition: param_labels"),
]
WRONG_MASKS = [
    ({"dense": True}, "does not fit the parameters: .* nothing for the parameter at 'out.b'"),
    (
        {"dense": True, "out": True, "more": True},
        "does not fit .* entry at 'more', where there is no",
    ),
    ({"dense": {"w": True}, "out": True}, "does not fit .* nothing for the parameter at 'dense.b'"),
    ({"dense": "yes", "out": True}, "has 'yes' at 'dense"),
    ({"dense": np.ones(2, bool), "out": True}, r"has .*array\(.* at 'dense"),
]


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize(("mask", "text"), WRONG_MASKS)
@pytest.mark.parametrize(("make", "where"), ROUTES)
def test_masks_that_do_not_fit(make, where, mask, text, as_function):
    given = (lambda params: mask) if as_function else mask
    with pytest.raises((ValueError, TypeError), match=f"{where} {text}"):
        make(given).init(NESTED)


@pytest.mark.parametrize("entry", [1, 0, 1.0, "True"])
@pytest.mark.parametrize(("make", "where"), ROUTES[:3])
def test_an_entry_of_a_mask_that_is_not_a_boolean(make, where, entry):
    with pytest.raises(
        (ValueError, TypeError), match=f"{where} has {re.escape(repr(entry))} at 'w'"
    ):
        make({"w": entry, "b": True}).init(PARAMS)


def test_an_unknown_label_lists_the_known():
    tx = fo.partition({"a": fo.scale(1.0), "b": fo.scale(2.0)}, {"w": "a", "b": "c"})
    text = "partition: param_labels has 'c' at 'b'; it must be one of 'a', 'b'"
    with pytest.raises(ValueError, match=text):
        tx.init(PARAMS)


def test_a_leaf_that_no_rule_labels_is_named():
    tx = fo.partition({"a": fo.scale(1.0)}, fo.path_labels({"w": "a"}))
    text = "path_labels: no rule matches the parameter at 'b'. Add a rule, or pass default="
    with pytest.raises(ValueError, match=text):
        tx.init(PARAMS)


OF_MORE_THAN_SHAPES = [lambda p: p.dtype == jnp.float32, lambda p: bool(jnp.sum(p) < jnp.inf)]


@pytest.mark.parametrize("of_leaf", OF_MORE_THAN_SHAPES, ids=["dtype", "value"])
@pytest.mark.parametrize("make", [make for make, _ in ROUTES])
def test_labels_that_are_a_function_of_more_than_shapes_need_parameters(make, of_leaf):
    tx = make(lambda params: jax.tree.map(of_leaf, params))
    with pytest.raises(ValueError, match="of more than the parameters' shapes, so update needs"):
        tx.update(PARAMS, tx.init(PARAMS))


def test_labels_that_are_a_function_need_parameters_if_a_gradient_is_none():
    tx = fo.masked(fo.scale(1.0), lambda params: jax.tree.map(lambda p: True, params))
    with pytest.raises(ValueError, match="so update needs params"):
        tx.update({**PARAMS, "b": None}, tx.init(PARAMS))


def test_an_exception_of_a_rule_says_at_which_leaf():
    @fo.leaf_rule()
    def broken(g, slots, p, ctx):
        raise RuntimeError("broken") if g.ndim == 2 else ValueError("no")

    with pytest.raises(RuntimeError, match="broken") as error:
        broken().update(
            {"a": {"w": jnp.ones((2, 3))}}, broken().init({"a": {"w": jnp.ones((2, 3))}})
        )
    assert error.value.__notes__[-1:] == [
        "broken: at the leaf 'a.w', whose update has shape (2, 3)."
    ]


@pytest.mark.parametrize(
    ("updates", "error", "text"),
    [
        ({"w": PARAMS["w"]}, ValueError, "updates has no leaf at 'b'"),
        ({**PARAMS, "b": jnp.ones(2)}, ValueError, r"at 'b' the update has shape \(2,\), and the"),
    ],
)
def test_updates_that_cannot_be_applied(updates, error, text):
    with pytest.raises(error, match=f"apply_updates: {text}"):
        fo.apply_updates(PARAMS, updates)


def test_an_update_of_an_integer_parameter():
    params = {"n": jnp.ones(2, jnp.int32)}
    with pytest.raises(TypeError, match="apply_updates: the parameter at 'n' has dtype int32"):
        fo.apply_updates(params, {"n": jnp.ones(2)})


def test_an_error_of_the_maths_is_not_one_of_shapes():
    @fo.leaf_rule(slots=lambda p: {"gram": jnp.zeros((2, 2))})
    def broken(g, slots, p, ctx):
        """Raises KeyError."""
        return {}["missing"], {"gram": slots.gram}

    tx = broken()
    with pytest.raises(KeyError, match="missing"):
        tx.update(jnp.ones((2, 3)), tx.init(jnp.ones((2, 3))))


def test_numbers_are_checked_as_the_state_rounds_them():
    with pytest.raises(ValueError, match=r"^adamw: b2 must be in \[0, 1\), got 0.99999999, which"):
        fo.adamw(1e-3, b2=0.99999999)
    with pytest.raises(ValueError, match=r"learning_rate must be in .*, which is inf in float32"):
        fo.adamw(1e40)
    with jax.enable_x64(True):
        fo.adamw(1e-3, b2=0.99999999)


@pytest.mark.parametrize("number", [1j, True])
def test_traced_numbers_must_be_real(number):
    with pytest.raises(TypeError, match=r"^sgd: learning_rate must be a real number"):
        jax.jit(lambda rate: fo.sgd(rate).init(PARAMS))(number)


def test_the_state_of_several_runs_needs_vmap():
    """With as many runs as leaves, each leaf would get the numbers of one run."""
    tx = fo.adamw(0.1)
    state = tx.init(PARAMS)
    rates = jnp.full(len(PARAMS), 0.1)
    states = jax.vmap(lambda b1: fo.set_hyperparams(state, b1=b1))(rates)
    with pytest.raises(ValueError, match=r"count in the state .* call jax.vmap\(tx.update\)"):
        tx.update(PARAMS, states, PARAMS)
    jax.vmap(tx.update, in_axes=(None, 0, None))(PARAMS, states, PARAMS)
    inner = state.scale_by_adam
    edited = inner._replace(hyperparams=inner.hyperparams | {"b1": 0.5})
    with pytest.raises(ValueError, match=r"^scale_by_adam: b1 in the state .* got 0.5. Set hyper"):
        tx.update(PARAMS, state._replace(scale_by_adam=edited), PARAMS)


def test_an_update_needs_its_parameter():
    params = {**PARAMS, "b": None}
    for tx in (fo.adamw(0.1), fo.add_decayed_weights(0.1)):
        with pytest.raises(ValueError, match=r": params has None at 'b', where there is an update"):
            tx.update(PARAMS, tx.init(PARAMS), params)
    tx = fo.adam(0.1)
    for other in (params, None):
        with pytest.raises(ValueError, match=r"^scale_by_adam: params has None at"):
            fo.apply_gradients(tx, PARAMS, tx.init(PARAMS), other)


def test_a_state_for_other_shapes():
    others = {k: jnp.ones((2, 5)) for k in PARAMS}
    tx = fo.adamw(0.1)
    with pytest.raises(ValueError, match=r"the state's .* has shape \(2, 5\). Call init with"):
        tx.update(PARAMS, tx.init(others), PARAMS)


def test_trees_are_compared_with_the_state():
    tx = fo.adam(0.1)
    with pytest.raises(ValueError, match=r"where the slots of the state have an array"):
        tx.update(PARAMS, tx.init({"v": jnp.ones(3)}), PARAMS)
    with pytest.raises(ValueError, match=r"params has no leaf .* Pass the same parameters to init"):
        tx.update(PARAMS, tx.init(PARAMS), {})


def test_an_update_is_not_a_transformation():
    tx = fo.adam(0.1)
    text = r"got ChainUpdate <update of .*>. Pass the transformation tx, and not tx.update"
    with pytest.raises(TypeError, match=text):
        fo.apply_gradients(tx.update, PARAMS, tx.init(PARAMS), PARAMS)


def test_two_arguments_for_one_dtype():
    text = r"^adam: mu_dtype and state_dtype both set the dtype of the slot 'mu'. Leave one out"
    with pytest.raises(ValueError, match=text):
        fo.adam(0.1, mu_dtype=jnp.bfloat16, state_dtype={"mu": jnp.bfloat16})
