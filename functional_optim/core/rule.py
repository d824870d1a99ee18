"""Rules: how an author declares the maths of one array, and what a user's call makes of it."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec

import jax
import numpy as np

from .binding import bind, call_text
from .bound import Bound, is_traced
from .by_label import ByLabel
from .context import Now
from .engine import Rule
from .keys import as_key
from .numbers import Interval, as_float_dtype, as_number
from .protocol import GradientTransformation
from .rule_init import RuleInit
from .schedule import numbered

__all__ = ["Now", "Rule", "instantiate", "leaf_rule", "make_factory", "renamed"]

P = ParamSpec("P")
Array = jax.Array
Slots = Mapping[str, Array]


def leaf_rule(
    *,
    slots: Callable[..., Mapping[str, Array | None]] | None = None,
    clock: Callable[..., tuple[Mapping[str, Any], Mapping[str, Array]]] | None = None,
    memory: tuple[str, ...] | Callable[..., tuple[str, ...]] = (),
    measure: Callable[..., Mapping[str, Array]] | None = None,
    combine: Callable[..., Mapping[str, Array]] | None = None,
    metrics: tuple[str, ...] = (),
    scalars: Callable[..., Mapping[str, Any]] | None = None,
    static: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    initial: tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
    slot_dtypes: Mapping[str, str] | None = None,
    bounds: Mapping[str, str] | None = None,
    requires: tuple[str, ...] = (),
    requires_trees: tuple[str, ...] = (),
    exact: bool = False,
    parts: bool = True,
    rows: bool | Callable[..., bool] = False,
    check: Callable[[Mapping[str, Any]], str | None] | None = None,
) -> Callable[
    [Callable[Concatenate[Any, Any, Any, Any, P], tuple[Array, Slots]]],
    Callable[P, GradientTransformation],
]:
    """Makes a factory of transformations out of maths on one array.

    The decorated function is `(g, slots, p, now, <hyperparameters>) -> (u, slots)`: the
    update of one leaf, the arrays kept for it (read as `slots.mu`, returned as a mapping),
    the parameter (None unless the rule requires `params`), and the scalars of this step.
    What follows those four are the hyperparameters: the factory takes them with the same
    names, order, kinds and defaults. Each may be a number, an array or a schedule; it is
    kept in the state, and the maths receives it as a scalar array in the leaf's precision.

    The maths runs in float32 for narrower leaves, and on the real and the imaginary part in
    turn for complex ones. It is traced once for each distinct shape and dtype.

    Args:
      slots: `(p, <any hyperparameters, by name>) -> {name: array}`, the arrays kept for a
        leaf, as they start; None for one that this leaf has no use for, which the maths then
        neither reads nor returns. An argument `param_dtype` is the dtype that p has outside.
      clock: `(t, memory, **hyperparameters) -> (scalars, memory)`: what depends on a leaf's
        number of updates `t` and not on its array, computed for all leaves at once (each
        value has shape `(n,)`); the scalars reach the maths through `now`.
        Without slots, a rule with a clock must require `params`.
      memory: names of the scalars per leaf that the clock keeps from one step to the next; where
        they depend on options, a function of those, which sees whether an optional number is None.
      measure: `(g, slots, p, now, **hyperparameters) -> {name: ()}`, what to measure on each
        leaf, before any is updated; `now` has the tree's quantities as the last step left them.
      combine: `({name: (n,)}, last, **hyperparameters) -> {name: ()}`: makes the quantities of
        the whole tree out of the leaves', the last ones, and what the rule requires. They
        reach the maths through `now`. The first argument is None where no leaf has an update, or
        nothing is measured.
      scalars: `(<any hyperparameters, by name>) -> {name: start}`, the quantities that the
        rule needs to go on: `combine` returns their next values.
      metrics: names of the quantities, also returned by `combine`, that are there to be read.
      static: hyperparameters that shape the program (a switch, a mode, a count of rounds).
      optional: hyperparameters that may be None: the maths then sees None, nothing of them is
        in the state, and the program is another.
      initial: numbers that only `slots` reads: they are not kept, and the maths, whose
        signature declares them, is not given them.
      keys: keys of random numbers, each kept in the state as it was given. The maths receives
        one of its own for each update and each leaf, and reads `now.count`, the number of updates
        before this one. Of a complex leaf, both parts would get the same: see `parts`.
      slot_dtypes: argument -> slot whose dtype it sets, as `{"mu_dtype": "mu"}`.
      bounds: hyperparameter -> the interval in which a concrete value must lie.
      requires: what `update` must be given beyond gradients: `params`, or the name of an
        extra argument, an array that the maths reads from `now`.
      requires_trees: names of extra arguments that are trees shaped like the parameters; the
        maths reads its leaf of each from `now`.
      exact: whether the update leaves in the precision of the computation, float32 for a
        narrower parameter: for a rule that decides the new parameter itself.
      parts: whether a complex leaf is treated as two real ones, as torch does for elementwise
        maths; without it the maths sees complex arrays, and real hyperparameters.
      rows: whether a sparse update, a BCOO of some rows, may be computed from these rows of
        the slots and of the parameter alone: for elementwise maths that leaves rows without a
        gradient as they are. Where that depends on options, a function of those, as for memory.
      check: `{argument: value} -> message`, what is wrong with arguments that do not go
        together and what to do, or None.
    """

    def decorate(maths: Callable[..., tuple[Array, Slots]]) -> Callable[P, GradientTransformation]:
        parameters = list(inspect.signature(maths).parameters.values())[4:]
        if slots is not None and "state_dtype" not in {p.name for p in parameters}:
            parameters.append(_STATE_DTYPE)
        _check_names(
            maths.__name__, parameters, static, optional, initial, keys, bounds, slot_dtypes
        )
        return make_factory(
            Rule,
            maths,
            parameters,
            slots=slots,
            clock=clock,
            memory=memory,
            measure=measure,
            combine=combine,
            metrics=metrics,
            scalars=scalars,
            static=static,
            optional=optional,
            initial=initial,
            keys=keys,
            slot_dtypes=dict(slot_dtypes or {}),
            bounds=bounds,
            requires=requires,
            requires_trees=requires_trees,
            exact=exact,
            parts=parts,
            rows=rows,
            check=check,
        )

    return decorate


def make_factory(
    kind: type[Rule],
    maths: Callable[..., Any],
    parameters: list[inspect.Parameter],
    bounds: Mapping[str, str] | None,
    **parts: Any,
) -> Callable[..., GradientTransformation]:
    """The factory of a rule of some kind, whose arguments are `parameters`.

    Args:
      parts: the other fields of the rule.
    """
    rule = kind(
        name=maths.__name__,
        module=maths.__module__,
        leaf=maths,
        signature=inspect.Signature(parameters, return_annotation=GradientTransformation),
        bounds={k: Interval(v) for k, v in (bounds or {}).items()},
        **parts,
    )

    @functools.wraps(maths)
    def factory(*args: Any, **kwargs: Any) -> GradientTransformation:
        return instantiate(rule, bind(rule.name, rule.signature, args, kwargs), {})

    factory.__signature__ = rule.signature  # type: ignore[attr-defined]
    factory.rule = rule  # type: ignore[attr-defined]
    return factory


def _check_names(name: str, parameters: list[inspect.Parameter], *declared: Any) -> None:
    """Raises where a declaration names an argument that the maths does not have."""
    known = {p.name for p in parameters}
    unknown = sorted({k for names in declared for k in names or ()} - known)
    if unknown:
        raise TypeError(f"leaf_rule: {name} declares {unknown[0]!r}, which is no argument of it.")


_STATE_DTYPE = inspect.Parameter(
    "state_dtype", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Any
)


def renamed(
    factory: Callable[..., GradientTransformation], **names: str
) -> Callable[..., GradientTransformation]:
    """The factory of a rule with other argument names: `renamed(trace, decay="momentum")`."""
    rule: Rule = factory.rule  # type: ignore[attr-defined]
    old = {new: k for k, new in names.items()}
    parameters = [p.replace(name=names.get(k, k)) for k, p in rule.signature.parameters.items()]
    signature = rule.signature.replace(parameters=parameters)

    @functools.wraps(factory)
    def call(*args: Any, **kwargs: Any) -> GradientTransformation:
        given = bind(rule.name, signature, args, kwargs)
        return instantiate(rule, {old.get(k, k): v for k, v in given.items()}, names)

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def instantiate(
    rule: Rule, given: Mapping[str, Any], names: Mapping[str, str]
) -> GradientTransformation:
    """Sorts the arguments into what shapes the program and what is data.

    `names` are those by which the caller knows arguments, where they are others.
    """
    # What goes together is not asked of each label: the first value stands for all.
    plain = {k: v.values[0][1] if isinstance(v, ByLabel) else v for k, v in given.items()}
    wrong = rule.check(plain) if rule.check is not None else None
    if wrong:
        raise ValueError(f"{rule.name}: {wrong}")
    numbers: list[tuple[str, Any]] = []
    options: list[tuple[str, Any]] = []
    schedules: list[tuple[str, Any]] = []
    starts: list[tuple[str, Any]] = []
    dtypes: list[tuple[str, Any]] = []
    keys: list[tuple[str, Any]] = []
    groups: list[tuple[str, ByLabel]] = []

    def number(name: str, value: Any, where: str, bounds: Interval | None) -> None:
        if callable(value):
            plan = numbered(value)
            schedules.append((name, plan.evaluate))
            numbers.append((name, plan))
        else:
            numbers.append((name, as_number(value, where, bounds)))

    for name, value in given.items():
        where = f"{rule.name}: {names.get(name, name)}"
        if isinstance(value, ByLabel):
            _check_by_label(rule, name, where)
            groups.append((name, value))
            for label, v in value.values:
                own = f"{where} of {label!r}"
                number(f"{name}.{label}", v, own, rule.bounds.get(name))
        elif name == "state_dtype":
            dtypes += _state_dtypes(rule, value)
        elif name in rule.slot_dtypes:
            if value is not None:
                dtypes.append((rule.slot_dtypes[name], as_float_dtype(value, where)))
        elif name in rule.initial:
            starts.append((name, as_number(value, where, rule.bounds.get(name))))
        elif name in rule.keys:
            keys.append((name, as_key(value, where)))
        elif name in rule.static or (value is None and name in rule.optional):
            if isinstance(rule.signature.parameters[name].default, bool):
                _check_switch(value, where)
            options.append((name, value))
        else:
            number(name, value, where, rule.bounds.get(name))
    kept_as = tuple(sorted(dtypes, key=lambda d: d[0]))
    generators = tuple((k, key.generator) for k, key in keys)
    labels = tuple((k, v.labels) for k, v in groups)
    update = rule.make_update(tuple(options), tuple(schedules), kept_as, generators, labels)
    text = call_text(rule.name, rule.signature, given)
    init = RuleInit(update, tuple(numbers), tuple(starts), tuple(keys), tuple(groups), text)
    traced = tuple((k, v) for k, v in numbers if is_traced(v))
    return GradientTransformation(init, Bound(update, traced) if traced else update)


def _check_by_label(rule: Rule, name: str, where: str) -> None:
    """Raises where all leaves must have the same value of an argument."""
    shaping = {"state_dtype", *rule.slot_dtypes, *rule.static, *rule.initial, *rule.keys}
    if name in shaping or not rule.by_leaf or rule.combine is not None:
        settled = "it is settled before the first update"
        reason = settled if name in shaping else "the rule reads the whole tree"
        raise TypeError(
            f"{where} cannot be given by label: {reason}. Give one value, or a transformation for "
            "each label to partition."
        )


def _check_switch(value: Any, where: str) -> None:
    """Raises where what is on or off is given as something else, such as a decay."""
    if not isinstance(value, (bool, np.bool_)) and value not in (0, 1):
        raise TypeError(f"{where} must be True or False, got {value!r}.")


def _state_dtypes(rule: Rule, value: Any) -> list[tuple[str, Any]]:
    """Reads `state_dtype`: one dtype for all slots (under the name `*`), or a dict by slot."""
    if value is None:
        return []
    where = f"{rule.name}: state_dtype"
    if isinstance(value, Mapping):
        return [(k, as_float_dtype(v, f"{where}[{k!r}]")) for k, v in value.items()]
    return [("*", as_float_dtype(value, where))]
