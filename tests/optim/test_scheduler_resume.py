"""A run that is saved and continued is the uninterrupted one, whatever the scheduler."""

import json
import pickle

import pytest

from ..golden.sched_cases import METRICS
from ..golden.sched_grid import COMPOSITES, PARTS, PLATEAUS, grid
from ..golden.sched_in_jax import OURS

ONE_OF_EACH = {spec["scheduler"]: spec for spec in grid()}
ONE_OF_EACH["CyclicLR"] = next(s for s in grid() if s["scheduler"] == "CyclicLR")
ONE_OF_EACH["OneCycleLR"] = next(s for s in grid() if s["scheduler"] == "OneCycleLR")
RUNS = [[spec] for spec in ONE_OF_EACH.values()] + COMPOSITES + [[PLATEAUS[2]]]
RUNS += [PARTS[i : i + 3] for i in (0, 3, 7)]


def names(specs):
    return "-".join(
        f"{s['scheduler']}({names(s['schedulers'])})" if "schedulers" in s else s["scheduler"]
        for s in specs
    )


def build(specs, name="sgd"):
    optimizer = OURS.make_optimizer(name)
    return optimizer, [OURS.make_scheduler(optimizer, spec) for spec in specs]


def step(optimizer, schedulers, t):
    optimizer.step_count += 1
    for scheduler in schedulers:
        plateau = hasattr(scheduler, "num_bad_epochs")
        scheduler.step(*[METRICS["stairs"][t]] * plateau)


def seen(optimizer):
    return [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]


def put(optimizer, options):
    for group, saved in zip(optimizer.param_groups, options, strict=True):
        group.update(saved)


@pytest.mark.parametrize("order", ["optimizer first", "optimizer last"])
@pytest.mark.parametrize("specs", RUNS, ids=names)
def test_a_run_saved_and_resumed_at_every_step_continues(specs, order):
    """Builds and loads in either order, also after an edit."""
    plain, plain_schedulers = build(specs)
    optimizer, schedulers = build(specs)
    assert seen(optimizer) == seen(plain)
    for t in range(14):
        if t == 6 and order == "optimizer last":
            for each in (plain, optimizer):
                each.param_groups[0]["lr"] *= 0.5
        states = [pickle.loads(pickle.dumps(s.state_dict())) for s in schedulers]
        options = seen(optimizer)
        optimizer = OURS.make_optimizer("sgd")
        if order == "optimizer first":
            put(optimizer, options)
        schedulers = [OURS.make_scheduler(optimizer, spec) for spec in specs]
        for scheduler, state in zip(schedulers, states, strict=True):
            scheduler.load_state_dict(state)
        if order == "optimizer last":
            put(optimizer, options)
        assert seen(optimizer) == seen(plain)
        step(plain, plain_schedulers, t)
        step(optimizer, schedulers, t)
        assert seen(optimizer) == seen(plain), t
        for a, b in zip(schedulers, plain_schedulers, strict=True):
            assert a.get_last_lr() == b.get_last_lr()
            assert a.state_dict() == b.state_dict()


@pytest.mark.parametrize("specs", RUNS, ids=names)
def test_a_state_survives_json(specs):
    optimizer, schedulers = build(specs)
    for t in range(6):
        step(optimizer, schedulers, t)
    _, others = build(specs)
    for scheduler, other in zip(schedulers, others, strict=True):
        saved = json.loads(json.dumps(scheduler.state_dict()))
        other.load_state_dict(saved)
        assert other.state_dict() == scheduler.state_dict()


@pytest.mark.parametrize("specs", [r for r in RUNS if len(r) == 1], ids=names)
def test_a_loaded_state_is_not_shared(specs):
    _, (first,) = build(specs)
    saved = first.state_dict()
    before = pickle.dumps(saved)
    _, (second,) = build(specs)
    second.load_state_dict(saved)
    step(second.optimizer, [second], 0)
    assert pickle.dumps(saved) == before
    assert first.state_dict() == pickle.loads(before)


CONTINUED = [[s] for s in ONE_OF_EACH.values()] + [
    c for c in COMPOSITES if c[0]["scheduler"] == "SequentialLR"
]


@pytest.mark.parametrize("specs", CONTINUED, ids=names)
def test_last_epoch_continues_where_the_optimizer_is(specs):
    plain, (scheduler,) = build(specs)
    for t in range(9):
        step(plain, [scheduler], t)
    optimizer = OURS.make_optimizer("sgd")
    put(optimizer, seen(plain))
    other = OURS.make_scheduler(optimizer, specs[0], last_epoch=8)
    for t in range(9, 20):
        lrs = [group["lr"] for group in plain.param_groups]
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(lrs, rel=1e-12)
        assert other.last_epoch == scheduler.last_epoch
        step(plain, [scheduler], t)
        step(optimizer, [other], t)
