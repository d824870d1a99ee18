"""A group may be added in the middle of a run: schedulers continue, for all groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim
from functional_optim.optim import lr_scheduler as ls

SCHEDULERS = {
    "LambdaLR": lambda opt: ls.LambdaLR(opt, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda opt: ls.MultiplicativeLR(opt, lambda epoch: 0.9),
    "StepLR": lambda opt: ls.StepLR(opt, 2),
    "MultiStepLR": lambda opt: ls.MultiStepLR(opt, [2, 5]),
    "ConstantLR": lambda opt: ls.ConstantLR(opt, 0.5, 5),
    "LinearLR": lambda opt: ls.LinearLR(opt, 0.5, 1.0, 5),
    "ExponentialLR": lambda opt: ls.ExponentialLR(opt, 0.9),
    "PolynomialLR": lambda opt: ls.PolynomialLR(opt, 8, 2.0),
    "CosineAnnealingLR": lambda opt: ls.CosineAnnealingLR(opt, 5),
    "CosineAnnealingWarmRestarts": lambda opt: ls.CosineAnnealingWarmRestarts(opt, 5),
    "CyclicLR": lambda opt: ls.CyclicLR(opt, 0.1, 1.0, 3),
    "OneCycleLR": lambda opt: ls.OneCycleLR(opt, 1.0, 20),
    "SWALR": lambda opt: optim.swa_utils.SWALR(opt, 0.05, 6),
    "ReduceLROnPlateau": lambda opt: ls.ReduceLROnPlateau(opt, patience=1),
    "SequentialLR": lambda opt: ls.SequentialLR(
        opt, [ls.LinearLR(opt, 0.5, 1.0, 3), ls.CosineAnnealingLR(opt, 9)], [3]
    ),
    "ChainedScheduler": lambda opt: ls.ChainedScheduler(
        [ls.ConstantLR(opt, 0.5, 5), ls.ExponentialLR(opt, 0.9)]
    ),
}


def rates(make, add):
    """Returns the learning rates of the groups over a run, to which a group may be added."""
    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5, momentum=0.9)
    scheduler, found = make(optimizer), []
    for epoch in range(10):
        if add and epoch == 4:
            optimizer.add_param_group({"params": {"v": jnp.ones(1)}, "lr": 0.25})
        optimizer.step(jax.tree.map(jnp.ones_like, optimizer.params))
        scheduler.step(*([1.0] if isinstance(scheduler, ls.ReduceLROnPlateau) else []))
        found.append([float(group["lr"]) for group in optimizer.param_groups])
    assert [float(lr) for lr in scheduler.get_last_lr()] == found[-1]
    return found


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_a_group_that_is_added_is_scheduled_and_leaves_the_others_alone(make):
    alone, added = rates(make, add=False), rates(make, add=True)
    assert [row[0] for row in added] == [row[0] for row in alone]
    own = np.array([row[1] for row in added[4:]])
    assert len(own) == 6
    assert np.all((own >= 0) & (own <= 1.0))
    assert len({*own, 0.25}) > 1


def test_every_scheduler_is_here():
    assert SCHEDULERS.keys() == {*ls.__all__, "SWALR"} - {"LRScheduler"}
