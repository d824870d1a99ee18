"""What the golden runs of schedulers do not show: warnings, errors, composition, resuming."""

import pickle

import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, StepLR


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


def test_constructing_remembers_the_initial_rate():
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


class Halved(LRScheduler):
    """Written for torch."""

    def get_lr(self):
        assert self._get_lr_called_within_step
        return [base / (1 + self.last_epoch) for base in self.base_lrs]


def test_a_scheduler_written_for_torch_works():
    optimizer = sgd()
    scheduler = Halved(optimizer)
    step(optimizer, scheduler, times=2)
    assert scheduler.get_last_lr() == [1 / 3]
    scheduler.step(7)
    assert lr(optimizer) == 0.125
    assert optim.lr_scheduler._LRScheduler is LRScheduler


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
