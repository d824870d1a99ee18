"""Cases of the learning-rate schedulers: which, over which optimizer, driven in which way.

A case has `optimizer` (a key of OPTIMIZERS), `schedulers` (specifications, stepped in turn),
`driver`, `steps`, and `at`: the step at which the driver does what it does:

    step         nothing; the schedulers are stepped
    epoch        nothing; they are stepped with the number of the epoch
    external     the learning rates are halved from outside
    add_group    a third group is added
    resume       all is built anew, and both state_dicts are loaded
    last_epoch   the schedulers are built anew with last_epoch = at - 1

A function is written as `{"function": name, "argument": x}`.
"""

from collections.abc import Callable, Iterator
from typing import Any

Spec = dict[str, Any]
STEPS = 40

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "SGD", "lrs": [0.05, 0.5]},
    "adamw": {"optimizer": "AdamW", "lrs": [0.001, 0.01]},
    "float32": {"optimizer": "SGD", "lrs": [0.05, 0.5], "dtype": "float32"},
    "float64": {"optimizer": "SGD", "lrs": [0.05, 0.5], "dtype": "float64"},
}

FUNCTIONS: dict[str, Callable[[float], Callable[[int], float]]] = {
    "power": lambda base: lambda epoch: base**epoch,
    "quotient": lambda k: lambda epoch: float(epoch // k),
    "inverse": lambda k: lambda epoch: 1 / (1 + k * epoch),
}


def function(written: Any) -> Any:
    """The function of a specification, or the list of them."""
    if isinstance(written, list):
        return [function(w) for w in written]
    return FUNCTIONS[written["function"]](written["argument"])


def arguments(spec: Spec) -> Spec:
    """What a specification passes to the scheduler."""
    made = {"lr_lambda": function(spec["lr_lambda"])} if "lr_lambda" in spec else {}
    return {k: v for k, v in spec.items() if k != "scheduler"} | made


def _step_lr(step_size: int, gamma: float) -> Spec:
    return {"scheduler": "StepLR", "step_size": step_size, "gamma": gamma}


def _lambda_lr(*functions: tuple[str, float]) -> Spec:
    written = [{"function": name, "argument": x} for name, x in functions]
    return {"scheduler": "LambdaLR", "lr_lambda": written if len(written) > 1 else written[0]}


def _cosine(T_max: int, eta_min: float) -> Spec:
    return {"scheduler": "CosineAnnealingLR", "T_max": T_max, "eta_min": eta_min}


STEP_LR = [_step_lr(n, gamma) for n in (1, 3, 10) for gamma in (0.1, 0.5, 1.0)]
LAMBDA_LR = [
    _lambda_lr(("power", 0.95)),
    _lambda_lr(("quotient", 3)),
    _lambda_lr(("power", 0.9), ("inverse", 0.5)),
]
COSINE = [_cosine(n, eta_min) for n in (1, 2, 5, 10, 37) for eta_min in (0.0, 1e-3, 0.2)]
SOME = [
    *(STEP_LR[i] for i in (0, 1, 6)),
    *(LAMBDA_LR[i] for i in (0, 2)),
    *(COSINE[i] for i in (0, 1, 6)),
]


def cases() -> Iterator[dict[str, Any]]:
    """All cases."""
    for spec in (*STEP_LR, *LAMBDA_LR, *COSINE):
        yield _case("sgd", [spec], "step")
    for spec in (*STEP_LR, *COSINE):  # LambdaLR has one formula
        yield _case("sgd", [spec], "epoch")
    for spec in SOME:
        for name in ("adamw", "float32", "float64"):
            yield _case(name, [spec], "step")
        yield _case("sgd", [spec], "external", 7)
        yield _case("sgd", [spec], "add_group", 5)
        for at in (1, 6, 17):
            yield _case("sgd", [spec], "resume", at)
            yield _case("sgd", [spec], "last_epoch", at)
    for first in (STEP_LR[4], LAMBDA_LR[0], COSINE[7]):
        for second in (STEP_LR[4], LAMBDA_LR[0], COSINE[10]):
            yield _case("sgd", [first, second], "step")
            yield _case("sgd", [first, second], "resume", 8)


def _case(optimizer: str, schedulers: list[Spec], driver: str, at: int = 0) -> dict[str, Any]:
    return {
        "optimizer": optimizer,
        "schedulers": schedulers,
        "driver": driver,
        "steps": STEPS,
        "at": at,
    }
