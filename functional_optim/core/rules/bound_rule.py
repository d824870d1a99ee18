"""A rule with a user's options: everything that decides the program, and no hyperparameters."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..caching import Interned
from ..functions import can_be_cached
from ..numerics.precision import hyper_dtype
from .arguments import Kind
from .context import UndeclaredParam
from .spec import RuleSpec, call_by_name, checked_names, wanted_names

__all__ = ["ENGINE_FIELDS", "BoundRule", "checked_dict"]

Array = jax.Array
Scalars = dict[str, Any]

ENGINE_FIELDS = (
    "count",
    "leaf_counts",
    "hyperparams",
    "schedules",
    "groups",
    "keys",
    "carry",
    "scalars",
    "metrics",
)
"""Fields of a rule's state that the engine keeps; the others are the rule's slots."""


@dataclasses.dataclass(frozen=True)
class BoundRule(Interned):
    """A rule and its static options; equal for all learning rates, so that programs are shared.

    Attributes:
      spec: the declarations of the author.
      options: static arguments, and optional ones that are None.
      schedules: hyperparameter -> the function that evaluates its schedule.
      slot_dtypes: slot -> dtype; `*` is for all other slots.
      generators: random key -> name of its generator.
      labels: hyperparameter -> its labels, if it differs from leaf to leaf.
    """

    spec: RuleSpec
    options: tuple[tuple[str, Hashable], ...] = ()
    schedules: tuple[tuple[str, Callable[..., Array]], ...] = ()
    slot_dtypes: tuple[tuple[str, DTypeLike], ...] = ()
    generators: tuple[tuple[str, str | None], ...] = ()
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def is_cacheable(self) -> bool:
        """Whether a cache may keep its schedules and options alive."""
        return can_be_cached((self.schedules, self.options))

    @functools.cached_property
    def name(self) -> str:
        """Name of the rule."""
        return self.spec.name

    def prepare(self) -> None:
        """Computes the cached properties that every step reads, before the first one."""
        _ = self.state_names, self.counts_leaves, self.step_arguments, self.undeclared_param

    @functools.cached_property
    def undeclared_param(self) -> UndeclaredParam:
        """The object in place of the parameter, if the rule does not declare that it reads it."""
        return UndeclaredParam(self.name)

    @functools.cached_property
    def programs(self) -> dict[Hashable, Callable[..., Any]]:
        """Jitted functions of this rule, kept as long as the rule."""
        return {}

    @functools.cached_property
    def hyperparam_names(self) -> tuple[str, ...]:
        """Names of the arguments that are hyperparameters in the state."""
        options = dict(self.options)
        # An optional hyperparameter that is None is among the options.
        return tuple(k for k in self.spec.of_kind(Kind.HYPERPARAMETER) if k not in options)

    @functools.cached_property
    def state_names(self) -> tuple[list[str], list[str], list[str] | None]:
        """Sorted names of hyperparameters, schedules and slots, as the state must have them."""
        labels = dict(self.labels)
        # A hyperparameter by label is in the state once for each label.
        hyperparams = [
            name
            for k in self.hyperparam_names
            for name in ([f"{k}.{label}" for label in labels[k]] if k in labels else [k])
        ]
        return sorted(hyperparams), sorted(k for k, _ in self.schedules), self._slot_names()

    def _slot_names(self) -> list[str] | None:
        """Names of the slots, found on a scalar parameter; None if `slots` refuses a scalar."""
        make = self.spec.slots
        if make is None:
            return []
        options = dict(self.options)
        wanted = wanted_names(make, skip=1)
        fixed = {k: options[k] for k in wanted if k in options}
        if "param_dtype" in wanted:
            fixed["param_dtype"] = hyper_dtype()
        # Names do not depend on numbers, and most rules have the same slots for all shapes.
        hyperparams = {k: _placeholder() for k in wanted if k not in fixed}
        try:
            slots = jax.eval_shape(functools.partial(make, **fixed), _placeholder(), **hyperparams)
        except Exception:  # the slots of a matrix rule, for example
            return None
        return sorted(checked_dict(self.name, "slots", slots))

    @functools.cached_property
    def acts_on_rows(self) -> bool:
        """Whether an update of some rows may be computed from these rows alone."""
        declared = self.spec.row_sparse
        if not callable(declared):
            return declared
        # Hyperparameters have no values here: the answer may depend on options alone.
        arguments = {k: _placeholder() for k in self.hyperparam_names} | dict(self.options)
        return bool(call_by_name(self.name, "row_sparse", declared, arguments))

    @functools.cached_property
    def carried_names(self) -> tuple[str, ...]:
        """Names of the scalars that are carried from step to step, given the options."""
        carry = self.spec.carry
        if carry is None:
            return ()
        hyperparams = {k: _placeholder() for k in self.hyperparam_names}
        options = dict(self.options)

        def start(hyperparams: Scalars) -> Scalars:
            values = call_by_name(self.name, "carry", carry, hyperparams | options)
            return checked_dict(self.name, "carry", values)

        # An abstract call, because the numbers of a user are not part of this object.
        names = tuple(jax.eval_shape(start, hyperparams))
        taken = sorted({*names} & {*self.spec.arguments, "t", "count"})
        if taken:
            raise TypeError(
                f"{self.name}: carry declares {taken[0]!r}, a name under which step_scalars "
                "receives another value. Choose another name."
            )
        return names

    @functools.cached_property
    def counts_leaves(self) -> bool:
        """Whether a step scalar depends on the number of a leaf's updates, given the options."""
        scalars = self.spec.step_scalars
        if self.carried_names:
            return True
        if scalars is None or "t" not in wanted_names(scalars):
            return False
        # The function may take t, but use it with some options only. So its program is read.
        program, _ = self._scalar_program
        # The first input is t, and it is used if an equation or a result reads it.
        t = program.invars[0]
        return any(t is x for eqn in program.eqns for x in eqn.invars) or t in program.outvars

    @functools.cached_property
    def inexpensive_scalars(self) -> frozenset[str]:
        """Names of the step scalars that are one subtraction, such as 1 - b1."""
        if self.spec.step_scalars is None:
            return frozenset()
        program, names = self._scalar_program
        # A constant has a value, and a variable has none.
        variables = [[x for x in eqn.invars if not hasattr(x, "val")] for eqn in program.eqns]
        differences = [
            eqn.outvars[0]
            for eqn, read in zip(program.eqns, variables, strict=True)
            if eqn.primitive.name == "sub" and len(read) == 1 and read[0] in program.invars
        ]
        results = zip(names, program.outvars, strict=True)
        return frozenset(k for k, x in results if any(x is y for y in differences))

    @functools.cached_property
    def _scalar_program(self) -> tuple[Any, list[str]]:
        """The program of `step_scalars`, whose first input is t, and the names of its results."""
        others = {k: _placeholder() for k in (*self.hyperparam_names, *self.carried_names)}
        others["count"] = jax.ShapeDtypeStruct((), jnp.int32)

        def as_function_of_t(t: Array, others: Scalars) -> Scalars:
            return self.step_scalars(others | {"t": t})

        program, results = jax.make_jaxpr(as_function_of_t, return_shape=True)(
            _placeholder(), others
        )
        return program.jaxpr, sorted(results)

    @functools.cached_property
    def step_arguments(self) -> tuple[str, ...]:
        """Names of the arguments of the rule's `step_scalars`, given the options."""
        function = self.spec.step_scalars
        if function is None:
            return ()
        available = {*self.hyperparam_names, *dict(self.options), *self.carried_names, "t", "count"}
        shadowed = sorted({"t", "count"} & {*self.spec.arguments} & {*wanted_names(function)})
        if shadowed:
            raise TypeError(
                f"{self.name}: step_scalars takes {shadowed[0]!r}, which is both an argument of "
                "the rule and a number of the step. Rename the argument of the rule."
            )
        return tuple(checked_names(self.name, "step_scalars", function, available))

    def step_scalars(self, values: Mapping[str, Any]) -> Scalars:
        """Calls the rule's `step_scalars` with the values and options that it takes."""
        assert self.spec.step_scalars is not None
        options = dict(self.options)
        arguments = {k: options[k] if k in options else values[k] for k in self.step_arguments}
        return checked_dict(self.name, "step_scalars", self.spec.step_scalars(**arguments))


def _placeholder() -> jax.ShapeDtypeStruct:
    """Returns the shape and dtype of a scalar, for calls that need no more."""
    return jax.ShapeDtypeStruct((), hyper_dtype())


def checked_dict(rule: str, function: str, value: object) -> dict[str, Any]:
    """Returns the dict that a function of a rule has returned.

    Raises:
      TypeError: value is not a dict; the message names the rule and the function.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{rule}: {function} must return a dict, got {type(value).__name__}.")
    return dict(value)
