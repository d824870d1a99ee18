"""Errors name the factory that was called, and the argument as it was written there."""

import inspect

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim.core.composed import argument_of_call, composed

from ..rules import RULES, Case, each_argument

BAD = (float("nan"), float("-inf"), -1.0, -1, 2.5, 200)


def numbers(case: Case) -> list[str]:
    """Returns the arguments that take a number, given or not."""
    given = {**{k: p.default for k, p in case.signature.items()}, **case.arguments}

    def takes_number(name: str) -> bool:
        value, annotation = given.get(name), str(case.signature[name].annotation)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        is_optional = value is None and "float" in annotation and "dtype" not in name
        return is_number or is_optional or ("Schedule" in annotation and callable(value))

    is_chain = case.name.startswith(("chain-", "named_chain"))
    return [] if is_chain else [name for name in case.signature if takes_number(name)]


@each_argument(numbers)
def test_errors_of_numbers_name_the_factory_and_the_argument(case, name):
    """Some of these numbers may be valid; see `test_bad_numbers` for those that must be refused."""
    for value in BAD:
        try:
            case.make(**{name: value})
        except (TypeError, ValueError) as error:
            text = str(error)
            assert text.startswith(f"{case.factory.__name__}: ")
            assert name in text


ARGUMENTS = [
    (lambda: fo.signum(0.1, beta=1.0), r"signum: beta must be in \[0, 1\), got 1.0"),
    (lambda: fo.sgd(0.1, momentum=-1.0), "sgd: momentum must be in"),
    (lambda: fo.sgd(0.1, dampening=0.1), "sgd: dampening=0.1 needs momentum"),
    (lambda: fo.dpsgd(0.1, -1.0, 1.0, 0), "dpsgd: l2_norm_clip must be in"),
    (lambda: fo.dpsgd(0.1, 1.0, 1.0, 0, momentum=-1.0), "dpsgd: momentum must be in"),
    (
        lambda: fo.differentially_private_aggregate(1.0, -1.0, 0),
        "differentially_private_aggregate: noise_multiplier must be in",
    ),
    (lambda: fo.schedule_free(fo.sgd(1.0), 0.1, b1=2.0), "schedule_free: b1 must be in"),
    (lambda: fo.schedule_free(fo.sgd(-1.0), 0.1), "sgd: learning_rate must be in"),
    (lambda: fo.prodigy(betas=(0.9, 2.0)), r"prodigy: betas\[1\] must be in"),
    (lambda: fo.dog(init_step=("distance", -1.0)), r"dog: init_step\[1\] must be in"),
    (lambda: fo.muon(0.1, adam_b1=2.0), "muon: adam_b1 must be in"),
    (lambda: fo.dion2(0.1, ns_steps=3), "dion2: ns_coeffs='polar_express' has more triples than"),
    (lambda: fo.adam(fo.by_label({"a": -1.0}, {"w": "a"})), "adam: learning_rate of 'a' must be"),
    (lambda: fo.freeze(True, fo.adam), "freeze: inner must be a pair of functions"),
    (lambda: fo.selective_transform(3, freeze_mask=True), "selective_transform: optimizer must be"),
]


@pytest.mark.parametrize(("make", "text"), ARGUMENTS)
def test_errors_of_arguments(make, text):
    with pytest.raises((TypeError, ValueError), match=f"^{text}"):
        make()


PARAMS = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
WRONG = {"w": True}
MASKS = {
    (entry.factory, name): next(iter(entry.valid.values()))
    for entry in RULES
    for name in inspect.signature(entry.factory).parameters
    if name == "mask" or name.endswith("_mask")
}


@pytest.mark.parametrize(
    ("factory", "name", "arguments"),
    [pytest.param(*k, v, id=f"{k[0].__name__}-{k[1]}") for k, v in MASKS.items()],
)
def test_errors_of_masks_name_the_factory_and_the_argument(factory, name, arguments):
    if "decay" in name or (name == "mask" and factory not in (fo.freeze, fo.masked)):
        decay = [k for k in inspect.signature(factory).parameters if k.startswith("weight_decay")]
        arguments = {**arguments, **{k: 0.1 for k in decay if k in ("weight_decay", decay[0])}}
        arguments = {k: v for k, v in arguments.items() if not k.endswith("mask")}
    shown = "masked(chain)" if factory is fo.masked else factory.__name__
    for mask in (WRONG, lambda params: WRONG):
        tx = factory(**{**arguments, name: mask})
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            tx.init(PARAMS)
        assert str(caught.value).startswith(f"{shown}: {name} does not fit the parameters")


def test_an_outer_factory_is_named_and_not_the_ones_that_it_calls():
    @composed
    def inner(decay):
        return fo.trace(decay)

    @composed(decay="numbers[0]")
    def outer(numbers, other=None):
        if other is not None:
            raise ValueError("outer: nothing here is about an argument.")
        return inner(numbers[0])

    with pytest.raises(ValueError, match=r"^inner: decay must be in"):
        inner(-1.0)
    with pytest.raises(ValueError, match=r"^outer: numbers\[0\] must be in"):
        outer([-1.0])
    with pytest.raises(ValueError, match=r"^outer: nothing here is about an argument"):
        outer([0.5], other=1)
    with pytest.raises(TypeError, match=r"outer: got an unexpected keyword argument 'b'. It takes"):
        outer([0.5], b=1)
    assert argument_of_call(WRONG, "link", "mask") == ("link", "mask")
    assert inspect.signature(outer).parameters.keys() == {"numbers", "other"}


def test_a_composed_factory_shares_programs():
    """It is a function of this package, and does not change during a run."""
    tx, other = (fo.inject_hyperparams(fo.adam)(rate) for rate in (0.1, 0.2))
    assert tx.update is other.update


def test_a_factory_within_a_program_is_named_as_well():
    with pytest.raises(ValueError, match=r"^signum: beta must be in"):
        jax.jit(lambda x: fo.signum(x, beta=1.0).init(PARAMS))(0.1)
