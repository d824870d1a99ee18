"""Converts the states of wrappers, except for the inner states."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.state import State
from ..core.state_types import ReduceLROnPlateauState
from ..core.types import OptState
from ..serialization.placing import place

__all__ = ["PLATEAU", "WRAPPERS", "Wrapper", "injected_counts"]

Fields = dict[str, PyTree]
"""Fields of a state by name."""


@dataclasses.dataclass(frozen=True)
class Wrapper:
    """The conversion of the state of a wrapper.

    Attributes:
      is_ours: tells whether a state of this package belongs to the wrapper.
      inner: field of optax's state with the inner state.
      read: `(theirs, ours) -> fields` of ours.
      write: `(ours, theirs) -> fields` of theirs.
      passed_on: field of optax's state that counts the updates of the inner transformation.
    """

    is_ours: Callable[[State], bool]
    inner: str
    read: Callable[[OptState, State], Fields]
    write: Callable[[State, OptState], Fields]
    passed_on: str | None = None


def _has(*fields: str) -> Callable[[State], bool]:
    return lambda state: set(fields) <= set(state._fields)


def _copy_values(source: PyTree, like: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: place(np.asarray(x), y), source, like)


def _read_steps(theirs: OptState, ours: State) -> Fields:
    mini = int(theirs.mini_step)
    if mini > 1:
        raise ValueError(
            f"from_optax: MultiSteps has accumulated {mini} gradients, and optax's state does not "
            "say whether it keeps their mean or their sum. Convert it after a step: where "
            "mini_step is 0."
        )
    updated = mini == 0 and int(theirs.gradient_step) > 0
    return {
        "mini_step": place(mini, ours.mini_step),
        "gradient_step": _copy_values(theirs.gradient_step, ours.gradient_step),
        "updated": place(updated, ours.updated),
        "acc_grads": _copy_values(theirs.acc_grads, ours.acc_grads),
        "skip_state": _replace_values(dict(theirs.skip_state), ours.skip_state),
    }


def _write_steps(ours: State, theirs: OptState) -> Fields:
    if int(ours.mini_step) > 1:
        raise ValueError(
            f"to_optax: MultiSteps has accumulated {int(ours.mini_step)} gradients, as a sum, and "
            "optax's state does not say whether it must be their mean. Convert it after a step: "
            "where mini_step is 0."
        )
    fields = {k: getattr(theirs, k) for k in ("mini_step", "gradient_step", "acc_grads")}
    new = {k: _copy_values(ours[k], x) for k, x in fields.items()}
    if theirs.skip_state:
        new["skip_state"] = _replace_values(ours.skip_state, theirs.skip_state)
    return new


_COUNTED = ("last_finite", "notfinite_count", "total_notfinite")


def _read_guard(theirs: OptState, ours: State) -> Fields:
    return {"metrics": {k: _copy_values(getattr(theirs, k), ours.metrics[k]) for k in _COUNTED}}


def _write_guard(ours: State, theirs: OptState) -> Fields:
    return {k: _copy_values(ours.metrics[k], getattr(theirs, k)) for k in _COUNTED}


def _read_condition(theirs: OptState, ours: State) -> Fields:
    return {"step": _copy_values(theirs.step, ours.step)}


def _write_condition(ours: State, theirs: OptState) -> Fields:
    return {"step": _copy_values(ours.step, theirs.step)}


def _read_injected(theirs: OptState, ours: State) -> Fields:
    return {
        "count": _copy_values(theirs.count, ours.count),
        "hyperparams": _replace_values(theirs.hyperparams, ours.hyperparams),
    }


def _write_injected(ours: State, theirs: OptState) -> Fields:
    return injected_counts(theirs, int(ours.count)) | {
        "hyperparams": _replace_values(ours.hyperparams, theirs.hyperparams)
    }


def injected_counts(theirs: OptState, count: int) -> Fields:
    """Returns the counts in a state of injected hyperparameters, set to a new count."""
    fields = {"count": place(count, theirs.count)}
    if "hyperparams_states" in theirs._fields:
        fields["hyperparams_states"] = {
            k: s._replace(count=place(count, s.count)) if "count" in s._fields else s
            for k, s in theirs.hyperparams_states.items()
        }
    return fields


def _replace_values(source: Mapping[str, PyTree], like: Mapping[str, PyTree]) -> Fields:
    """Returns the values of `like`, replaced by values of `source` with the same names."""
    return {k: _copy_values(source[k], x) if k in source else x for k, x in like.items()}


def _read_fields(theirs: OptState, ours: State) -> Fields:
    return {k: _copy_values(getattr(theirs, k), x) for k, x in ours._asdict().items()}


def _write_fields(ours: State, theirs: OptState) -> Fields:
    return {k: _copy_values(x, getattr(theirs, k)) for k, x in ours._asdict().items()}


PLATEAU = Wrapper(
    lambda state: isinstance(state, ReduceLROnPlateauState), "", _read_fields, _write_fields
)
"""`contrib.reduce_on_plateau`, which wraps nothing, and whose state has optax's fields."""

_CONDITION = Wrapper(
    lambda state: set(state._fields) == {"step", "inner_state"},
    "inner_state",
    _read_condition,
    _write_condition,
)
_INJECTED = Wrapper(
    _has("hyperparams", "inner_state"), "inner_state", _read_injected, _write_injected, "count"
)

WRAPPERS = {
    "MultiStepsState": Wrapper(
        _has("mini_step", "gradient_step"),
        "inner_opt_state",
        _read_steps,
        _write_steps,
        "gradient_step",
    ),
    "ApplyIfFiniteState": Wrapper(
        _has("max_consecutive_errors"), "inner_state", _read_guard, _write_guard
    ),
    "ConditionallyTransformState": _CONDITION,
    "ConditionallyMaskState": _CONDITION,
    "InjectHyperparamsState": _INJECTED,
    "InjectStatefulHyperparamsState": _INJECTED,
}
"""Name of the class of optax's state -> the wrapper."""
