"""Schedulers that combine schedulers, in cases in which torch is wrong or raises no error."""

import jax.numpy as jnp
import pytest

from functional_optim import optim
from functional_optim.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from functional_optim.optim.lr_scheduler.swa import SWALR

from .test_schedulers import lr, sgd


def rates(optimizer, scheduler, n):
    """Returns the learning rates of n epochs."""
    found = [lr(optimizer)]
    for _ in range(n - 1):
        optimizer.step({"w": jnp.ones(1)})
        scheduler.step()
        found.append(lr(optimizer))
    return found


def inner(o):
    return SequentialLR(o, [ConstantLR(o, 0.5, 2), ExponentialLR(o, 0.9)], [2])


# From the definition: each part from its own epoch 0 at its milestone.
IN_TURN = {
    "a sequence first": (
        lambda o: SequentialLR(o, [inner(o), ExponentialLR(o, 0.8)], [3]),
        [0.5, 0.5, 1.0, 1.0, 0.8, 0.64, 0.512],
    ),
    "a sequence last": (
        lambda o: SequentialLR(o, [ExponentialLR(o, 0.8), inner(o)], [2]),
        [1.0, 0.8, 0.5, 0.5, 1.0, 0.9, 0.81],
    ),
    "a sequence of one": (lambda o: SequentialLR(o, [inner(o)], []), [0.5, 0.5, 1.0, 0.9, 0.81]),
    "three deep": (
        lambda o: SequentialLR(
            o, [SequentialLR(o, [ConstantLR(o, 0.1, 9), inner(o)], [1]), StepLR(o, 1, 0.5)], [4]
        ),
        [0.1, 0.5, 0.5, 1.0, 1.0, 0.5, 0.25],
    ),
    "a chain first": (
        lambda o: SequentialLR(
            o,
            [ChainedScheduler([ExponentialLR(o, 0.5), StepLR(o, 2, 0.1)]), ConstantLR(o, 0.3)],
            [4],
        ),
        [1.0, 0.5, 0.025, 0.0125, 0.3, 0.3],
    ),
    "a chain last": (
        lambda o: SequentialLR(
            o,
            [ConstantLR(o, 0.3), ChainedScheduler([ExponentialLR(o, 0.5), LinearLR(o, 0.1)])],
            [2],
        ),
        [0.3, 0.3, 0.1, 0.14, 0.115],
    ),
    "a sequence in a chain": (
        lambda o: ChainedScheduler([inner(o), StepLR(o, 3, 0.1)]),
        [0.5, 0.5, 1.0, 0.09, 0.081],
    ),
    "a factor of the epoch": (
        lambda o: SequentialLR(
            o, [ConstantLR(o, 0.5), MultiplicativeLR(o, lambda epoch: 0.5)], [2]
        ),
        [0.5, 0.5, 0.25, 0.125],
    ),
    "averaging last": (
        lambda o: SequentialLR(
            o, [ConstantLR(o, 0.5, 9), SWALR(o, 0.1, 2, anneal_strategy="linear")], [2]
        ),
        [0.5, 0.5, 0.5, 0.3, 0.1, 0.1],
    ),
}


@pytest.mark.parametrize(("make", "expected"), IN_TURN.values(), ids=IN_TURN)
def test_each_part_runs_in_turn_from_its_own_epoch_zero(make, expected):
    optimizer = sgd()
    assert rates(optimizer, make(optimizer), len(expected)) == pytest.approx(expected, rel=1e-12)


def test_groups_added_are_scheduled_by_composites():
    optimizer = optim.SGD([{"params": {"w": jnp.ones(1)}}], lr=1.0)
    parts = [ExponentialLR(optimizer, 0.5), CosineAnnealingLR(optimizer, 4)]
    scheduler = SequentialLR(optimizer, parts, [2])
    optimizer.step([{"w": jnp.ones(1)}])
    scheduler.step()
    optimizer.add_param_group({"params": {"v": jnp.ones(1)}, "lr": 8.0})
    found = []
    for _ in range(3):
        scheduler.step()
        found.append(scheduler.get_last_lr())
    assert [a for a, _ in found] == pytest.approx([1.0, (1 + 0.5**0.5) / 2, 0.5])
    assert [b for _, b in found] == pytest.approx([8 * a for a, _ in found])


def test_an_edit_lasts_through_a_chain():
    optimizer = sgd()
    scheduler = ChainedScheduler([ExponentialLR(optimizer, 0.5), StepLR(optimizer, 2, 0.1)])
    optimizer.param_groups[0]["lr"] = 8.0
    assert rates(optimizer, scheduler, 4) == pytest.approx([8.0, 4.0, 0.2, 0.1])


def test_invalid_arguments_raise():
    optimizer, other = sgd(), sgd()
    part = ExponentialLR(optimizer, 0.5)
    plateau = ReduceLROnPlateau(optimizer)
    for make in (lambda s: SequentialLR(optimizer, s, [1] * (len(s) - 1)), ChainedScheduler):
        with pytest.raises(ValueError, match="expects at least one scheduler"):
            make([])
        with pytest.raises(ValueError, match=r"does not support `ReduceLROnPlateau`.* index 1"):
            make([part, plateau])
        with pytest.raises(ValueError, match=r"belong to the same optimizer.* index 1"):
            make([part, ExponentialLR(other, 0.5)])
        with pytest.raises(TypeError, match="at index 1 should have `optimizer`"):
            make([part, 0.5])
    with pytest.raises(ValueError, match="got 1 schedulers and 1 milestones"):
        SequentialLR(optimizer, [part], [3])
    with pytest.raises(ValueError, match="SequentialLR: milestones must not decrease, got"):
        SequentialLR(optimizer, [part] * 3, [3, 2])
    for milestone in (-3, float("nan")):
        with pytest.raises(ValueError, match="SequentialLR: a milestone must be a finite number"):
            SequentialLR(optimizer, [part] * 2, [milestone])


def test_the_state_of_another_composite_is_refused():
    optimizer = sgd()
    one = ChainedScheduler([StepLR(optimizer, 2)])
    two = ChainedScheduler([StepLR(optimizer, 2), LambdaLR(optimizer, lambda epoch: 1.0)])
    with pytest.raises(ValueError, match="the state has 2 schedulers, and this scheduler has 1"):
        one.load_state_dict(two.state_dict())
    three = ChainedScheduler([CosineAnnealingWarmRestarts(optimizer, 3)])
    before = one.state_dict()
    with pytest.raises(ValueError, match="there is no 'T_0' in this scheduler"):
        one.load_state_dict(three.state_dict())
    assert one.state_dict() == before
