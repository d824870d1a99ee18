"""Hyperparameters in the state, for factories that keep theirs in closures."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.adapter import Link, check_pair
from ..core.caching import Interned
from ..core.functions import as_function
from ..core.numerics.precision import hyper_dtype, safe_increment
from ..core.numerics.validation import as_number
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.schedule import NumberedSchedule, numbered
from ..core.signatures import bind, call_text
from ..core.state import State
from ..core.trees.placement import all_beside
from .arguments import Held, is_hyperparameter, is_schedule, join, split
from .stateful import StatefulSchedule

__all__ = ["inject_hyperparams"]

Array = jax.Array
Values = dict[str, Array]


def inject_hyperparams(
    inner_factory: Callable[..., GradientTransformation],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: Any = None,
) -> Callable[..., GradientTransformation]:
    """Keeps the hyperparameters of a factory in the state, where they can be read and set.

    For factories of other libraries. Those of this package need it not: their numbers are in the
    state, schedules too, under the same names for `get_hyperparams` and `set_hyperparams`.

    The returned factory takes the arguments of `inner_factory`, numbers also as schedules. The
    state holds `count`; `hyperparams`, a dict of the values in force, in which a value may be
    replaced, unless it follows a schedule; `schedules`, the numbers of those that do;
    `hyperparams_states`, the states of those that are a `StatefulSchedule`; and `inner_state`.
    What is a hyperparameter:

    - a floating-point number;
    - an integer, unless the factory's own default is one, which then shapes the program, or the
      argument is named `key`;
    - a callable that gives one real number for a step, unless its argument's name says that it is
      a mask or a function, with `mask` in it or `_fn` at its end. It is tried without computing.

    All else is handed on. The state and the updates keep the dtypes that the inner `init` and
    the gradients have, whatever the hyperparameters are multiplied with.

    Args:
      inner_factory: makes a transformation, by arguments with names.
      static_args: names of arguments that are no hyperparameters, whatever they are.
      hyperparam_dtype: dtype of the hyperparameters; None for float32, or float64 under x64.

    Differences: optax takes every callable for a schedule, every number for a hyperparameter, and
    casts all to the dtype of the parameters, in which 0.999 may be 1.

    Raises:
      TypeError: inner_factory takes arguments without names.
      ValueError: static_args names no argument of it.

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
            f"{inner_factory!r}. Pass adam, and its arguments to what is returned."
        )
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    signature = inspect.signature(inner_factory)
    name = getattr(inner_factory, "__name__", "factory")
    _check(name, signature, static)

    @functools.wraps(inner_factory)
    def factory(*args: Any, **kwargs: Any) -> GradientTransformation:
        given = bind(name, signature, args, kwargs)
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(parameter.name)
        stateful = {k: given[k] for k in given if k not in static and _is_stateful(given[k])}
        plain = {k: v for k, v in given.items() if k not in stateful}
        numbers, plans, fixed = _sorted(name, signature, plain, static)
        dtype = None if hyperparam_dtype is None else jnp.dtype(hyperparam_dtype)
        update = _Update.of(
            as_function(inner_factory),
            tuple((k, Held.of(v)) for k, v in fixed.items()),
            tuple((k, plan.evaluate) for k, plan in plans.items()),
            dtype,
            tuple((k, Held.of(v)) for k, v in stateful.items()),
        )
        text = call_text(name, signature, {k: given[k] for k in signature.parameters if k in given})
        return GradientTransformation(
            _Init(update, tuple(numbers.items()), tuple(plans.items()), text), update
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


def _is_stateful(value: Any) -> bool:
    return isinstance(value, StatefulSchedule) and not isinstance(value, type)


def _sorted(
    name: str, signature: inspect.Signature, given: Mapping[str, Any], static: set[str]
) -> tuple[dict[str, Any], dict[str, NumberedSchedule], dict[str, Any]]:
    """Sorts arguments into numbers, schedules, and values that are passed on unchanged."""
    numbers, plans, fixed = {}, {}, {}
    for k, v in given.items():
        default = signature.parameters[k].default if k in signature.parameters else None
        if k in static or k == "key":
            fixed[k] = v
        elif is_schedule(k, v):
            plans[k] = numbered(v)
        elif is_hyperparameter(v, default):
            numbers[k] = as_number(v, f"inject_hyperparams({name}): {k}")
        else:
            fixed[k] = v
    return numbers, plans, fixed


@dataclasses.dataclass(frozen=True)
class _Init:
    """`init` of a transformation with injected hyperparameters."""

    update: "_Update"
    numbers: tuple[tuple[str, Any], ...]
    plans: tuple[tuple[str, NumberedSchedule], ...]
    text: str = dataclasses.field(default="", compare=False)
    name = "inject_hyperparams"

    def __call__(self, params: PyTree) -> State:
        """Makes the inner state, and puts the hyperparameters beside it."""
        count = jnp.zeros((), np.int32)
        schedules = {k: plan.initial_numbers() for k, plan in self.plans}
        values = {k: self.update.as_value(v) for k, v in self.numbers}
        values |= self.update.scheduled(count, schedules)
        states = {k: held.value.init() for k, held in self.update.stateful}
        values |= self.update.of_states(states)
        init, _ = self.update.made(values)
        fields = {"schedules": schedules} if schedules else {}
        fields |= {"hyperparams_states": states} if states else {}
        state = State(count=count, hyperparams=values, **fields, inner_state=init(params))
        return all_beside(params, state)

    def __repr__(self) -> str:
        return f"inject_hyperparams({self.text})"


@dataclasses.dataclass(frozen=True)
class _Update(Interned):
    """`update` of a transformation with injected hyperparameters."""

    factory: Callable[..., Any]
    fixed: tuple[tuple[str, Held], ...]
    schedules: tuple[tuple[str, Callable[..., Any]], ...]
    dtype: Any
    stateful: tuple[tuple[str, Held], ...] = ()

    def as_value(self, x: Any) -> Array:
        """Converts a hyperparameter to the array that the state holds."""
        return jnp.asarray(x).astype(hyper_dtype() if self.dtype is None else self.dtype)

    def scheduled(self, count: Array, numbers: Mapping[str, Any]) -> Values:
        """Computes the values of the schedules at a step."""
        return {k: self.as_value(f(count, numbers.get(k, {}))) for k, f in self.schedules}

    def of_states(self, states: Mapping[str, PyTree], **extra: Any) -> Values:
        """Computes the values of the stateful schedules."""
        return {k: self.as_value(held.value(states[k], **extra)) for k, held in self.stateful}

    def made(self, values: Values) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Makes the transformation with these hyperparameters."""
        tx = self.factory(**{k: held.value for k, held in self.fixed}, **values)
        return check_pair("inject_hyperparams: what inner_factory makes", tx)

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Transforms the updates with the hyperparameters of the state."""
        fields = state._asdict()
        values = {k: self.as_value(v) for k, v in state.hyperparams.items()}
        values |= self.scheduled(state.count, fields.get("schedules", {}))
        if self.stateful:
            states = state.hyperparams_states
            values |= self.of_states(states, **extra)
            new_states = {k: held.value.update(states[k], **extra) for k, held in self.stateful}
            state = state._replace(hyperparams_states=new_states)
        arrays, rest = split((updates, state.inner_state, params, extra))
        new, inner = self._jitted(values, arrays, rest)
        return new, state._replace(
            count=safe_increment(state.count), hyperparams=values, inner_state=inner
        )

    @functools.cached_property
    def _jitted(self) -> Callable[..., Any]:
        # The factory must see tracers: what it makes of numbers, it may keep in closures.
        return jax.jit(self._step, static_argnums=2)

    def _step(self, values: Values, arrays: list[Any], rest: Any) -> tuple[PyTree, PyTree]:
        updates, inner_state, params, extra = join(arrays, rest)
        try:
            _, update = self.made(values)
            new, inner = Link.to(update)(updates, inner_state, params, extra)
        except jax.errors.ConcretizationTypeError as error:
            error.add_note(
                "inject_hyperparams: the factory decides by the value of an argument. Name it in "
                f"static_args; hyperparameters are {', '.join(values)}."
            )
            raise
        return _as(new, updates), _as(inner, inner_state)


def _as(new: PyTree, old: PyTree) -> PyTree:
    """Casts a tree to the dtypes of another; returns it unchanged where their structures differ."""
    structures: list[Any] = [jax.tree.structure(new), jax.tree.structure(old)]
    if structures[0] != structures[1]:
        return new
    return jax.tree.map(
        lambda a, b: jnp.asarray(a).astype(b.dtype) if hasattr(b, "dtype") else a, new, old
    )
