"""Misuse of schedulers: warnings, and messages that say what to do."""

import math

import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.optim import lr_scheduler
from functional_optim.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, StepLR
from functional_optim.optim.lr_scheduler.swa import SWALR

from ..golden.sched_grid import PLATEAUS, grid
from ..golden.sched_in_jax import OURS
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


def test_a_scheduler_without_get_lr_raises():
    with pytest.raises(NotImplementedError, match="LRScheduler: a scheduler must define get_lr"):
        LRScheduler(sgd())


def test_the_state_of_another_scheduler_is_refused():
    scheduler = CosineAnnealingLR(sgd(), 4)
    with pytest.raises(
        ValueError, match=r"CosineAnnealingLR\.load_state_dict: there is no 'step_size'"
    ):
        scheduler.load_state_dict(StepLR(sgd(), 2, gamma=0.3).state_dict())
    assert "gamma" not in vars(scheduler)


SPECS = {spec["scheduler"]: spec for spec in [*grid(), *PLATEAUS]}


@pytest.mark.parametrize("name", SPECS)
def test_a_state_loads_into_its_own_class_alone(name):
    """LambdaLR and MultiplicativeLR load each other's states, which have the same entries."""
    made = {k: OURS.make_scheduler(OURS.make_optimizer("sgd"), spec) for k, spec in SPECS.items()}
    entries = {k: scheduler.state_dict().keys() for k, scheduler in made.items()}
    for other, scheduler in made.items():
        state = made[name].state_dict()
        if entries[other] == entries[name]:
            scheduler.load_state_dict(state)
            assert other == name or {other, name} == {"LambdaLR", "MultiplicativeLR"}
            continue
        before = dict(vars(scheduler))
        with pytest.raises(
            ValueError, match=rf"{other}\.load_state_dict: the(re is| state has) no"
        ):
            scheduler.load_state_dict(state)
        assert vars(scheduler) == before


def test_a_negative_rate_is_refused_by_the_next_step_of_the_optimizer():
    optimizer = sgd()
    scheduler = LambdaLR(optimizer, lambda epoch: 1 - 2 * epoch)
    step(optimizer, scheduler)
    with pytest.raises(ValueError, match=r"SGD: group 0: .*must be in \[0, inf\)"):
        step(optimizer, scheduler)


def test_objects_that_are_not_optimizers_are_refused():
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


def test_get_lr_outside_a_step_warns():
    for make in (lambda o: StepLR(o, 2), lambda o: LambdaLR(o, lambda epoch: 1.0)):
        with pytest.warns(UserWarning, match=r"please use `get_last_lr\(\)`"):
            assert make(sgd()).get_lr() == [1.0]


def test_a_step_past_the_end_of_one_cycle_warns_once():
    optimizer = sgd(momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=3)
    step(optimizer, scheduler, times=3)
    with pytest.warns(UserWarning, match=r"the cycle has 3 steps, and this is step 4") as caught:
        step(optimizer, scheduler, times=4)
    assert len(caught) == 1
    assert lr(optimizer) == pytest.approx(1 / 25e4)


@pytest.mark.parametrize("name", ["CyclicLR", "OneCycleLR"])
def test_cycling_the_momentum_needs_a_momentum(name):
    arguments = {"CyclicLR": (0.1, 1.0), "OneCycleLR": (1.0, 10)}[name]
    optimizer = optim.Optimizer({"w": jnp.zeros(1)}, fo.sgd(1.0))
    with pytest.raises(ValueError, match=r"must support momentum or beta1 .* got Optimizer"):
        getattr(lr_scheduler, name)(optimizer, *arguments)
    assert getattr(lr_scheduler, name)(optimizer, *arguments, cycle_momentum=False).last_epoch == 0


def test_lower_bounds_must_fit_the_groups():
    optimizer = sgd()
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.1])
    optimizer.add_param_group({"params": {"v": jnp.zeros(1)}})
    scheduler.step(1.0)
    with pytest.raises(
        RuntimeError, match=r"param groups in the `optimizer` \(2\) differs .*\(1\)"
    ):
        scheduler.step(1.0)


BAD = [
    ("MultiplicativeLR", {"lr_lambda": 0.5}, "lr_lambda must be a function"),
    ("ConstantLR", {"factor": 1.5}, r"factor must be in \[0, 1\], got 1.5"),
    ("ConstantLR", {"total_iters": -1}, "total_iters must be a finite number .* got -1"),
    ("LinearLR", {"start_factor": 0.0}, r"start_factor must be in \(0, 1\], got 0.0"),
    ("LinearLR", {"end_factor": -0.1}, r"end_factor must be in \[0, 1\], got -0.1"),
    ("PolynomialLR", {"total_iters": 0}, "total_iters must be a finite number .* got 0"),
    ("CosineAnnealingWarmRestarts", {"T_0": 0}, "T_0 must be a positive integer, got 0"),
    ("CosineAnnealingWarmRestarts", {"T_0": 1.5}, "T_0 must be a positive integer, got 1.5"),
    ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 0}, "T_mult must be a positive integer"),
    ("CosineAnnealingWarmRestarts", {"T_0": 4, "eta_min": "x"}, "eta_min must be a float or an"),
    (
        "CyclicLR",
        {"base_lr": [0.1, 0.2], "max_lr": 1.0},
        "base_lr must have the same length .* got 2",
    ),
    (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 1.0, "mode": "square"},
        "mode must be one of .* got 'sq",
    ),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 0}, "step_size_up must be a fin"),
    (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": math.inf},
        "step_size_up must be a finite number of epochs, at least 1, got inf",
    ),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "gamma": -1.0}, r"gamma must be in \[0, inf\)"),
    ("OneCycleLR", {"max_lr": 1.0}, "You must define either total_steps OR"),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": 0},
        "total_steps must be a positive integer, got 0",
    ),
    ("OneCycleLR", {"max_lr": 1.0, "epochs": 2, "steps_per_epoch": 0.5}, "steps_per_epoch must be"),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": 9, "pct_start": 1.5},
        r"pct_start must be in \[0",
    ),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": 9, "anneal_strategy": "x"},
        "anneal_strategy must",
    ),
    ("ReduceLROnPlateau", {"factor": 1.0}, "factor should be < 1.0, got 1.0"),
    ("ReduceLROnPlateau", {"mode": "mean"}, "mode must be one of 'min', 'max', got 'mean'"),
    ("ReduceLROnPlateau", {"threshold_mode": "x"}, "threshold_mode must be one of 'rel', 'abs'"),
    ("ReduceLROnPlateau", {"min_lr": [0.1, 0.2]}, "min_lr must have the same length .* got 2"),
    ("SWALR", {"swa_lr": 0.1, "anneal_strategy": "x"}, "anneal_strategy must be one of 'cos', 'l"),
    (
        "SWALR",
        {"swa_lr": 0.1, "anneal_epochs": -1},
        "anneal_epochs must be an integer >= 0, got -1",
    ),
    ("SWALR", {"swa_lr": [0.1, 0.2]}, "swa_lr must have the same length .* got 2"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "message"), BAD, ids=lambda x: x if isinstance(x, str) else None
)
def test_arguments_are_refused_by_name(name, arguments, message):
    make = SWALR if name == "SWALR" else getattr(lr_scheduler, name)
    with pytest.raises((TypeError, ValueError), match=f"^{name}: {message}"):
        make(sgd(momentum=0.9), **arguments)


def test_a_negative_epoch_is_refused():
    optimizer = sgd()
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4)
    step(optimizer, scheduler)
    with pytest.raises(ValueError, match="non-negative epoch, but got -1"):
        scheduler.step(-1)
