"""Schedules: functions of the step whose numbers are in the state, not in the program."""

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..caching import Interned
from ..functions import Function, as_function
from ..numerics.validation import Interval, as_number, as_state
from ..protocol import PyTree
from ..signatures import bind, call_text

__all__ = ["Number", "NumberedSchedule", "ScheduleFactory", "check_choice", "numbered", "schedule"]

P = ParamSpec("P")
Array = jax.Array

Number = Any
"""For a factory: a number or a scalar array, traced or not. For the maths: a scalar array."""


@dataclasses.dataclass(frozen=True)
class NumberedSchedule:
    """A schedule in two parts: `evaluate(step, numbers)`, and its `numbers` as data.

    It can be called with a step like any schedule, so optax accepts it. Where it is passed as a
    hyperparameter, its numbers become part of the state, where they can be read, set,
    differentiated and vmapped; only `evaluate` is part of the program.

    Attributes:
      evaluate: the maths; hashable.
      numbers: `(name, value)` pairs; a value is a number, an inner schedule, or a tuple of
        numbers and schedules.
      text: the call that made it, for printing.
    """

    # The key of a compiled program has `evaluate`, and never the numbers.
    evaluate: Callable[[Array, Mapping[str, PyTree]], Array]
    numbers: tuple[tuple[str, Number | tuple[Number, ...]], ...]
    # Not compared, because two texts may write the same numbers: 1 and 1.0.
    text: str = dataclasses.field(default="schedule", compare=False)

    def __call__(self, step: ArrayLike) -> Array:
        """Computes the value at `step`, the number of updates so far, or at an array of them."""
        return self.evaluate(jnp.asarray(step), self.initial_numbers())

    def initial_numbers(self) -> dict[str, PyTree]:
        """Returns the numbers as a dictionary of scalar arrays, nested as the schedule is."""
        return {k: _arrays(v) for k, v in self.numbers}

    def __repr__(self) -> str:
        return self.text


def _arrays(value: Any) -> PyTree:
    if isinstance(value, NumberedSchedule):
        return value.initial_numbers()
    return tuple(map(_arrays, value)) if isinstance(value, tuple) else as_state(value)


class ScheduleFactory(Protocol[P]):
    """Makes schedules of one formula, `maths`, with different numbers."""

    maths: Callable[Concatenate[Array, P], Array]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> NumberedSchedule:
        """Makes the schedule of the given numbers."""


@dataclasses.dataclass(frozen=True)
class _Evaluate(Interned):
    """Calls the maths of a factory with its options."""

    # Pickled in place of the maths, which cannot be imported: its name is the factory's.
    factory: ScheduleFactory[...]
    options: tuple[tuple[str, Hashable], ...]
    maths: Function

    @classmethod
    def of_factory(
        cls, factory: ScheduleFactory[...], options: tuple[tuple[str, Hashable], ...]
    ) -> "_Evaluate":
        """Makes the object for the maths of a factory, keyed by the values that the maths reads."""
        return cls.of(factory, options, as_function(factory.maths))

    def __call__(self, step: Array, numbers: Mapping[str, PyTree]) -> Array:
        # In the dtype of the numbers, so that maths on both needs no promotion.
        return self.maths(as_state(step), **numbers, **dict(self.options))

    def __reduce__(self) -> tuple[object, ...]:
        return _Evaluate.of_factory, (self.factory, self.options)


@dataclasses.dataclass(frozen=True)
class _Plain(Interned):
    """Calls a schedule that is a plain callable, whose numbers are unknown."""

    function: Function

    def __call__(self, step: Array, numbers: Mapping[str, PyTree]) -> Array:
        del numbers
        # Other libraries count in integers, and a function may look its values up in a table.
        is_integer = jnp.issubdtype(step.dtype, jnp.integer)
        result = self.function(step if is_integer else step.astype(np.int32))
        if result is None:
            raise TypeError(f"{self.function.__name__}: a schedule must return a number, got None.")
        value = as_state(result)
        if value.shape not in ((), step.shape):
            raise ValueError(
                f"{self.function.__name__}: a schedule must return a scalar, got an array of shape "
                f"{value.shape}. Return one value for each step."
            )
        return jnp.broadcast_to(value, step.shape)


@overload
def schedule(maths: Callable[Concatenate[Array, P], Array], /) -> ScheduleFactory[P]: ...


@overload
def schedule(
    *,
    static: tuple[str, ...] = (),
    choices: Mapping[str, tuple[str, ...]] | None = None,
    bounds: Mapping[str, str] | None = None,
    ordered: tuple[str, ...] = (),
) -> Callable[[Callable[Concatenate[Array, P], Array]], ScheduleFactory[P]]: ...


def schedule(
    maths: Callable[..., Array] | None = None,
    /,
    *,
    static: tuple[str, ...] = (),
    choices: Mapping[str, tuple[str, ...]] | None = None,
    bounds: Mapping[str, str] | None = None,
    ordered: tuple[str, ...] = (),
) -> Any:
    """Makes a factory of schedules out of maths on scalars.

    The decorated function takes the step, a scalar array that counts updates from 0, and
    then the schedule's numbers; the factory takes the numbers, with the same names, order
    and defaults. A number that is None is not in the state: the maths gets None, and is compiled
    separately. Numbers may be traced, so the maths must not branch on them in Python.

    Args:
      maths: the function; None for a decorator with the arguments below.
      static: names of options that shape the program (a mode, a switch).
      choices: option -> its possible texts; such an option is static.
      bounds: name -> interval in which a concrete number must lie.
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
        # Users see the factory's arguments: all but the step.
        signature = signature.replace(
            parameters=list(signature.parameters.values())[1:], return_annotation=NumberedSchedule
        )
        name = maths.__name__

        @functools.wraps(maths)
        def factory(*args: P.args, **kwargs: P.kwargs) -> NumberedSchedule:
            arguments = bind(name, signature, args, kwargs)
            numbers, options = {}, {}
            for k, v in arguments.items():
                where = f"{name}: {k}"
                if k in choices:
                    options[k] = check_choice(v, where, choices[k])
                # Options, and numbers that are None, decide the program; other numbers are data.
                elif k in static or v is None:
                    options[k] = v
                else:
                    numbers[k] = as_number(v, where, intervals.get(k))
            _check_order(name, ordered, numbers)
            evaluate = _Evaluate.of_factory(typed, tuple(options.items()))
            text = call_text(name, signature, arguments)
            return NumberedSchedule(evaluate, tuple(numbers.items()), text)

        typed: Any = factory  # Any, because functions have no attributes for mypy
        typed.__signature__ = signature
        typed.maths = maths
        return typed

    return decorate if maths is None else decorate(maths)


def check_choice(value: object, where: str, choices: tuple[str, ...]) -> str:
    """Returns a text, after checking that it is one of the choices.

    Raises:
      ValueError: value is not a choice; the message starts with `where`, and lists the choices.
    """
    if value not in choices:
        raise ValueError(f"{where} must be one of {', '.join(map(repr, choices))}, got {value!r}.")
    return value


def _check_order(name: str, ordered: tuple[str, ...], numbers: Mapping[str, Any]) -> None:
    for a, b in itertools.pairwise(ordered):
        low, high = numbers[a], numbers[b]
        # A traced number has no value to compare.
        traced = isinstance(low, jax.core.Tracer) or isinstance(high, jax.core.Tracer)
        if not traced and high < low:
            # Numbers of steps are often meant to be counted from the end of the last phase.
            counted = "Both are counted from the start; pass" if a.endswith("_steps") else "Pass"
            raise ValueError(
                f"{name}: {b} must be at least {a}, got {b}={high!r} and {a}={low!r}. {counted} a "
                f"larger {b}."
            )


def numbered(function: Callable[[Array], ArrayLike]) -> NumberedSchedule:
    """Makes a schedule of any callable of the step; a plain callable has no numbers."""
    # Its `evaluate` may be a user's, which is then keyed by the values that it reads.
    if isinstance(function, NumberedSchedule):
        return dataclasses.replace(function, evaluate=as_function(function.evaluate))
    hashable = as_function(function)
    return NumberedSchedule(_Plain.of(hashable), (), hashable.__name__)
