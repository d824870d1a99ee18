"""Cases: options, edits during the run, and why; plain data, as JSON has it.

A case has `optimizer`, `kwargs`, `overrides` (options of the second group), `events`
(`{"step", "group", "key", "value"}`, made before that step), `dtype`, `steps`, `origin`, and
may have `saved`: the number of steps after which torch's state_dict is kept. A list stands
for a tuple, and `{"array": ..., "dtype": ...}` for an array.
"""

from collections.abc import Callable, Iterable
from typing import Any

Case = dict[str, Any]
CLASSES = ("SGD", "Adam", "AdamW", "RMSprop")
DTYPES = ("float64", "float32", "complex128")
STEPS = 20


def case(
    optimizer: str, origin: str, kwargs: Any, overrides: Any = None, events: Iterable[Any] = ()
) -> Case:
    """A case in float64 of the usual length."""
    return {
        "optimizer": optimizer,
        "origin": origin,
        "kwargs": kwargs,
        "overrides": overrides or {},
        "events": list(events),
        "dtype": "float64",
        "steps": STEPS,
    }


def edit(step: int, key: str, value: Any, group: int = 0) -> dict[str, Any]:
    """An event."""
    return {"step": step, "group": group, "key": key, "value": value}


def in_both(*edits: dict[str, Any]) -> list[dict[str, Any]]:
    """Events, made in both groups."""
    return [e | {"group": group} for e in edits for group in (0, 1)]


def decode(value: Any, array: Callable[[Any, str], Any]) -> Any:
    """A value of a case, with arrays made by `array(data, dtype)`."""
    if isinstance(value, dict):
        return array(value["array"], value["dtype"])
    return tuple(decode(v, array) for v in value) if isinstance(value, list) else value


def second_group(kwargs: dict[str, Any], lr: float, weight_decay: float) -> dict[str, Any]:
    """Overrides of the second group: its own learning rate and weight decay.

    Args:
      kwargs: options of the optimizer.
      lr: default of the class.
      weight_decay: default of the class.
    """
    decay = kwargs.get("weight_decay", weight_decay)
    rate = decode(kwargs.get("lr", lr), lambda data, dtype: data)
    return {"lr": 0.3 * rate, "weight_decay": 0.5 * decay if decay else 0.05}
