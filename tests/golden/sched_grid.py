"""Specifications of schedulers: a grid of each class, composites, and plateaus."""

import itertools
from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]


def spec(scheduler: str, **arguments: Any) -> Spec:
    """Specifies a scheduler; a function is written as `{"function": name, "argument": x}`."""
    return {"scheduler": scheduler, **arguments}


def function(name: str, argument: float) -> Spec:
    return {"function": name, "argument": argument}


def _over(scheduler: str, **lists: list[Any]) -> Iterator[Spec]:
    """Yields all combinations of some arguments."""
    for values in itertools.product(*lists.values()):
        yield spec(scheduler, **dict(zip(lists, values, strict=True)))


POWERS = [function("power", 0.95), function("power", 0.9), function("inverse", 0.5)]
SAWTOOTH = {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5}
BOUNDS = {"base_momentum": [0.8, 0.7], "max_momentum": [0.9, 0.95]}


def grid() -> list[Spec]:
    """Returns single schedulers."""
    return [
        spec("LambdaLR", lr_lambda=POWERS[0]),
        spec("LambdaLR", lr_lambda=function("quotient", 3)),
        spec("LambdaLR", lr_lambda=POWERS[1:]),
        spec("MultiplicativeLR", lr_lambda=function("constant", 0.95)),
        spec("MultiplicativeLR", lr_lambda=[function("constant", 0.9), function("inverse", 0.01)]),
        spec("MultiplicativeLR", lr_lambda=function("constant", 0.0)),
        *_over("StepLR", step_size=[1, 3, 10], gamma=[0.1, 0.5, 1.0]),
        *_over(
            "MultiStepLR",
            milestones=[[2, 5, 9], [0, 3], [4, 4, 8], [], [30, 10, 20]],
            gamma=[0.1, 0.5],
        ),
        *_over("ConstantLR", factor=[1 / 3, 0.5, 1.0, 0.0], total_iters=[0, 1, 5, 12]),
        *_over(
            "LinearLR",
            start_factor=[1 / 3, 0.01, 1.0],
            end_factor=[1.0, 0.5, 0.0],
            total_iters=[0, 1, 5, 12],
        ),
        *_over("ExponentialLR", gamma=[0.9, 1.0, 0.5, 1.1, 0.0]),
        *_over("PolynomialLR", power=[1.0, 0.9, 2.0, 0.5], total_iters=[1, 5, 20]),
        *_over("CosineAnnealingLR", T_max=[1, 2, 5, 10, 37], eta_min=[0.0, 1e-3, 0.2]),
        *_over(
            "CosineAnnealingWarmRestarts", T_0=[1, 4, 10], T_mult=[1, 2, 3], eta_min=[0.0, 0.01]
        ),
        *(
            spec(
                "CyclicLR",
                base_lr=0.01,
                max_lr=0.1,
                step_size_up=up,
                step_size_down=down,
                mode=mode,
                gamma=0.97,
                cycle_momentum=momentum,
            )
            for mode in ("triangular", "triangular2", "exp_range")
            for up, down in ((4, None), (2, 6), (1, 1))
            for momentum in (True, False)
        ),
        spec("CyclicLR", base_lr=[0.01, 0.02], max_lr=[0.1, 0.3], step_size_up=5, **BOUNDS),
        spec("CyclicLR", **SAWTOOTH, scale_fn=function("halves", 1)),
        spec("CyclicLR", **SAWTOOTH, scale_fn=function("power", 0.99), scale_mode="iterations"),
        *_over(
            "OneCycleLR",
            max_lr=[0.5],
            total_steps=[40],
            anneal_strategy=["cos", "linear"],
            pct_start=[0.3, 0.1, 0.5],
            three_phase=[False, True],
            cycle_momentum=[True, False],
        ),
        spec(
            "OneCycleLR",
            max_lr=[0.5, 0.1],
            epochs=4,
            steps_per_epoch=10,
            div_factor=10.0,
            final_div_factor=100.0,
            base_momentum=[0.8, 0.85],
            max_momentum=[0.9, 0.99],
        ),
        spec("OneCycleLR", max_lr=0.5, total_steps=25),
        spec("OneCycleLR", max_lr=0.5, total_steps=10, pct_start=0.0),
        spec("OneCycleLR", max_lr=0.5, total_steps=40, pct_start=1.0),
        *_over(
            "SWALR",
            anneal_strategy=["cos", "linear"],
            anneal_epochs=[0, 1, 5, 10],
            swa_lr=[0.01, [0.02, 0.7]],
        ),
    ]


def sequence(schedulers: list[Spec], milestones: list[int]) -> Spec:
    return spec("SequentialLR", schedulers=schedulers, milestones=milestones)


def chain(*schedulers: Spec) -> Spec:
    return spec("ChainedScheduler", schedulers=list(schedulers))


def _e(gamma: float) -> Spec:
    return spec("ExponentialLR", gamma=gamma)


def _c(factor: float, total_iters: int) -> Spec:
    return spec("ConstantLR", factor=factor, total_iters=total_iters)


def _l(start_factor: float, total_iters: int) -> Spec:
    return spec("LinearLR", start_factor=start_factor, end_factor=1.0, total_iters=total_iters)


def _s(step_size: int, gamma: float) -> Spec:
    return spec("StepLR", step_size=step_size, gamma=gamma)


def _cos(T_max: int, eta_min: float = 0.0) -> Spec:
    return spec("CosineAnnealingLR", T_max=T_max, eta_min=eta_min)


def _restarts(T_0: int) -> Spec:
    return spec("CosineAnnealingWarmRestarts", T_0=T_0, T_mult=2)


LAMBDA = spec("LambdaLR", lr_lambda=POWERS[1])
FACTOR = spec("MultiplicativeLR", lr_lambda=function("constant", 0.9))
CYCLIC = spec("CyclicLR", base_lr=0.01, max_lr=0.1, step_size_up=4)
WARM = _l(0.1, 5)

PARTS = [
    _e(0.9),
    _c(0.2, 4),
    WARM,
    _s(3, 0.5),
    _cos(10, 1e-3),
    spec("PolynomialLR", total_iters=10, power=0.9),
    _restarts(4),
    spec("MultiStepLR", milestones=[2, 5, 9], gamma=0.1),
    LAMBDA,
    FACTOR,
]


def pairs() -> Iterator[list[Spec]]:
    """Yields every two, chained, in sequence, and stepped one after the other."""
    for a, b in itertools.product(PARTS, repeat=2):
        yield [chain(a, b)]
        yield [sequence([a, b], [6])]
        yield [a, b]


COMPOSITES: list[list[Spec]] = [
    [sequence([WARM, _cos(20)], [5])],
    [sequence([WARM, _c(1.0, 1), _cos(10), _e(0.9)], [5, 10, 20])],
    [sequence([_c(0.1, 3), _e(0.8), _s(2, 0.1)], [3, 6])],
    [sequence([_e(0.9)], [])],
    [sequence([_l(0.01, 10), _restarts(5)], [10])],
    [sequence([LAMBDA, FACTOR], [0])],
    [sequence([_e(0.5), _l(0.5, 4)], [1])],
    [sequence([_cos(5), _cos(5), _cos(5)], [5, 10])],
    [sequence([chain(WARM, _c(0.1, 5)), _c(0.5, 5)], [5])],
    [sequence([sequence([_c(0.5, 2), _e(0.9)], [2]), _e(0.8)], [3])],
    [sequence([sequence([_c(0.5, 2), _c(0.2, 10)], [2])], [])],
    [sequence([_e(0.8), chain(_e(0.9), _s(3, 0.5))], [4])],
    [sequence([_e(0.8), sequence([_c(0.5, 2), _e(0.9)], [2])], [4])],
    [chain(sequence([WARM, _e(0.95)], [5]), _s(7, 0.5))],
    [chain(chain(_e(0.95), _s(5, 0.5)), _l(0.2, 4))],
    [chain(_e(0.9), _c(0.2, 4), _s(3, 0.1))],
    [chain(spec("PolynomialLR", total_iters=5, power=0.9), _c(0.1, 5))],
    [sequence([WARM, CYCLIC], [5])],
    [sequence([WARM, spec("OneCycleLR", max_lr=0.5, total_steps=60)], [5])],
    [_cos(20, 0.1), CYCLIC],
    [_e(0.9), spec("SWALR", swa_lr=0.05, anneal_epochs=5)],
]

PLATEAUS = [
    spec("ReduceLROnPlateau", **arguments)
    for arguments in (
        {},
        {"patience": 0},
        {"patience": 3, "cooldown": 5},
        {"mode": "max", "patience": 5, "cooldown": 5, "threshold_mode": "abs"},
        {"patience": 5, "threshold_mode": "abs", "threshold": 0.1},
        {"mode": "max", "patience": 3, "threshold_mode": "rel", "threshold": 0.1},
        {"patience": 2, "factor": 0.5, "min_lr": 0.02},
        {"patience": 2, "factor": 0.5, "min_lr": [0.04, 0.3]},
        {"patience": 1, "factor": 0.9, "eps": 0.01},
        {"patience": 1, "cooldown": 1, "factor": 0.3},
    )
]
