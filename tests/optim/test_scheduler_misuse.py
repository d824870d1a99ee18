"""Misuse of schedulers: warnings, and messages that say what to do."""

import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, StepLR

from .test_schedulers import lr, sgd, step


@pytest.mark.parametrize("tx", [fo.scale(-1.0), fo.sgd(fo.linear_schedule(1.0, 0.0, 4))])
def test_a_scheduler_needs_a_learning_rate(tx):
    optimizer = optim.Optimizer({"w": jnp.zeros(1)}, tx)
    with pytest.raises(KeyError, match=r"StepLR: the groups have neither .*'learning_rate'"):
        StepLR(optimizer, 2)


def test_a_step_before_the_optimizers_warns():
    scheduler = StepLR(sgd(), 2)
    with pytest.warns(UserWarning, match=r"`lr_scheduler\.step\(\)` before `optimizer\.step\(\)`"):
        scheduler.step()


def test_a_step_after_the_optimizers_does_not_warn():
    for act in (
        lambda o: o.step({"w": jnp.ones(1)}),
        lambda o: o.minimize(lambda params: params["w"].sum()),
        lambda o: o.step(lambda params: params["w"].sum()),
    ):
        optimizer = sgd()
        scheduler = StepLR(optimizer, 2)
        act(optimizer)
        scheduler.step()
        scheduler.step()


def test_a_continued_scheduler_does_not_warn():
    optimizer = sgd()
    scheduler = StepLR(optimizer, 2)
    step(optimizer, scheduler, times=3)
    saved = optimizer.state_dict(), scheduler.state_dict()
    optimizer = sgd()
    scheduler = StepLR(optimizer, 2)
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    step(optimizer, scheduler)
    assert (scheduler.last_epoch, lr(optimizer)) == (4, pytest.approx(0.01))


def test_a_scheduler_must_say_what_the_rates_are():
    with pytest.raises(NotImplementedError, match="LRScheduler: a scheduler must define get_lr"):
        LRScheduler(sgd())


def test_the_state_of_another_scheduler_is_refused():
    scheduler = CosineAnnealingLR(sgd(), 4)
    with pytest.raises(
        ValueError, match=r"CosineAnnealingLR\.load_state_dict: there is no 'step_size'"
    ):
        scheduler.load_state_dict(StepLR(sgd(), 2, gamma=0.3).state_dict())
    assert "gamma" not in vars(scheduler)


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(TypeError, match="StepLR: GradientTransformation is not an Optimizer"):
        StepLR(fo.sgd(0.1), 2)


def test_resuming_needs_the_initial_rate():
    with pytest.raises(KeyError, match=r"'initial_lr' is not specified in param_groups\[0\]"):
        StepLR(sgd(), 2, last_epoch=3)


def test_a_list_of_functions_must_fit_the_groups():
    with pytest.raises(ValueError, match=r"Expected 1 lr_lambdas.* got 2"):
        LambdaLR(sgd(), [lambda epoch: 1.0] * 2)


def test_a_schedule_in_place_of_a_number_cannot_be_scheduled_again():
    with pytest.raises(TypeError, match="StepLR: lr of group 0 is a schedule already"):
        StepLR(sgd(lr=fo.linear_schedule(1.0, 0.0, 10)), 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: StepLR(o, 0), "StepLR: step_size must be .* got 0"),
        (lambda o: CosineAnnealingLR(o, 0), "CosineAnnealingLR: T_max must be .* got 0"),
        (lambda o: LambdaLR(o, 0.5), "LambdaLR: lr_lambda must be .* got 0.5"),
    ],
    ids=["step_size", "T_max", "lr_lambda"],
)
def test_bad_arguments_are_refused_by_name(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(sgd())
