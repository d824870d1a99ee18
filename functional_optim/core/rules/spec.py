"""A rule as its author declares it: data that the engine reads."""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import jax
from jax.typing import ArrayLike

from .arguments import Argument, Kind

__all__ = [
    "OTHER_ARGUMENT_NAMES",
    "RULE_NAMES",
    "RuleSpec",
    "TreeStats",
    "call_by_name",
    "checked_names",
    "renamed_spec",
    "wanted_names",
]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class TreeStats:
    """Quantities of the whole tree, computed before any leaf is updated.

    Attributes:
      prepare: `(last, **hyperparameters) -> {name: ()}`, scalars that are computed before the
        measurements; `measure`, `combine` and the maths read them like the last quantities. `last`
        also has `count`, the number of updates before this one.
      measure: `(g, slots, p, ctx, **hyperparameters) -> {name: ()}`, the measurements of a leaf;
        `ctx` has the quantities of the last step. If the rule splits complex leaves into two real
        ones, both parts are passed as one real array, `(2, *p)`.
      combine: `({name: (n,)}, last, **hyperparameters) -> {name: ()}`, computes the quantities from
        the measurements, the last quantities, and the extra arguments that the rule needs. The
        maths reads all of them from `ctx`, also those that the state does not keep. The first
        argument is None if no leaf has an update, or nothing is measured.
      rescale: `({name: (n,)}) -> ()`, the factor with which the measurements must be repeated,
        because they over- or underflowed, or 1 where they are sound. `measure` multiplies by
        `ctx.scale`, if there is one, and `combine` finds the factor as `last["scale"]`. The
        repetition is in a branch of `lax.cond`, so that sound measurements do not pay for it.
      start: `(<any hyperparameters, by name>) -> {name: start}`, the quantities that the state
        keeps, because `combine` needs their last values. An argument `params` is the list of the
        parameters.
      metrics: names of the quantities that users may read.
      sums: names of slots, `()` for each leaf, whose sums over all leaves users may read as metrics
        of those names. The sums have the values after the update.
    """

    prepare: Callable[..., Mapping[str, ArrayLike]] | None = None
    measure: Callable[..., Mapping[str, ArrayLike]] | None = None
    combine: Callable[..., Mapping[str, ArrayLike]] | None = None
    rescale: Callable[[Mapping[str, jax.Array]], jax.Array] | None = None
    start: Callable[..., Mapping[str, ArrayLike]] | None = None
    metrics: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()

    @property
    def arguments(self) -> set[str]:
        """Names of all arguments of the functions, hyperparameters among them."""
        functions = (self.prepare, self.measure, self.combine, self.start)
        return {name for f in functions if f is not None for name in wanted_names(f)}


OTHER_ARGUMENT_NAMES: dict[str, set[str]] = {}
"""Argument of a rule -> its names in renamed rules, and the reverse."""

RULE_NAMES: set[str] = set()
"""Names of all rules. A link of another name was named by a user."""


# Compares by identity: a spec is in the key of each compiled update, which is looked up at each
# step.
@dataclasses.dataclass(frozen=True, eq=False)
class RuleSpec:
    """The declarations of a rule's author; `leaf_rule` and `tree_rule` document the other fields.

    Attributes:
      name: name of the rule, and of its state within a chain.
      module: the module of the factory, for pickle.
      maths: the decorated function.
      signature: signature of the factory.
      arguments: the declaration of each argument.
      whole_tree: whether the maths computes all leaves together.
      reads_params: whether the maths reads the parameter.
      renamed_from: for a renamed rule, the original rule, and `(original name, new name)` of each
        renamed argument; else None.
    """

    name: str
    module: str
    maths: Callable[..., Any]
    signature: inspect.Signature
    arguments: Mapping[str, Argument]
    slots: Callable[..., Mapping[str, jax.Array | None]] | None = None
    step_scalars: Callable[..., Mapping[str, ArrayLike]] | None = None
    carry: Callable[..., Mapping[str, ArrayLike]] | None = None
    tree_stats: TreeStats = TreeStats()
    needs: tuple[str, ...] = ()
    needs_trees: tuple[str, ...] = ()
    split_complex: bool = True
    keep_compute_dtype: bool = False
    row_sparse: bool | Callable[..., bool] = False
    stack_leaves: bool = False
    check: Callable[[Mapping[str, Any]], str | None] | None = None
    whole_tree: bool = False
    renamed_from: "tuple[RuleSpec, tuple[tuple[str, str], ...]] | None" = None
    reads_params: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads_params", "params" in self.needs)
        # Read by `interop`, which tells names of rules from names that users chose.
        RULE_NAMES.add(self.name)

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Returns the names of the arguments of some kinds."""
        return [k for k, a in self.arguments.items() if a.kind in kinds]

    def __reduce__(self) -> tuple[object, ...]:
        # By name, because the functions of a rule are replaced by its factory in their module.
        if self.renamed_from is not None:
            return renamed_spec, self.renamed_from
        return _find_spec, (self.module, self.name)


def _find_spec(module: str, name: str) -> RuleSpec:
    return getattr(importlib.import_module(module), name).spec


# Cached, because specs compare by identity, and two equal renamed rules must be one.
@functools.cache
def renamed_spec(spec: RuleSpec, names: tuple[tuple[str, str], ...]) -> RuleSpec:
    """Returns the rule with other names of some arguments, also in its state.

    Args:
      spec: the rule.
      names: `(old name, new name)` of each argument that is renamed.
    """
    new_names: dict[str, str] = dict(names)
    functions: dict[str, Any] = {}
    # In both directions, because a state of either rule may be restored to the other.
    for pair in (*names, *((b, a) for a, b in names)):
        OTHER_ARGUMENT_NAMES.setdefault(pair[0], set()).add(pair[1])
    for field in ("maths", "slots", "step_scalars", "carry", "row_sparse"):
        function = getattr(spec, field)
        functions[field] = _renaming(function, new_names) if callable(function) else function
    stats = spec.tree_stats
    stats_functions: dict[str, Any] = {}
    # Not `rescale`, which takes no hyperparameters.
    for field in ("prepare", "measure", "combine", "start"):
        function = getattr(stats, field)
        stats_functions[field] = None if function is None else _renaming(function, new_names)
    check = spec.check
    parameters = [p.replace(name=new_names.get(k, k)) for k, p in spec.signature.parameters.items()]
    arguments = {
        new_names.get(k, k): dataclasses.replace(a, name=new_names.get(k, k))
        for k, a in spec.arguments.items()
    }
    # The maths keeps the names that its author chose; only what users and states see is renamed.
    return dataclasses.replace(
        spec,
        **functions,
        signature=spec.signature.replace(parameters=parameters),
        arguments=arguments,
        tree_stats=dataclasses.replace(stats, **stats_functions),
        check=None if check is None else lambda values: check(_with_old_names(values, new_names)),
        renamed_from=(spec, names),
    )


def _with_old_names(values: Mapping[str, T], new_names: Mapping[str, str]) -> dict[str, T]:
    old_names = {new: old for old, new in new_names.items()}
    return {old_names.get(k, k): v for k, v in values.items()}


def _renaming(function: Callable[..., Any], new_names: Mapping[str, str]) -> Callable[..., Any]:
    """Returns a function whose arguments have other names."""
    # The engine passes arguments by the names in the signature, so it has the new ones.
    signature = inspect.signature(function)
    parameters = [p.replace(name=new_names.get(k, k)) for k, p in signature.parameters.items()]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **_with_old_names(kwargs, new_names))

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def wanted_names(function: Callable[..., Any], skip: int = 0) -> list[str]:
    """Returns the names of a function's arguments, after the first `skip`."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    return [p.name for p in parameters if p.kind not in kinds]


def call_by_name(rule: str, name: str, function: Callable[..., T], values: Mapping[str, Any]) -> T:
    """Calls a function of a rule with those of the values that are its arguments."""
    return function(**{k: values[k] for k in checked_names(rule, name, function, values)})


def checked_names(
    rule: str, function_name: str, function: Callable[..., Any], available: Collection[str]
) -> list[str]:
    """Returns the names of the available values that are arguments of a function of a rule.

    An argument with a default may be missing, such as a scalar that is carried with some options.

    Raises:
      TypeError: a value is not available; the message lists the available ones.
    """
    names = []
    for name in wanted_names(function):
        if name in available:
            names.append(name)
        elif inspect.signature(function).parameters[name].default is inspect.Parameter.empty:
            raise TypeError(
                f"{rule}: {function_name} takes {name!r}, which is not an argument of the rule. It "
                f"may take: {', '.join(sorted(available)) or 'nothing'}."
            )
    return names
