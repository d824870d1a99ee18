"""Puts hyperparameters into the state, for factories that store them in closures."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.functions import as_function
from ..core.numerics.precision import hyper_dtype, safe_increment
from ..core.numerics.validation import as_number
from ..core.protocol import (
    GradientTransformation,
    PyTree,
    TransformInitFn,
    TransformUpdateFn,
)
from ..core.rules.schedule import Number, NumberedSchedule, numbered
from ..core.signatures import bind, call_text, named_init
from ..core.state import State
from ..core.trees.placement import place_on_mesh_of
from .arguments import HashableValue, StaticPart, is_hyperparameter, is_schedule, join, split
from .stateful import StatefulSchedule

__all__ = ["inject_hyperparams"]

Array = jax.Array
Values = dict[str, Array]


def inject_hyperparams(
    inner_factory: Callable[..., GradientTransformation],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: DTypeLike | None = None,
) -> Callable[..., GradientTransformation]:
    """Puts the hyperparameters of a factory into the state, where they can be read and set.

    It is meant for factories of other libraries. The factories of this package do not need it:
    their hyperparameters and schedules are already in the state, under the same names for
    `get_hyperparams` and `set_hyperparams`.

    The returned factory takes the arguments of `inner_factory`, and schedules in place of numbers.
    The state has `count`; `hyperparams`, a dict of the current values, in which a value that does
    not follow a schedule may be replaced; `schedules`, the numbers of the schedules;
    `hyperparams_states`, the states of arguments that are a `StatefulSchedule`; and `inner_state`.
    An argument is a hyperparameter if it is:

    - a floating-point number;
    - an integer, unless the default of the argument is an integer, which then is static, or the
      argument is named `key`;
    - a callable that returns one real number for a step, unless the name of the argument contains
      `mask` or ends in `_fn`. It is called with abstract values to find out.

    All other arguments are passed on. The state and the updates keep the dtypes of the inner
    `init` and of the gradients, whatever the dtype of the hyperparameters.

    Args:
      inner_factory: makes a transformation from named arguments.
      static_args: names of arguments that are not hyperparameters, whatever their values.
      hyperparam_dtype: dtype of the hyperparameters; None for float32, or float64 under x64.

    Differences: optax treats every callable as a schedule and every number as a hyperparameter, and
    casts them to the dtype of the parameters, in which 0.999 may be 1. optax's own function, around
    a factory of this package, makes the transformation again at each update. New numbers then take
    effect only if they are traced, so compile the update with `jax.jit`: otherwise the numbers from
    `init`, in the inner state, stay in effect.

    Raises:
      TypeError: inner_factory has arguments without names.
      ValueError: static_args has a name that inner_factory does not have.

    Example:
      >>> import functional_optim as fo
      >>> def momentum(learning_rate, decay):
      ...     return fo.chain(fo.trace(decay), fo.scale(-learning_rate))
      >>> tx = fo.inject_hyperparams(momentum)(fo.linear_schedule(1.0, 0.0, 2), decay=0.5)
      >>> state = tx.init({"w": 0.0})
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": 1.0}, state)
      ...     print(updates["w"], state.hyperparams["learning_rate"])
      -1.0 1.0
      -0.75 0.5
      >>> state = fo.set_hyperparams(state, decay=0.0)  # or: state.hyperparams["decay"] = 0.0
      >>> float(fo.get_hyperparams(state)["decay"])
      0.0
    """
    if not callable(inner_factory):
        raise TypeError(
            "inject_hyperparams: inner_factory must be a function that makes a transformation, got "
            f"{inner_factory!r}. Pass adam itself, and the arguments of adam to the result."
        )
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    signature = inspect.signature(inner_factory)
    name = getattr(inner_factory, "__name__", "factory")
    _check(name, signature, static)

    @functools.wraps(inner_factory)
    def factory(*args: Any, **kwargs: Any) -> GradientTransformation:
        arguments = bind(name, signature, args, kwargs)
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments |= arguments.pop(parameter.name)
        stateful = {k: v for k, v in arguments.items() if k not in static and _is_stateful(v)}
        others = {k: v for k, v in arguments.items() if k not in stateful}
        numbers, schedules, fixed = _sort_arguments(name, signature, others, static)
        dtype = None if hyperparam_dtype is None else jnp.dtype(hyperparam_dtype)
        update = _Update.of(
            as_function(inner_factory),
            tuple((k, HashableValue.of(v)) for k, v in fixed.items()),
            tuple((k, schedule.evaluate) for k, schedule in schedules.items()),
            dtype,
            tuple((k, HashableValue.of(v)) for k, v in stateful.items()),
        )
        named = {k: arguments[k] for k in signature.parameters if k in arguments}
        text = call_text(name, signature, named)
        return GradientTransformation(
            _Init(update, tuple(numbers.items()), tuple(schedules.items()), text), update
        )

    return factory


def _check(name: str, signature: inspect.Signature, static: set[str]) -> None:
    kinds = {k: p.kind for k, p in signature.parameters.items()}
    unnamed = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY}
    if unnamed & set(kinds.values()):
        raise TypeError(
            f"inject_hyperparams: {name} takes arguments without names, and hyperparameters need "
            "names. Wrap it in a function whose arguments have them."
        )
    unknown = sorted(static - set(kinds))
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds.values():
        raise ValueError(
            f"inject_hyperparams: static_args names {unknown[0]!r}, which {name} does not take. It "
            f"takes {', '.join(kinds)}."
        )


def _is_stateful(value: object) -> bool:
    return isinstance(value, StatefulSchedule) and not isinstance(value, type)


def _sort_arguments(
    name: str, signature: inspect.Signature, arguments: Mapping[str, Any], static: set[str]
) -> tuple[dict[str, Number], dict[str, NumberedSchedule], dict[str, object]]:
    """Sorts arguments into numbers, schedules, and values that are passed on unchanged."""
    numbers, schedules, fixed = {}, {}, {}
    for k, v in arguments.items():
        default = signature.parameters[k].default if k in signature.parameters else None
        # An integer named key is a seed, and not a quantity that a run would change.
        if k in static or k == "key":
            fixed[k] = v
        elif is_schedule(k, v):
            schedules[k] = numbered(v)
        elif is_hyperparameter(v, default):
            numbers[k] = as_number(v, f"inject_hyperparams({name}): {k}")
        else:
            fixed[k] = v
    return numbers, schedules, fixed


@named_init
@dataclasses.dataclass(frozen=True)
class _Init:
    """`init` of a transformation with injected hyperparameters."""

    update: "_Update"
    numbers: tuple[tuple[str, Number], ...]
    schedules: tuple[tuple[str, NumberedSchedule], ...]
    text: str = dataclasses.field(default="", compare=False)
    name = "inject_hyperparams"

    def __call__(self, params: PyTree) -> State:
        """Makes the inner state, and the hyperparameters."""
        count = jnp.zeros((), np.int32)
        schedules = {k: schedule.initial_numbers() for k, schedule in self.schedules}
        values = {k: self.update.as_value(v) for k, v in self.numbers}
        values |= self.update.scheduled_values(count, schedules)
        states = {k: schedule.value.init() for k, schedule in self.update.stateful}
        values |= self.update.stateful_values(states)
        init, _ = self.update.make_inner(values)
        fields = {"schedules": schedules} if schedules else {}
        fields |= {"hyperparams_states": states} if states else {}
        state = State(count=count, hyperparams=values, **fields, inner_state=init(params))
        return place_on_mesh_of(params, state)

    def __repr__(self) -> str:
        return f"inject_hyperparams({self.text})"


@dataclasses.dataclass(frozen=True)
class _Update(Interned):
    """`update` of a transformation with injected hyperparameters."""

    factory: Callable[..., GradientTransformation]
    fixed: tuple[tuple[str, HashableValue], ...]
    schedules: tuple[tuple[str, Callable[..., Array]], ...]
    dtype: np.dtype[Any] | None
    stateful: tuple[tuple[str, HashableValue], ...] = ()

    def as_value(self, x: Number) -> Array:
        """Converts a hyperparameter to an array of the state."""
        return jnp.asarray(x).astype(hyper_dtype() if self.dtype is None else self.dtype)

    def scheduled_values(self, count: Array, numbers: Mapping[str, PyTree]) -> Values:
        """Computes the values of the schedules at a step."""
        return {k: self.as_value(f(count, numbers.get(k, {}))) for k, f in self.schedules}

    def stateful_values(self, states: Mapping[str, PyTree], **extra: object) -> Values:
        """Computes the values of the stateful schedules."""
        return {k: self.as_value(f.value(states[k], **extra)) for k, f in self.stateful}

    def make_inner(self, values: Values) -> tuple[TransformInitFn, TransformUpdateFn]:
        """Makes the transformation with these hyperparameters."""
        tx = self.factory(**{k: wrapped.value for k, wrapped in self.fixed}, **values)
        return check_pair("inject_hyperparams: the result of inner_factory", tx)

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Transforms the updates with the hyperparameters of the state."""
        check_state("inject_hyperparams", updates, state, params)
        fields = state._asdict()
        values = {k: self.as_value(v) for k, v in state.hyperparams.items()}
        values |= self.scheduled_values(state.count, fields.get("schedules", {}))
        if self.stateful:
            states = state.hyperparams_states
            values |= self.stateful_values(states, **extra)
            new_states = {k: f.value.update(states[k], **extra) for k, f in self.stateful}
            state = state._replace(hyperparams_states=new_states)
        arrays, static = split((updates, state.inner_state, params, extra))
        new, inner = self._jitted(values, arrays, static)
        return new, state._replace(
            count=safe_increment(state.count), hyperparams=values, inner_state=inner
        )

    @functools.cached_property
    def _jitted(self) -> Callable[..., tuple[PyTree, PyTree]]:
        # Under jit the factory sees tracers, so numbers that it stores in closures are arguments
        # of the compiled program and not constants.
        return jax.jit(self._step, static_argnums=2)

    def _step(
        self, values: Values, arrays: list[ArrayLike], static: StaticPart
    ) -> tuple[PyTree, PyTree]:
        updates, inner_state, params, extra = join(arrays, static)
        try:
            _, update = self.make_inner(values)
            new, inner = ExtraArgsAdapter.to(update)(updates, inner_state, params, extra)
        except jax.errors.ConcretizationTypeError as error:
            error.add_note(
                "inject_hyperparams: the factory decides by the value of an argument. Name it in "
                f"static_args; hyperparameters are {', '.join(values)}."
            )
            raise
        return _cast_like(new, updates), _cast_like(inner, inner_state)


def _cast_like(new: PyTree, old: PyTree) -> PyTree:
    """Casts a tree to the dtypes of another; returns it unchanged where their structures differ."""
    new_structure: object = jax.tree.structure(new)
    if new_structure != jax.tree.structure(old):
        return new
    return jax.tree.map(
        lambda a, b: jnp.asarray(a).astype(b.dtype) if hasattr(b, "dtype") else a, new, old
    )
