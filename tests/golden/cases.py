"""Cases: options, edits during the run, and why; plain data, as JSON has it.

A case has `optimizer`, `kwargs`, `overrides` (options of the second group), `events`
(`{"step", "group", "key", "value"}`, made before that step), `problem`, `dtype`, `steps`,
`origin`, and may have `saved`: the number of steps after which torch's state_dict is kept. A
list stands for a tuple, and `{"array": ..., "dtype": ...}` for an array.
"""

from collections.abc import Callable, Iterable
from typing import Any

Case = dict[str, Any]
STEPS = 20

_EVERY = ("float64", "float32", "complex128")
_REAL = _EVERY[:2]
DTYPES = {
    "Adadelta": _EVERY,
    "Adafactor": _REAL,
    "Adagrad": _EVERY,
    "Adam": _EVERY,
    "AdamW": _EVERY,
    "Adamax": _EVERY,
    "ASGD": _EVERY,
    "LBFGS": _EVERY,
    "Muon": _REAL,
    "NAdam": _EVERY,
    "RAdam": _EVERY,
    "RMSprop": _EVERY,
    "Rprop": _EVERY,
    "SGD": _EVERY,
    "SparseAdam": _REAL,
}
"""The classes, and the dtypes of parameters that torch has each for."""

PROBLEMS = {"Adafactor": "solid", "LBFGS": "quad", "Muon": "matrix", "SparseAdam": "rows"}
"""The problem of a class; `small` for the others."""


def case(
    optimizer: str, origin: str, kwargs: Any, overrides: Any = None, events: Iterable[Any] = ()
) -> Case:
    """Returns a case in float64 of the usual length, on the problem of its class."""
    return {
        "optimizer": optimizer,
        "origin": origin,
        "kwargs": kwargs,
        "overrides": overrides or {},
        "events": list(events),
        "problem": PROBLEMS.get(optimizer, "small"),
        "dtype": "float64",
        "steps": STEPS,
    }


def edit(step: int, key: str, value: Any, group: int = 0) -> dict[str, Any]:
    """Returns an event, which sets an option of a group before a step."""
    return {"step": step, "group": group, "key": key, "value": value}


def in_both(*edits: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the events, made in both groups."""
    return [e | {"group": group} for e in edits for group in (0, 1)]


def off_and_on(key: str, off: Any, on: Any) -> list[dict[str, Any]]:
    """Returns two edits of an option, in both groups."""
    return in_both(edit(10, key, off), edit(15, key, on))


def saved(*arguments: Any) -> Case:
    """Returns a case whose state is transferred after ten steps, with twenty steps after that."""
    name, *rest = arguments
    return case(name, "state_dict saved", *rest) | {"steps": 30, "saved": 10}


def flagged(optimizer: str, *flags: str) -> Case:
    """Returns a case with the flags that choose torch's implementation; torch plays it without."""
    found = case(optimizer, f"flags: {', '.join(flags)}", dict.fromkeys(flags, True))
    return found | {"dtype": "float32"}


def array(value: Any) -> dict[str, Any]:
    """Returns the description of an array in the place of a number."""
    return {"array": value, "dtype": "float64"}


def decode(value: Any, array: Callable[[Any, str], Any]) -> Any:
    """Returns a value of a case, with arrays made by `array(data, dtype)`."""
    if isinstance(value, dict):
        return array(value["array"], value["dtype"])
    return tuple(decode(v, array) for v in value) if isinstance(value, list) else value


def second_group(kwargs: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Returns the overrides of the second group: its own learning rate and weight decay.

    Args:
      kwargs: options of the optimizer.
      defaults: of the class.
    """
    options = defaults | kwargs
    own = {"lr": 0.3 * decode(options["lr"], lambda data, dtype: data)}
    if "weight_decay" in options:
        own["weight_decay"] = 0.5 * options["weight_decay"] or 0.05
    return own
