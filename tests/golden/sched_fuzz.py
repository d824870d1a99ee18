"""Random cases of the schedulers, for the live comparison."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .sched_cases import METRICS, STEPS, Case
from .sched_exceptions import reason
from .sched_grid import Spec, chain, function, sequence, spec

Rng = np.random.Generator


def _one(rng: Rng, alone: bool = False) -> Spec:
    """Draws a scheduler with random arguments, alone or as part of others."""
    n, m = (int(k) for k in rng.integers(1, 15, 2))
    x, y = (round(float(u), 4) for u in rng.uniform(0.05, 1.0, 2))
    made = [
        spec("LambdaLR", lr_lambda=function("power", x)),
        spec("MultiplicativeLR", lr_lambda=function("constant", x)),
        spec("StepLR", step_size=n, gamma=x),
        spec("MultiStepLR", milestones=[n, m, n + m], gamma=x),
        spec("ConstantLR", factor=x, total_iters=n),
        spec("LinearLR", start_factor=x, end_factor=y, total_iters=n),
        spec("ExponentialLR", gamma=x),
        spec("PolynomialLR", total_iters=n, power=2 * x),
        spec("CosineAnnealingLR", T_max=n, eta_min=0.04 * x * alone),
        spec("CosineAnnealingWarmRestarts", T_0=n, T_mult=1 + m % 3, eta_min=0.04 * x),
    ]
    return made[rng.integers(len(made))]


def _cycle(rng: Rng) -> Spec:
    n, m = (int(k) for k in rng.integers(1, 15, 2))
    x, y = (round(float(u), 4) for u in rng.uniform(0.05, 0.45, 2))
    mode = str(rng.choice(["triangular", "triangular2", "exp_range"]))
    strategy = str(rng.choice(["cos", "linear"]))
    made = [
        spec(
            "CyclicLR",
            base_lr=0.1 * x,
            max_lr=y,
            step_size_up=n,
            step_size_down=m,
            mode=mode,
            gamma=0.9 + 0.2 * x,
            base_momentum=x,
            max_momentum=0.95,
        ),
        spec(
            "OneCycleLR",
            max_lr=y,
            total_steps=STEPS + 2,
            pct_start=x,
            anneal_strategy=strategy,
            div_factor=1 + n,
            final_div_factor=1 + 10 * m,
            three_phase=bool(n % 2),
        ),
        spec("SWALR", swa_lr=x, anneal_epochs=n, anneal_strategy=strategy),
    ]
    return made[rng.integers(len(made))]


def _plateau(rng: Rng) -> Spec:
    mode = {"mode": ["min", "max"], "threshold_mode": ["rel", "abs"]}
    x, y = (round(float(u), 4) for u in rng.uniform(0.05, 0.95, 2))
    return spec(
        "ReduceLROnPlateau",
        **{k: str(rng.choice(v)) for k, v in mode.items()},
        factor=x,
        threshold=0.2 * y,
        patience=int(rng.integers(5)),
        cooldown=int(rng.integers(4)),
        min_lr=0.001 * y,
    )


def _schedulers(rng: Rng) -> list[Spec]:
    parts = [_one(rng) for _ in range(3)]
    milestones = sorted(int(m) for m in rng.integers(1, 20, 2))
    made: list[list[Spec]] = [
        [_one(rng, alone=True)],
        [_cycle(rng)],
        parts[:2],
        [chain(*parts)],
        [sequence(parts, milestones)],
        [chain(sequence(parts[:2], milestones[:1]), parts[2])],
        [chain(chain(*parts[:2]), parts[2])],
        [_plateau(rng)],
        [parts[0], _plateau(rng)],
    ]
    return made[rng.integers(len(made))]


def fuzz(seed: int, n: int) -> Iterator[Case]:
    """Yields random cases in which torch is to be followed."""
    rng = np.random.default_rng(seed)
    while n:
        schedulers = _schedulers(rng)
        drivers = ["step", "external", "resume"]
        case: dict[str, Any] = {
            "optimizer": str(rng.choice(["sgd", "adamw", "float64", "float32"])),
            "schedulers": schedulers,
            "driver": str(rng.choice(drivers)),
            "steps": STEPS,
            "at": int(rng.integers(1, 30)),
            "metrics": str(rng.choice(list(METRICS))),
        }
        if reason(case) in (None, "the cycle goes beyond its end, and then raises"):
            n -= 1
            yield case
