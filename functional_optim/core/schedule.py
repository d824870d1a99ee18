"""Schedules: functions of the step whose numbers live in the state, not in the program."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp

from .interning import intern
from .numbers import Interval, as_number, as_state
from .precision import hyper_dtype

__all__ = ["NumberedSchedule", "as_schedule", "numbered", "schedule"]

P = ParamSpec("P")
Array = jax.Array


@dataclasses.dataclass(frozen=True)
class NumberedSchedule:
    """A schedule in two parts: `evaluate(step, numbers)`, and its `numbers` as data.

    Called with a step it is an ordinary schedule, and optax accepts it. As a hyperparameter
    its numbers go into the state, where they can be read, set, differentiated and vmapped;
    only `evaluate` is part of the program.

    Attributes:
      evaluate: the maths; hashable.
      numbers: `(name, value)` pairs; a value is a number or the pairs of an inner schedule.
      text: how it was made, for printing.
    """

    evaluate: Callable[[Array, Mapping[str, Any]], Array]
    numbers: tuple[tuple[str, Any], ...]
    text: str = dataclasses.field(default="schedule", compare=False)

    def __call__(self, step: Any) -> Array:
        """Value at `step`, the number of updates made so far: `()` to `()`."""
        return self.evaluate(as_state(step), self.initial_numbers())

    def initial_numbers(self) -> dict[str, Any]:
        """The numbers as a dictionary of scalar arrays, nested as the schedule is."""
        return _arrays(self.numbers)

    def __repr__(self) -> str:
        return self.text


def _arrays(numbers: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    return {k: _arrays(v) if isinstance(v, tuple) else as_state(v) for k, v in numbers}


@dataclasses.dataclass(frozen=True)
class _Evaluate:
    """Calls a schedule's maths with its static options."""

    maths: Callable[..., Array]
    options: tuple[tuple[str, Any], ...]

    def __call__(self, step: Array, numbers: Mapping[str, Any]) -> Array:
        return self.maths(step, **numbers, **dict(self.options))


@dataclasses.dataclass(frozen=True)
class _Plain:
    """A callable that someone else wrote: it has no numbers that we could see."""

    function: Callable[[Any], Any]

    def __call__(self, step: Array, numbers: Mapping[str, Any]) -> Array:
        del numbers
        return self.function(step)


def schedule(
    *, static: tuple[str, ...] = (), bounds: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Array]], Callable[..., NumberedSchedule]]:
    """Makes a factory of schedules out of maths on scalars.

    The decorated function takes the step and then the schedule's numbers; the factory takes
    the numbers, with the same names, order and defaults.

    Args:
      static: names of options that shape the program (a mode, a switch).
      bounds: name -> interval that a concrete number must lie in.
    """
    intervals = {k: Interval(v) for k, v in (bounds or {}).items()}

    def decorate(maths: Callable[..., Array]) -> Callable[..., NumberedSchedule]:
        signature = inspect.signature(maths)
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        name = maths.__name__

        @functools.wraps(maths)
        def factory(*args: Any, **kwargs: Any) -> NumberedSchedule:
            bound = signature.bind(*args, **kwargs)
            text = f"{name}({', '.join(f'{k}={v!r}' for k, v in bound.arguments.items())})"
            bound.apply_defaults()
            given = bound.arguments
            numbers = tuple(
                (k, as_number(v, f"{name}: {k}", intervals.get(k)))
                for k, v in given.items()
                if k not in static and v is not None
            )
            options = tuple((k, v) for k, v in given.items() if k in static or v is None)
            return NumberedSchedule(intern(_Evaluate(maths, options)), numbers, text)

        factory.__signature__ = signature.replace(return_annotation=NumberedSchedule)  # type: ignore[attr-defined]
        factory.maths = maths  # type: ignore[attr-defined]
        return factory

    return decorate


def numbered(function: Callable[[Any], Any]) -> NumberedSchedule:
    """Views any callable of the step as a schedule; a foreign one has no numbers."""
    if isinstance(function, NumberedSchedule):
        return function
    return NumberedSchedule(intern(_Plain(function)), (), getattr(function, "__name__", "schedule"))


def as_schedule(value: Any, where: str) -> NumberedSchedule:
    """Views a number or a callable as a schedule.

    Raises:
      TypeError: neither; the message names `where`.
    """
    if callable(value):
        return numbered(value)
    number = as_number(value, where)
    return NumberedSchedule(intern(_Evaluate(_constant, ())), (("value", number),), repr(value))


def _constant(step: Array, value: Array) -> Array:
    del step
    return value


def scalar(value: Any) -> Array:
    """Casts what a schedule returned to the hyperparameters' dtype, without dimensions."""
    return jnp.asarray(value).astype(hyper_dtype())
