"""Schedules: functions of the step whose numbers live in the state, not in the program."""

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..caching import Interned
from ..functions import Function, as_function
from ..numerics.validation import Interval, as_number, as_state
from ..signatures import bind, call_text

__all__ = ["Number", "NumberedSchedule", "ScheduleFactory", "check_choice", "numbered", "schedule"]

P = ParamSpec("P")
Array = jax.Array

Number = Any
"""For a factory: a number or a scalar array, traced or not. For the maths: a scalar array."""


@dataclasses.dataclass(frozen=True)
class NumberedSchedule:
    """A schedule in two parts: `evaluate(step, numbers)`, and its `numbers` as data.

    Called with a step it is an ordinary schedule, and optax accepts it. As a hyperparameter
    its numbers go into the state, where they can be read, set, differentiated and vmapped;
    only `evaluate` is part of the program.

    Attributes:
      evaluate: the maths; hashable.
      numbers: `(name, value)` pairs; a value is a number, an inner schedule, or a tuple of
        those.
      text: how it was made, for printing.
    """

    evaluate: Callable[[Array, Mapping[str, Any]], Array]
    numbers: tuple[tuple[str, Any], ...]
    text: str = dataclasses.field(default="schedule", compare=False)

    def __call__(self, step: Any) -> Array:
        """Computes the value at `step`, the number of updates so far, or at an array of them."""
        return self.evaluate(jnp.asarray(step), self.initial_numbers())

    def initial_numbers(self) -> dict[str, Any]:
        """Returns the numbers as a dictionary of scalar arrays, nested as the schedule is."""
        return {k: _arrays(v) for k, v in self.numbers}

    def __repr__(self) -> str:
        return self.text


def _arrays(value: Any) -> Any:
    if isinstance(value, NumberedSchedule):
        return value.initial_numbers()
    return tuple(map(_arrays, value)) if isinstance(value, tuple) else as_state(value)


class ScheduleFactory(Protocol[P]):
    """Makes schedules of one kind out of their numbers; `maths` is the kind."""

    maths: Callable[Concatenate[Array, P], Array]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> NumberedSchedule:
        """Makes the schedule of the given numbers."""


@dataclasses.dataclass(frozen=True)
class _Evaluate(Interned):
    """Calls the maths of a factory with its options."""

    # For pickle, because a module shows the factory and not its maths.
    factory: ScheduleFactory[...]
    options: tuple[tuple[str, Any], ...]
    maths: Function

    @classmethod
    def by(cls, factory: ScheduleFactory[...], options: tuple[tuple[str, Any], ...]) -> "_Evaluate":
        """Makes it, of what the maths sees now."""
        return cls.of(factory, options, as_function(factory.maths))

    def __call__(self, step: Array, numbers: Mapping[str, Any]) -> Array:
        return self.maths(as_state(step), **numbers, **dict(self.options))

    def __reduce__(self) -> tuple[Any, ...]:
        return _Evaluate.by, (self.factory, self.options)


@dataclasses.dataclass(frozen=True)
class _Plain(Interned):
    """A callable that someone else wrote: it has no numbers that we could see."""

    function: Callable[[Any], Any]

    def __call__(self, step: Array, numbers: Mapping[str, Any]) -> Array:
        del numbers
        # Other libraries count in integers, and a function may look its values up in a table.
        whole = step if jnp.issubdtype(step.dtype, jnp.integer) else step.astype(np.int32)
        found = self.function(whole)
        if found is None:
            raise TypeError(f"{self.function.__name__}: a schedule must return a number, got None.")
        value = as_state(found)
        if value.shape not in ((), step.shape):
            raise ValueError(
                f"{self.function.__name__}: a schedule must return a scalar, got an array of shape "
                f"{value.shape}. Return one value for the step that it is given."
            )
        return jnp.broadcast_to(value, step.shape)


def schedule(
    *,
    static: tuple[str, ...] = (),
    choices: Mapping[str, tuple[str, ...]] | None = None,
    bounds: Mapping[str, str] | None = None,
    ordered: tuple[str, ...] = (),
) -> Callable[[Callable[Concatenate[Array, P], Array]], ScheduleFactory[P]]:
    """Makes a factory of schedules out of maths on scalars.

    The decorated function takes the step, a scalar array that counts updates from 0, and
    then the schedule's numbers; the factory takes the numbers, with the same names, order
    and defaults. A number that is None is absent: the maths sees None, and the program is
    another. Numbers may be traced: the maths must not branch on them in Python.

    Args:
      static: names of options that shape the program (a mode, a switch).
      choices: option -> the texts that it may be; such an option is static.
      bounds: name -> interval that a concrete number must lie in.
      ordered: names of numbers that, where concrete, must not decrease from one to the next.

    Example:
      >>> import functional_optim as fo
      >>> @schedule(bounds={"half_life": "(0, inf)"})
      ... def halving(step, init_value, half_life=100):
      ...     return init_value * 0.5 ** (step / half_life)
      >>> float(halving(8.0, half_life=2)(4))
      2.0
      >>> state = fo.sgd(halving(8.0)).init({"w": 0.0})
      >>> float(fo.get_hyperparams(state)["learning_rate.half_life"])
      100.0
    """
    intervals = {k: Interval(v) for k, v in (bounds or {}).items()}
    choices = choices or {}

    def decorate(maths: Callable[Concatenate[Array, P], Array]) -> ScheduleFactory[P]:
        signature = inspect.signature(maths)
        signature = signature.replace(
            parameters=list(signature.parameters.values())[1:], return_annotation=NumberedSchedule
        )
        name = maths.__name__

        @functools.wraps(maths)
        def factory(*args: P.args, **kwargs: P.kwargs) -> NumberedSchedule:
            given = bind(name, signature, args, kwargs)
            numbers, options = {}, {}
            for k, v in given.items():
                where = f"{name}: {k}"
                if k in choices:
                    options[k] = check_choice(v, where, choices[k])
                elif k in static or v is None:
                    options[k] = v
                else:
                    numbers[k] = as_number(v, where, intervals.get(k))
            _check_order(name, ordered, numbers)
            evaluate = _Evaluate.by(made, tuple(options.items()))
            text = call_text(name, signature, given)
            return NumberedSchedule(evaluate, tuple(numbers.items()), text)

        made: Any = factory
        made.__signature__ = signature
        made.maths = maths
        return made

    return decorate


def check_choice(value: Any, where: str, choices: tuple[str, ...]) -> str:
    """Returns a text that must be one of several.

    Raises:
      ValueError: it is not; the message names `where`, and lists them.
    """
    if value not in choices:
        raise ValueError(f"{where} must be one of {', '.join(map(repr, choices))}, got {value!r}.")
    return value


def _check_order(name: str, ordered: tuple[str, ...], numbers: Mapping[str, Any]) -> None:
    for a, b in itertools.pairwise(ordered):
        low, high = numbers[a], numbers[b]
        traced = isinstance(low, jax.core.Tracer) or isinstance(high, jax.core.Tracer)
        if not traced and high < low:
            raise ValueError(
                f"{name}: {b} must be at least {a}, got {b}={high!r} and {a}={low!r}. Both are "
                f"counted from the start; pass a larger {b}."
            )


def numbered(function: Callable[[Any], Any]) -> NumberedSchedule:
    """Views any callable of the step as a schedule; a foreign one has no numbers."""
    if isinstance(function, NumberedSchedule):
        return dataclasses.replace(function, evaluate=as_function(function.evaluate))
    known = as_function(function)
    return NumberedSchedule(_Plain.of(known), (), known.__name__)
