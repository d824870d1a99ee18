"""`leaf_rule` and `tree_rule`: make factories of transformations out of maths on arrays."""

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Concatenate, ParamSpec, get_args

import jax
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from .engine.fused import FusedUpdate
from .functions import as_function
from .numerics.validation import Interval, as_float_dtype, as_number
from .protocol import GradientTransformation, Hyperparameter
from .rules.arguments import Argument, Kind, StateDtype, read_arguments
from .rules.bound_rule import BoundRule
from .rules.by_label import ByLabel
from .rules.init import RuleInit
from .rules.rng_keys import Key, as_key
from .rules.schedule import Number, NumberedSchedule, numbered
from .rules.spec import RuleSpec, TreeStats, renamed_spec
from .signatures import bind, call_text
from .traced_hyperparams import WithTracedHyperparams, is_traced

__all__ = ["TreeStats", "leaf_rule", "renamed", "tree_rule"]

P = ParamSpec("P")
Array = jax.Array
Slots = Mapping[str, Array]

_NO_STATS = TreeStats()


def leaf_rule(
    maths: None = None,
    /,
    *,
    slots: Callable[..., Mapping[str, Array | None]] | None = None,
    step_scalars: Callable[..., Mapping[str, ArrayLike]] | None = None,
    carry: Callable[..., Mapping[str, ArrayLike]] | None = None,
    tree_stats: TreeStats = _NO_STATS,
    needs: tuple[str, ...] = (),
    needs_trees: tuple[str, ...] = (),
    split_complex: bool = True,
    keep_compute_dtype: bool = False,
    row_sparse: bool | Callable[..., bool] = False,
    stack_leaves: bool = False,
    state_dtype: bool = True,
    check: Callable[[Mapping[str, Any]], str | None] | None = None,
) -> Callable[
    [Callable[Concatenate[Any, Any, Any, Any, P], tuple[Array, Slots]]],
    Callable[P, GradientTransformation],
]:
    """Makes a factory of transformations out of maths on one array.

    The decorated function is `(g, slots, p, ctx, <hyperparameters>) -> (u, slots)`: the
    update of one leaf; its slots, read as `slots.mu` and returned as a dict; the parameter, if
    the rule needs `params`; and the scalars of this step, read as `ctx.name`. The arguments
    after these four are the hyperparameters: the factory takes them with the same names, order,
    kinds and defaults. Each may be a number, an array or a schedule; it is kept in the state,
    and the maths receives it as a scalar array in the leaf's precision.

    Further declarations of an argument are in its annotation, as metadata of
    `typing.Annotated`, from `functional_optim.rules`:

        b1: Annotated[float, Within("[0, 1)")]      the interval of concrete values
        nesterov: Static[bool]                      an option that shapes the program
        momentum: Annotated[float | None, Optional_]    None leaves the number out
        mu_dtype: Annotated[Any, SlotDtype("mu")]   the dtype of a slot, or of several
        initial_scale: Annotated[float, InitOnly]   read by `slots` only, and not kept
        key: Annotated[Any, RandomKey]              a key; the maths gets a new one at each
                                                    update and leaf, and reads `ctx.count`
        state_dtype: StateDtype                     the dtype of all slots, or a dict by slot;
                                                    a rule with slots has this argument

    The maths runs in float32 for narrower leaves, and on the real and the imaginary part in
    turn for complex ones. It is traced once for each distinct shape and dtype. `slots`,
    `step_scalars` and `carry` are called with the arguments that they name.

    Args:
      slots: `(p, <hyperparameters>) -> {name: array}`, the first slots of a leaf; None for a
        slot that this leaf does not have, and that the maths then neither reads nor returns. An
        argument `param_dtype` is the dtype of the parameter outside of the maths.
      step_scalars: `(<hyperparameters>, t) -> {name: scalar}`, values that depend on scalars
        alone, such as `1 - b1` or a bias correction. They are computed once for all leaves and
        read as `ctx.name`. `t` is the number of the leaf's updates with this one (1, 2, ...);
        leaves are counted only if a value depends on it. `count` is the number of updates before
        this one.
        The values may have shape `(n,)`, one for each leaf, where hyperparameters differ by label
        or leaves have separate counts: use elementwise maths and no branches.
      carry: `(<hyperparameters>) -> {name: start}`, scalars that are carried from step to step:
        `step_scalars` takes the last value and returns the next one, under the same name.
      tree_stats: quantities of the whole tree, such as its norm; see `TreeStats`.
      needs: the arguments of `update` that the rule needs beyond gradients: `params`, or the
        names of extra arguments, arrays that the maths reads from `ctx`.
      needs_trees: names of extra arguments that are trees shaped like the parameters; the
        maths reads its leaf of each from `ctx`.
      split_complex: whether a complex leaf is treated as two real ones, as torch does for
        elementwise maths; else the maths sees complex arrays, and real hyperparameters.
      keep_compute_dtype: if True, the update is not cast back to the gradient's dtype (it stays
        float32 for bfloat16): for a rule that decides the new parameter itself.
      row_sparse: whether a sparse update, a BCOO of some rows, may be computed from these rows
        of the slots and of the parameter alone: for elementwise maths that leaves rows without
        a gradient unchanged. Where that depends on options, a function of those.
      stack_leaves: whether four or more leaves of one shape are stacked, and the maths mapped over
        the stack, so that it is compiled once for each shape and not for each leaf: for many
        operations on a leaf, such as products of matrices, next to which the copies cost little.
      state_dtype: whether a rule with slots has the argument `state_dtype`; False where they
        hold integers, whose dtype is part of the maths.
      check: `{argument: value} -> message`, returns what is wrong with the combination of
        arguments and what to do, or None.

    Raises:
      TypeError: a declaration contradicts the function; the message names the rule.
    """

    _check_parentheses("leaf_rule", maths)

    def decorate(maths: Callable[..., tuple[Array, Slots]]) -> Callable[P, GradientTransformation]:
        return _make_factory(
            "leaf_rule",
            maths,
            state_dtype=state_dtype and slots is not None,
            slots=slots,
            step_scalars=step_scalars,
            carry=carry,
            tree_stats=tree_stats,
            needs=needs,
            needs_trees=needs_trees,
            split_complex=split_complex,
            keep_compute_dtype=keep_compute_dtype,
            row_sparse=row_sparse,
            stack_leaves=stack_leaves,
            check=check,
        )

    return decorate


def tree_rule(
    maths: None = None,
    /,
    *,
    slots: Callable[..., Mapping[str, Array]] | None = None,
    scalars: Callable[..., Mapping[str, ArrayLike]] | None = None,
    metrics: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
    needs_trees: tuple[str, ...] = (),
    keep_compute_dtype: bool = False,
    check: Callable[[Mapping[str, Any]], str | None] | None = None,
) -> Callable[
    [Callable[Concatenate[Any, Any, Any, Any, P], Any]], Callable[P, GradientTransformation]
]:
    """Makes a factory of transformations out of maths on the leaves of a whole tree.

    The decorated function is `(g, slots, p, ctx, <hyperparameters>) -> (u, slots, scalars)`, as
    for `leaf_rule`, but g, u, p and each slot are lists, with one entry for each leaf that has an
    update. Leaves are float32 or wider; complex leaves are not split. `scalars` has the next
    values of the declared scalars and metrics. `ctx` has their last values, `count`, the number
    of updates before this one, and the extra arguments that the rule needs. An argument that is a
    tree is read as the list of its leaves that have an update.

    `leaf_rule` explains the arguments that are not listed here.

    Args:
      scalars: `(<hyperparameters>) -> {name: start}`; a start may have any shape, and one that is
        an integer of NumPy stays an integer.
      metrics: names of scalars that users may read.
      needs: may contain `value_fn`: `ctx.value_fn` is then an `Objective` of these leaves.
    """

    _check_parentheses("tree_rule", maths)

    def decorate(maths: Callable[..., Any]) -> Callable[P, GradientTransformation]:
        return _make_factory(
            "tree_rule",
            maths,
            state_dtype=False,
            slots=slots,
            tree_stats=TreeStats(start=scalars, metrics=metrics),
            needs=needs,
            needs_trees=needs_trees,
            split_complex=False,
            keep_compute_dtype=keep_compute_dtype,
            check=check,
            whole_tree=True,
        )

    return decorate


def _check_parentheses(decorator: str, maths: object) -> None:
    # Without parentheses, Python passes the decorated function as the first argument.
    if maths is not None:
        name = getattr(maths, "__name__", repr(maths))
        raise TypeError(
            f"{decorator}: it decorates {name} without parentheses. Write @{decorator}(), with the "
            "declarations between them."
        )


_STATE_DTYPE = inspect.Parameter(
    "state_dtype", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=get_args(StateDtype)[0]
)


def _make_factory(
    decorator: str, maths: Callable[..., Any], *, state_dtype: bool, **fields: Any
) -> Callable[..., GradientTransformation]:
    """Makes the factory of a rule, which takes the arguments of the maths after the first four."""
    name = maths.__name__
    try:
        # Evaluated, because `from __future__ import annotations` turns annotations into texts.
        parameters = list(inspect.signature(maths, eval_str=True).parameters.values())
    except NameError as error:
        raise TypeError(
            f"{decorator}: the annotations of {name} cannot be evaluated: {error}. Import the "
            "names at run time."
        ) from error
    if len(parameters) < 4:
        raise TypeError(
            f"{decorator}: {name} must take (g, slots, p, ctx, ...), got {len(parameters)} "
            "arguments. It must have all four, also those that it does not use."
        )
    # An argument that is left out would move the first hyperparameter to its place.
    for parameter in parameters[:4]:
        is_bounded = hasattr(parameter.annotation, "__metadata__")
        if is_bounded or parameter.default is not parameter.empty:
            raise TypeError(
                f"{decorator}: {name} has the hyperparameter {parameter.name!r} among its first "
                "four arguments, which are (g, slots, p, ctx). It must have all four, also those "
                "that it does not use."
            )
    arguments, plain = read_arguments(name, parameters[4:])
    if state_dtype and "state_dtype" not in arguments:
        arguments["state_dtype"] = Argument("state_dtype", Kind.STATE_DTYPE)
        plain.append(_STATE_DTYPE)
    for what in ("needs", "needs_trees"):
        if isinstance(fields[what], str):
            raise TypeError(
                f"{decorator}: {name} declares {what}={fields[what]!r}, a text, which reads as one "
                f"name for each letter. Declare {what}=({fields[what]!r},)."
            )
    if fields.get("carry") is not None and fields.get("step_scalars") is None:
        raise TypeError(
            f"{decorator}: {name} declares carry without step_scalars, which returns the next "
            "values. Declare both."
        )
    stats: TreeStats = fields["tree_stats"]
    is_measured = stats.measure is not None or bool(stats.metrics)
    if stats.combine is None and is_measured and not fields.get("whole_tree"):
        raise TypeError(
            f"{decorator}: {name} declares tree_stats without combine, which makes the quantities "
            "of the tree. Declare it."
        )
    spec = RuleSpec(
        name=name,
        module=maths.__module__,
        maths=maths,
        signature=inspect.Signature(plain, return_annotation=GradientTransformation),
        arguments=arguments,
        **fields,
    )

    @functools.wraps(maths)
    def factory(*args: Any, **kwargs: Any) -> GradientTransformation:
        return _instantiate(spec, bind(name, spec.signature, args, kwargs))

    # help() and inspect show the factory's arguments, not those of the maths.
    factory.__signature__ = spec.signature  # type: ignore[attr-defined]
    factory.spec = spec  # type: ignore[attr-defined]
    return factory


def renamed(
    factory: Callable[..., GradientTransformation], **names: str
) -> Callable[..., GradientTransformation]:
    """Renames arguments of a rule's factory: `renamed(trace, decay="momentum")`.

    Errors, `get_hyperparams` and the state then have the name that the user wrote.
    """
    base: RuleSpec = factory.spec  # type: ignore[attr-defined]
    spec = renamed_spec(base, tuple(names.items()))

    @functools.wraps(factory)
    def call(*args: Any, **kwargs: Any) -> GradientTransformation:
        return _instantiate(spec, bind(spec.name, spec.signature, args, kwargs))

    call.__signature__ = spec.signature  # type: ignore[attr-defined]
    call.spec = spec  # type: ignore[attr-defined]
    return call


def _instantiate(spec: RuleSpec, values: Mapping[str, Any]) -> GradientTransformation:
    """Makes the transformation of a call: options decide the program, numbers are data."""
    # The check sees only the values of the first label, because there may be many combinations.
    plain = {k: v.values[0][1] if isinstance(v, ByLabel) else v for k, v in values.items()}
    message = spec.check(plain) if spec.check is not None else None
    if message:
        raise ValueError(f"{spec.name}: {message}")
    numbers: list[tuple[str, Number | NumberedSchedule]] = []
    options: list[tuple[str, Hashable]] = []
    schedules: list[tuple[str, Callable[..., Array]]] = []
    init_numbers: list[tuple[str, Number]] = []
    dtypes: dict[str, DTypeLike] = {}
    set_by: dict[str, str] = {}  # slot -> the argument that sets its dtype
    keys: list[tuple[str, Key]] = []
    by_label: list[tuple[str, ByLabel]] = []

    def add_number(name: str, value: Hyperparameter, where: str, interval: Interval | None) -> None:
        # The evaluation of a schedule is a part of the program, and its numbers are data.
        if callable(value):
            schedule = numbered(value)
            schedules.append((name, schedule.evaluate))
            numbers.append((name, schedule))
        else:
            numbers.append((name, as_number(value, where, interval)))

    def add_dtype(name: str, slot: str, dtype: DTypeLike) -> None:
        if slot in dtypes:
            raise ValueError(
                f"{spec.name}: {set_by[slot]} and {name} both set the dtype of the slot {slot!r}. "
                "Leave one out."
            )
        dtypes[slot], set_by[slot] = dtype, name

    # Options, schedules, dtypes and labels are fields of the rule, which decides the program.
    # Numbers and keys are fields of its init only, so that their values do not.
    for name, value in values.items():
        where = f"{spec.name}: {name}"
        argument = spec.arguments[name]
        if isinstance(value, ByLabel):
            _refuse_by_label(spec, argument, where)
            by_label.append((name, value))
            for label, v in value.values:
                add_number(f"{name}.{label}", v, f"{where} of {label!r}", argument.interval)
        elif argument.kind is Kind.STATE_DTYPE:
            for slot, dtype in _state_dtypes(spec, value):
                add_dtype(name, slot, dtype)
        elif argument.kind is Kind.SLOT_DTYPE:
            for slot in argument.slots if value is not None else ():
                add_dtype(name, slot, as_float_dtype(value, where))
        elif argument.kind is Kind.INIT_ONLY:
            init_numbers.append((name, as_number(value, where, argument.interval)))
        elif argument.kind is Kind.RANDOM_KEY:
            keys.append((name, as_key(value, where)))
        elif argument.kind is Kind.STATIC or (value is None and argument.optional):
            if isinstance(spec.signature.parameters[name].default, bool):
                _check_switch(value, where)
            # A class, such as a scalar type of JAX, is hashable and does not change.
            is_function = callable(value) and not isinstance(value, type)
            option = as_function(value) if is_function else value
            _check_hashable(option, where)
            options.append((name, option))
        else:
            add_number(name, value, where, argument.interval)
    rule = BoundRule.of(
        spec,
        tuple(options),
        tuple(schedules),
        # Sorted, so that the order of the arguments does not change the program.
        tuple(sorted(dtypes.items(), key=lambda d: d[0])),
        tuple((k, key.generator) for k, key in keys),
        tuple((k, v.labels) for k, v in by_label),
    )
    text = _call_text(spec, values)
    init = RuleInit(rule, tuple(numbers), tuple(init_numbers), tuple(keys), tuple(by_label), text)
    update = FusedUpdate.of((rule,))
    # A tracer cannot be a part of an interned update, which outlives the trace.
    traced = tuple((k, v) for k, v in numbers if is_traced(v))
    return GradientTransformation(init, WithTracedHyperparams(update, traced) if traced else update)


def _call_text(spec: RuleSpec, values: Mapping[str, Any]) -> str:
    """Writes the call that makes a rule, with the original names of renamed arguments."""
    if spec.renamed_from is not None:
        base, names = spec.renamed_from
        new_names = dict(names)
        return _call_text(base, {k: values[new_names.get(k, k)] for k in base.signature.parameters})
    return call_text(spec.name, spec.signature, values)


def _refuse_by_label(spec: RuleSpec, argument: Argument, where: str) -> None:
    """Raises TypeError if all leaves must have the same value of an argument."""
    is_fixed = argument.kind is not Kind.HYPERPARAMETER
    if is_fixed or spec.whole_tree or argument.name in spec.tree_stats.arguments:
        reason = (
            "it is settled before the first update" if is_fixed else "the rule reads the whole tree"
        )
        raise TypeError(
            f"{where} cannot be given by label, because {reason}. Give one value, or a "
            "transformation for each label to partition."
        )


def _check_switch(value: Any, where: str) -> None:
    """Raises TypeError if the value of a switch is not a boolean but, for example, a decay."""
    if not isinstance(value, (bool, np.bool_)) and (np.ndim(value) or value not in (0, 1)):
        raise TypeError(f"{where} must be True or False, got {value!r}.")


def _check_hashable(value: object, where: str) -> None:
    """Raises TypeError if an option, which is part of the program's key, cannot be hashed."""
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"{where} shapes the program, and must be hashable, got {type(value).__name__} "
            f"{value!r}. Pass a Python number, a text or a tuple."
        ) from None


def _state_dtypes(spec: RuleSpec, value: object) -> list[tuple[str, DTypeLike]]:
    """Returns the dtypes of `state_dtype` by slot; one dtype for all slots has the name `*`."""
    if value is None:
        return []
    where = f"{spec.name}: state_dtype"
    if isinstance(value, Mapping):
        return [(k, as_float_dtype(v, f"{where}[{k!r}]")) for k, v in value.items()]
    return [("*", as_float_dtype(value, where))]
