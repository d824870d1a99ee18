"""A rule as its author declares it: pure data, which the engine reads."""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .arguments import Argument, Kind

__all__ = [
    "OTHER_ARGUMENT_NAMES",
    "RULE_NAMES",
    "RuleSpec",
    "TreeStats",
    "call_by_name",
    "checked_dict",
    "checked_names",
    "renamed_spec",
    "wanted_names",
]


@dataclasses.dataclass(frozen=True)
class TreeStats:
    """Quantities of the whole tree, which are known before any leaf is updated.

    Attributes:
      prepare: `(last, **hyperparameters) -> {name: ()}`, scalars of this step that come before any
        measurement: `measure`, `combine` and the maths find them with the last quantities. `last`
        has `count` as well, the number of updates before this one.
      measure: `(g, slots, p, ctx, **hyperparameters) -> {name: ()}`, what to measure on each leaf;
        `ctx` has the quantities of the last step. Of a rule that treats complex leaves as pairs of
        real ones, it gets both parts as one real array, `(2, *p)`.
      combine: `({name: (n,)}, last, **hyperparameters) -> {name: ()}`, makes the quantities out of
        the measurements, the last quantities, and what the rule needs. They reach the maths
        through `ctx`, those that the state does not keep as well. The first argument is None where
        no leaf has an update, or nothing is measured.
      rescale: `({name: (n,)}) -> ()`, the factor with which the measurements must be repeated,
        because they over- or underflowed, or 1 where they are sound. `measure` multiplies by
        `ctx.scale`, if there is one, and `combine` finds the factor as `last["scale"]`. The
        repetition is under `lax.cond`, so that sound measurements do not pay for it.
      start: `(<any hyperparameters, by name>) -> {name: start}`, the quantities that the state
        keeps, because `combine` needs their last values. An argument `params` is the list of the
        parameters.
      metrics: names of the quantities that are there to be read by users.
    """

    prepare: Callable[..., Mapping[str, Any]] | None = None
    measure: Callable[..., Mapping[str, Any]] | None = None
    combine: Callable[..., Mapping[str, Any]] | None = None
    rescale: Callable[[Mapping[str, Any]], Any] | None = None
    start: Callable[..., Mapping[str, Any]] | None = None
    metrics: tuple[str, ...] = ()

    @property
    def arguments(self) -> set[str]:
        """Names of what the functions read, hyperparameters among them."""
        functions = (self.prepare, self.measure, self.combine, self.start)
        return {name for f in functions if f is not None for name in wanted_names(f)}


OTHER_ARGUMENT_NAMES: dict[str, set[str]] = {}
"""Argument of a rule -> what renamed rules call it, and the reverse."""

RULE_NAMES: set[str] = set()
"""Names of all rules; a link of another name has been given that name by a user."""


@dataclasses.dataclass(frozen=True, eq=False)
class RuleSpec:
    """What the author of a rule declared; `leaf_rule` and `tree_rule` say what each part is.

    Attributes:
      name: of the rule, and of its state within a chain.
      module: where the factory is found, for pickle.
      maths: the decorated function.
      signature: of the factory.
      arguments: what each argument is.
      whole_tree: whether the maths is of all leaves together.
      renamed_from: the rule of which this one differs in the names of some arguments, and those
        names, `(there, here)`.
    """

    name: str
    module: str
    maths: Callable[..., Any]
    signature: inspect.Signature
    arguments: Mapping[str, Argument]
    slots: Callable[..., Mapping[str, Any]] | None = None
    step_scalars: Callable[..., Mapping[str, Any]] | None = None
    carry: Callable[..., Mapping[str, Any]] | None = None
    tree_stats: TreeStats = TreeStats()
    needs: tuple[str, ...] = ()
    needs_trees: tuple[str, ...] = ()
    split_complex: bool = True
    keep_compute_dtype: bool = False
    row_sparse: bool | Callable[..., bool] = False
    check: Callable[[Mapping[str, Any]], str | None] | None = None
    whole_tree: bool = False
    renamed_from: "tuple[RuleSpec, tuple[tuple[str, str], ...]] | None" = None

    def __post_init__(self) -> None:
        RULE_NAMES.add(self.name)

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Names of the arguments of some kinds."""
        return [k for k, a in self.arguments.items() if a.kind in kinds]

    @functools.cached_property
    def reads_params(self) -> bool:
        """Whether the maths is given the parameter."""
        return "params" in self.needs

    def __reduce__(self) -> tuple[Any, ...]:
        if self.renamed_from is not None:
            return renamed_spec, self.renamed_from
        return _find_spec, (self.module, self.name)


def _find_spec(module: str, name: str) -> RuleSpec:
    return getattr(importlib.import_module(module), name).spec


@functools.cache
def renamed_spec(spec: RuleSpec, names: tuple[tuple[str, str], ...]) -> RuleSpec:
    """Returns the same rule with other names of some arguments, also in its state: `(old, new)`."""
    new: dict[str, str] = dict(names)
    functions: dict[str, Any] = {}
    for pair in (*names, *((b, a) for a, b in names)):
        OTHER_ARGUMENT_NAMES.setdefault(pair[0], set()).add(pair[1])
    for field in ("maths", "slots", "step_scalars", "carry", "row_sparse"):
        function = getattr(spec, field)
        functions[field] = _renaming(function, new) if callable(function) else function
    stats = spec.tree_stats
    made: dict[str, Any] = {}
    for field in ("prepare", "measure", "combine", "start"):
        function = getattr(stats, field)
        made[field] = None if function is None else _renaming(function, new)
    check = spec.check
    parameters = [p.replace(name=new.get(k, k)) for k, p in spec.signature.parameters.items()]
    arguments = {
        new.get(k, k): dataclasses.replace(a, name=new.get(k, k)) for k, a in spec.arguments.items()
    }
    return dataclasses.replace(
        spec,
        **functions,
        signature=spec.signature.replace(parameters=parameters),
        arguments=arguments,
        tree_stats=dataclasses.replace(stats, **made),
        check=None if check is None else lambda given: check(_renamed_back(given, new)),
        renamed_from=(spec, names),
    )


def _renamed_back(given: Mapping[str, Any], new: Mapping[str, str]) -> dict[str, Any]:
    old = {v: k for k, v in new.items()}
    return {old.get(k, k): v for k, v in given.items()}


def _renaming(function: Callable[..., Any], new: Mapping[str, str]) -> Callable[..., Any]:
    """Returns a function whose arguments have other names."""
    signature = inspect.signature(function)
    parameters = [p.replace(name=new.get(k, k)) for k, p in signature.parameters.items()]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **_renamed_back(kwargs, new))

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def wanted_names(function: Callable[..., Any], skip: int = 0) -> list[str]:
    """Names of a function's arguments, after the first `skip`."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    return [p.name for p in parameters if p.kind not in kinds]


def call_by_name(
    rule: str, what: str, function: Callable[..., Any], known: Mapping[str, Any]
) -> Any:
    """Calls a function of a rule with those of the known values that it names."""
    return function(**{k: known[k] for k in checked_names(rule, what, function, known)})


def checked_names(
    rule: str, what: str, function: Callable[..., Any], known: Collection[str]
) -> list[str]:
    """Names of the known values that a function of a rule asks for.

    An argument with a default may be unknown, such as a scalar that is carried with some options.

    Raises:
      TypeError: it names what is not known; the message says what is.
    """
    names = []
    for name in wanted_names(function):
        if name in known:
            names.append(name)
        elif inspect.signature(function).parameters[name].default is inspect.Parameter.empty:
            raise TypeError(
                f"{rule}: {what} asks for {name!r}, which is not an argument of the rule. It may "
                f"ask for: {', '.join(sorted(known)) or 'nothing'}."
            )
    return names


def checked_dict(rule: str, what: str, value: Any) -> dict[str, Any]:
    """Checks that a function of a rule returned a dict, and returns it.

    Raises:
      TypeError: it is not; the message names the rule.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{rule}: {what} must return a dict, got {type(value).__name__}.")
    return dict(value)
