"""Schedulers beyond the golden runs: composition, resuming, other optimizers."""

import inspect
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.optim import lr_scheduler
from functional_optim.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, StepLR
from functional_optim.optim.lr_scheduler.swa import SWALR

from .test_compilation import compilations


def sgd(**options):
    return optim.SGD({"w": jnp.zeros(1)}, **{"lr": 1.0, **options})


def step(optimizer, *schedulers, times=1):
    for _ in range(times):
        optimizer.step({"w": jnp.ones(1)})
        for scheduler in schedulers:
            scheduler.step()


def lr(optimizer):
    return optimizer.param_groups[0]["lr"]


def test_the_learning_rate_of_a_step_is_that_of_its_epoch():
    optimizer = sgd()
    scheduler = StepLR(optimizer, step_size=2, gamma=0.5)
    step(optimizer, scheduler, times=6)
    assert optimizer.params["w"].tolist() == [-2 * (1 + 0.5 + 0.25)]


def test_the_constructor_records_the_initial_rate():
    optimizer = sgd(lr=0.5)
    LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    assert (lr(optimizer), optimizer.param_groups[0]["initial_lr"]) == (0.5, 0.5)
    LambdaLR(optimizer, lambda epoch: 0.1)
    assert (lr(optimizer), optimizer.param_groups[0]["initial_lr"]) == (0.05, 0.5)


def test_schedulers_compose():
    optimizer = sgd()
    step(optimizer, StepLR(optimizer, 1, 0.5), CosineAnnealingLR(optimizer, 2), times=1)
    assert lr(optimizer) == pytest.approx(0.25)


def test_a_function_for_each_group():
    optimizer = optim.SGD([{"params": jnp.ones(1)}, {"params": jnp.ones(1), "lr": 0.5}], lr=1.0)
    scheduler = LambdaLR(optimizer, [lambda epoch: 1 + epoch, lambda epoch: 1.0])
    optimizer.minimize(lambda params: params[0].sum())
    scheduler.step()
    assert scheduler.get_last_lr() == [2.0, 0.5]


def test_a_scheduler_of_a_wrapped_transformation_sets_its_learning_rate():
    optimizer = optim.Optimizer({"w": jnp.zeros(1)}, fo.sgd(1.0))
    step(optimizer, StepLR(optimizer, 1, gamma=0.5), times=3)
    assert optimizer.params["w"].tolist() == [-1.75]
    assert optimizer.param_groups[0]["learning_rate"] == 0.125


@pytest.mark.parametrize("order", ["built before", "built after"])
def test_the_order_of_building_and_loading_does_not_matter(order):
    first = sgd()
    scheduler = StepLR(first, 1, gamma=0.5)
    step(first, scheduler, times=2)
    second = sgd(lr=7.0)
    if order == "built before":
        other = StepLR(second, 1, gamma=0.5)
        second.load_state_dict(first.state_dict())
    else:
        second.load_state_dict(first.state_dict())
        other = StepLR(second, 1, gamma=0.5)
    other.load_state_dict(scheduler.state_dict())
    step(second, other)
    assert (lr(second), other.base_lrs) == (0.125, [1.0])


def test_state_dict_is_plain_data():
    class Halving:
        def __init__(self):
            self.base = 0.5

        def __call__(self, epoch):
            return self.base**epoch

    optimizer = sgd()
    scheduler = LambdaLR(optimizer, Halving())
    scheduler.lr_lambdas[0].base = 0.25
    step(optimizer, scheduler)
    saved = pickle.loads(pickle.dumps(scheduler.state_dict()))
    other = LambdaLR(sgd(), Halving())
    other.load_state_dict(saved)
    assert other.lr_lambdas[0].base == 0.25
    assert scheduler.state_dict() == saved


def test_functions_are_not_saved():
    scheduler = LambdaLR(sgd(), lambda epoch: 0.5)
    saved = scheduler.state_dict()
    assert saved["lr_lambdas"] == [None]
    other = LambdaLR(sgd(), lambda epoch: 0.25)
    other.load_state_dict(saved)
    assert other.lr_lambdas[0](0) == 0.25


def test_an_added_group_is_scheduled():
    optimizer = sgd()
    scheduler = StepLR(optimizer, 1, gamma=0.5)
    step(optimizer, scheduler)
    optimizer.add_param_group({"params": {"v": jnp.zeros(1)}, "lr": 0.25})
    optimizer.step([{"w": jnp.ones(1)}, {"v": jnp.ones(1)}])
    scheduler.step()
    assert scheduler.get_last_lr() == [0.25, 0.125]
    assert scheduler.base_lrs == [1.0, 0.25]


def test_the_initial_rates_can_be_edited():
    optimizer = sgd()
    scheduler = LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    scheduler.base_lrs[0] = 8.0
    step(optimizer, scheduler)
    assert lr(optimizer) == 4.0
    scheduler.base_lrs = [16.0]
    step(optimizer, scheduler)
    assert lr(optimizer) == 4.0


class Warmup(optim.lr_scheduler._LRScheduler):
    """Written for torch."""

    def __init__(self, optimizer, steps, last_epoch=-1):
        self.steps = steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        assert self._get_lr_called_within_step
        return [base * min(1.0, (self.last_epoch + 1) / self.steps) for base in self.base_lrs]


def test_a_scheduler_written_for_torch_works():
    optimizer = sgd()
    scheduler = Warmup(optimizer, 4)
    assert lr(optimizer) == 0.25
    step(optimizer, scheduler)
    assert scheduler.get_last_lr() == [0.5]
    scheduler.step(2)
    assert lr(optimizer) == 0.75
    other = Warmup(sgd(), 7)
    other.load_state_dict(scheduler.state_dict())
    assert (other.steps, other.last_epoch) == (4, 2)


def test_a_loaded_state_is_not_shared():
    first = StepLR(sgd(), 2)
    saved = first.state_dict()
    second = StepLR(sgd(), 2)
    second.load_state_dict(saved)
    second.base_lrs[0] = 7.0
    assert (first.base_lrs, saved["base_lrs"]) == ([1.0], [1.0])


def test_epochs_can_be_skipped():
    optimizer = sgd()
    scheduler = CosineAnnealingLR(optimizer, 10, eta_min=0.5)
    optimizer.step({"w": jnp.ones(1)})
    scheduler.step(10)
    assert lr(optimizer) == 0.5
    scheduler.step(20)
    assert lr(optimizer) == 1.0
    assert scheduler.last_epoch == 20


SCHEDULES = [
    (lambda o: StepLR(o, 3, 0.5), fo.exponential_decay(1.0, 3, 0.5, staircase=True)),
    (lambda o: lr_scheduler.ExponentialLR(o, 0.9), fo.exponential_decay(1.0, 1, 0.9)),
    (
        lambda o: lr_scheduler.MultiStepLR(o, [2, 5], 0.5),
        fo.piecewise_constant_schedule(1.0, {2: 0.5, 5: 0.5}),
    ),
    (
        lambda o: lr_scheduler.ConstantLR(o, 0.25, 4),
        fo.piecewise_constant_schedule(0.25, {4: 4.0}),
    ),
    (lambda o: lr_scheduler.LinearLR(o, 0.2, 0.8, 5), fo.linear_schedule(0.2, 0.8, 5)),
    (lambda o: lr_scheduler.PolynomialLR(o, 6, 2.0), fo.polynomial_schedule(1.0, 0.0, 2.0, 6)),
    (
        lambda o: CosineAnnealingLR(o, 4, 0.1),
        fo.cyclic_schedule(1.0, 0.1, 4, shape="cosine"),
    ),
    (
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 2, 0.1),
        fo.cosine_restarts_schedule(1.0, 2, 2, 0.1),
    ),
    (
        lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.5, 2, 3, "exp_range", 0.9),
        fo.cyclic_schedule(0.1, 0.5, 2, 3, "exp_range", 0.9),
    ),
    (
        lambda o: lr_scheduler.OneCycleLR(o, 0.5, 12, three_phase=True),
        fo.onecycle_schedule(12, 0.5, three_phase=True),
    ),
    (
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 4), CosineAnnealingLR(o, 8)], [4]
        ),
        fo.warmup_cosine_decay_schedule(0.1, 1.0, 4, 12),
    ),
    (lambda o: SWALR(o, 0.1, 4, "linear"), fo.linear_schedule(1.0, 0.1, 4)),
]


@pytest.mark.parametrize(
    ("make", "schedule"), SCHEDULES, ids=lambda x: "" if inspect.isfunction(x) else repr(x)[:30]
)
def test_a_scheduler_equals_its_schedule(make, schedule):
    optimizer = sgd(momentum=0.9)
    scheduler, found = make(optimizer), [lr(optimizer)]
    for _ in range(11):
        optimizer.step_count += 1
        scheduler.step()
        found.append(lr(optimizer))
    np.testing.assert_allclose(schedule(jnp.arange(12)), found, rtol=3e-6, atol=1e-7)


def test_the_momentum_of_a_step_is_that_of_its_epoch():
    optimizer = sgd(momentum=0.9)
    scheduler = lr_scheduler.CyclicLR(optimizer, 1.0, 1.0, 1, base_momentum=0.0, max_momentum=0.5)
    step(optimizer, scheduler, times=3)
    # Buffers: 1, then 0 x 1 + 1, then 0.5 x 1 + 1.
    assert optimizer.params["w"].tolist() == [-(1 + 1 + 1.5)]


def test_betas_cycle_and_leave_the_second():
    optimizer = optim.AdamW({"w": jnp.zeros(1)})
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, 10)
    step(optimizer, scheduler, times=2)
    assert optimizer.param_groups[0]["betas"] == (0.85, 0.999)
    assert float(fo.get_hyperparams(optimizer.state[0])["b1"]) == np.float32(0.85)


def test_a_cycle_of_rate_and_momentum_compiles_nothing():
    optimizer = sgd(momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, 20)
    step(optimizer, scheduler)
    with compilations() as found:
        step(optimizer, scheduler, times=5)
    assert found == []


@pytest.mark.parametrize("array", [jnp.float32, np.float32], ids=["jax", "numpy"])
def test_a_rate_that_is_an_array_stays_one(array):
    for make in (
        lambda o: StepLR(o, 1, 0.5),
        lambda o: lr_scheduler.CyclicLR(o, 0.25, 0.5, 1, cycle_momentum=False),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0),
    ):
        optimizer = sgd(lr=array(0.5) if array is jnp.float32 else np.array(0.5, np.float32))
        kind = type(lr(optimizer))
        scheduler = make(optimizer)
        for _ in range(3):
            optimizer.step({"w": jnp.ones(1)})
            scheduler.step(*[1.0] * isinstance(scheduler, lr_scheduler.ReduceLROnPlateau))
        assert isinstance(lr(optimizer), kind)
        assert lr(optimizer).dtype == np.float32
        assert float(scheduler.get_last_lr()[0]) == float(lr(optimizer))
