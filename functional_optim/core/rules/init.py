"""`init` of a rule: makes the state before the first update out of the parameters."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..caching import Interned
from ..leaf.dtypes import as_parameter, check_parameter, start_slots
from ..leaf.packing import pack
from ..numerics.casting import cast
from ..numerics.precision import compute_dtype, hyper_dtype
from ..numerics.validation import as_start, as_state
from ..protocol import PyTree
from ..state import State
from ..trees.placement import beside
from ..trees.sparse_rows import is_sparse
from ..trees.structure import is_absent, leaf_paths
from ..trees.varying import varying_as
from .bound_rule import BoundRule
from .by_label import ByLabel
from .rng_keys import Key
from .schedule import NumberedSchedule
from .spec import call_by_name, checked_dict, wanted_names

__all__ = ["ENGINE_FIELDS", "RuleInit", "replace_rule_inits", "state_names"]

Array = jax.Array

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


def state_names(state: State) -> tuple[list[str], list[str], list[str]]:
    """Returns the sorted names of a state's hyperparameters, schedules and slots."""
    fields = state._asdict()
    slots = sorted(fields.keys() - ENGINE_FIELDS)
    return sorted(fields.get("hyperparams", ())), sorted(fields.get("schedules", ())), slots


@dataclasses.dataclass(frozen=True)
class RuleInit:
    """`init` of a rule, with the numbers that go into the state.

    Attributes:
      rule: the rule with its options.
      numbers: hyperparameter -> number or schedule; one by label stands as `name.label`.
      init_numbers: numbers that only `slots` reads.
      keys: random keys.
      labels: hyperparameters that differ from leaf to leaf.
      text: the call that made the rule, for printing.
      pack: slots of leaves of at most so many elements are stacked; None stacks none.
      per_leaf_counts: whether the state counts the updates of each leaf from the start.
    """

    rule: BoundRule
    numbers: tuple[tuple[str, Any], ...]
    init_numbers: tuple[tuple[str, Any], ...] = ()
    keys: tuple[tuple[str, Key], ...] = ()
    labels: tuple[tuple[str, ByLabel], ...] = ()
    text: str = dataclasses.field(default="", compare=False)
    pack: int | None = None
    per_leaf_counts: bool = False

    @property
    def name(self) -> str:
        """Name of the rule's state in a chain."""
        return self.rule.name

    def __repr__(self) -> str:
        return self.text if self.pack is None else f"packed({self.text}, max_size={self.pack})"

    def __call__(self, params: PyTree) -> State:
        """Makes the state for `params`, whose leaves may be `jax.ShapeDtypeStruct`."""
        spec = self.rule.spec
        self.rule.prepare()
        treedef: Any
        leaves, treedef = jax.tree.flatten(params, is_leaf=is_sparse)
        for path, leaf in zip(leaf_paths(params), leaves, strict=True):
            _check_parameter(self.name, path, leaf)
        place = beside(leaves)
        numbers = self.hyperparams()
        labels = self.leaf_labels(params)
        slots = self._slots(
            leaves, self._by_leaf(numbers["hyperparams"], labels, len(leaves)), place
        )
        fields: dict[str, Any] = {"count": jnp.zeros((), np.int32)}
        counts_leaves = self.rule.counts_leaves or spec.slots is not None
        if self.per_leaf_counts and counts_leaves:
            fields["leaf_counts"] = jnp.zeros(len(leaves), np.int32)
        fields |= numbers
        if labels:
            fields["groups"] = {
                k: jnp.asarray([v.labels.index(label) for label in labels[k]], np.int32)
                for k, v in self.labels
            }
        if self.keys:
            fields["keys"] = {name: key.words() for name, key in self.keys}
        if self.rule.carried_names:
            fields["carry"] = self._carry(numbers["hyperparams"], labels, fields)
        stats = spec.tree_stats
        if stats.start is not None:
            what = "scalars" if spec.whole_tree else "start of tree_stats"
            known = dict(numbers["hyperparams"])
            if "params" in wanted_names(stats.start):
                arrays = map(as_parameter, leaves)
                known["params"] = [cast(x, compute_dtype(x.dtype)) for x in arrays]
            start = self._call(what, stats.start, known)
            # Copies, because a start may be a hyperparameter, or two starts one array.
            copies = {k: jnp.array(as_start(v), copy=True) for k, v in start.items()}
            fields["scalars"] = varying_as(copies, leaves)
        if stats.metrics:
            zeros = {k: jnp.zeros((), hyper_dtype()) for k in stats.metrics}
            fields["metrics"] = varying_as(zeros, leaves)
        fields = {k: jax.tree.map(place, v) for k, v in fields.items()}
        return State(**fields, **self._as_trees(treedef, leaves, slots))

    def _as_trees(
        self, treedef: Any, leaves: list[Any], slots: Mapping[str, list[Any]]
    ) -> dict[str, PyTree]:
        """Makes trees of the slots; those of small leaves may be stacked."""
        if self.pack is None:
            return {k: treedef.unflatten(v) for k, v in slots.items()}
        return pack(treedef, [as_parameter(x) for x in leaves], slots, self.pack)

    def _carry(
        self, hyper: Mapping[str, Array], labels: Mapping[str, list[str]], fields: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Returns the first carried scalars: `()`, or `(n,)` where leaves have counts or labels."""
        shared = dict(hyper)
        for name, value in self.labels:
            by_label = jnp.stack([shared.pop(f"{name}.{label}") for label in value.labels])
            shared[name] = by_label[fields["groups"][name]]
        assert self.rule.spec.carry is not None
        start = self._call("carry", self.rule.spec.carry, shared)
        for k, v in start.items():
            if jnp.shape(v) and not labels:
                raise ValueError(
                    f"{self.name}: carry starts {k!r} with shape {jnp.shape(v)}, and it must be a "
                    "scalar. Keep arrays as slots, or as start of tree_stats."
                )
        shape = fields["leaf_counts"].shape if "leaf_counts" in fields else ()
        if labels:
            shape = (len(next(iter(labels.values()))),)
        # Copies, because a hyperparameter that a scalar starts as is donated as well.
        return {
            k: jnp.array(jnp.broadcast_to(as_state(v), shape), copy=True) for k, v in start.items()
        }

    def leaf_labels(self, params: PyTree) -> dict[str, list[str]]:
        """Finds each leaf's label, for each hyperparameter that differs by label."""
        return {k: v.of_leaves(self.name, k, params) for k, v in self.labels}

    def _by_leaf(
        self, hyper: Mapping[str, Any], labels: Mapping[str, list[str]], n: int
    ) -> list[dict[str, Any]]:
        """Returns the hyperparameters of each of n leaves; for n = 0, of a placeholder."""
        if not labels:
            return [dict(hyper)] * max(n, 1)
        named = {k: labels[k] or list(v.labels[:1]) for k, v in self.labels}
        whole = {f"{k}.{label}" for k, v in self.labels for label in v.labels}
        shared = {k: v for k, v in hyper.items() if k not in whole}
        return [
            shared | {k: hyper[f"{k}.{by_leaf[i]}"] for k, by_leaf in named.items()}
            for i in range(max(n, 1))
        ]

    def _slots(
        self, leaves: list[Any], hyper: list[dict[str, Any]], place: Callable[[Array], Array]
    ) -> dict[str, list[Array]]:
        """Returns the slots, by name and then by leaf."""
        spec, dtypes = self.rule.spec, dict(self.rule.slot_dtypes)
        make_slots = spec.slots
        if make_slots is None:
            return {}
        wanted = wanted_names(make_slots, skip=1)

        def make(p: Array, i: int) -> Mapping[str, Array | None]:
            known = {"param_dtype": (leaves[i] if leaves else p).dtype}
            known |= dict(self.rule.options) | dict(self.init_numbers)
            numbers = {k: hyper[i][k] for k in wanted if k in hyper[i]}
            others = {k: _known(self.name, k, known) for k in wanted if k not in numbers}
            slots = make_slots(p, **cast(numbers, p.real.dtype), **others)
            return _arrays(self.name, checked_dict(self.name, "slots", slots))

        by_leaf = []
        leaves = [x if hasattr(x, "dtype") else jnp.asarray(x) for x in leaves]
        for i, leaf in enumerate(leaves):
            p = as_parameter(leaf)
            slots = start_slots(
                functools.partial(make, i=i), p, dtypes, split_complex=spec.split_complex
            )
            # A slot of the parameter's shape is sharded with it already.
            with_param = [k for k, v in slots.items() if is_absent(v) or v.shape == p.shape]
            by_leaf.append({k: v if k in with_param else place(v) for k, v in slots.items()})
        names = tuple(by_leaf[0]) if by_leaf else _names_of(functools.partial(make, i=0))
        self._check_slots(names, dtypes)
        return {k: [slots[k] for slots in by_leaf] for k in names}

    def _check_slots(self, names: tuple[str, ...], dtypes: Mapping[str, Any]) -> None:
        unknown = sorted(set(dtypes) - set(names) - {"*"})
        if unknown:
            arguments = self.rule.spec.arguments.values()
            by = next((a.name for a in arguments if unknown[0] in a.slots), "state_dtype")
            raise ValueError(
                f"{self.name}: {by} names the slot {unknown[0]!r}, which this rule does not keep. "
                f"Its slots are: {', '.join(names) or 'none'}."
            )
        hidden = sorted(k for k in names if k.startswith("_"))
        if hidden:
            raise ValueError(
                f"{self.name}: {hidden[0]!r} cannot be the name of a slot, because names with an "
                "underscore belong to the state itself. Choose another name."
            )
        taken = sorted(set(names) & set(ENGINE_FIELDS))
        if taken:
            raise ValueError(
                f"{self.name}: {taken[0]!r} cannot be the name of a slot, because the engine keeps "
                "a field of that name. Choose another name."
            )

    def _call(self, what: str, function: Callable[..., Any], hyper: Mapping[str, Any]) -> Any:
        known = dict(hyper) | dict(self.rule.options) | dict(self.init_numbers)
        return call_by_name(self.name, what, function, known)

    def hyperparams(self) -> dict[str, Any]:
        """Returns the state's fields that hold numbers, before the first update."""
        plans = {k: v for k, v in self.numbers if isinstance(v, NumberedSchedule)}
        numbers = {k: plan.initial_numbers() for k, plan in plans.items()}
        start = jnp.zeros((), np.int32)
        values = {
            k: as_state(v.evaluate(start, numbers[k]) if k in plans else v) for k, v in self.numbers
        }
        return {"hyperparams": values} | ({"schedules": numbers} if plans else {})


def _arrays(rule: str, slots: Mapping[str, Any]) -> Mapping[str, Any]:
    """Checks that slots are arrays, or None where a parameter does not have one."""
    for k, x in slots.items():
        if x is not None and not hasattr(x, "astype"):
            raise TypeError(
                f"{rule}: slots makes {x!r} for {k!r}, of type {type(x).__name__}, which must be "
                "an array. Return jnp.zeros_like(p) or jnp.zeros(()), for one."
            )
    return slots


def _names_of(make: Callable[[Array], Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of the slots, in their order; a matrix stands in where there is no parameter."""
    names: list[str] = []
    jax.eval_shape(lambda p: names.extend(make(p)), jnp.zeros((1, 1), hyper_dtype()))
    return tuple(names)


def _known(rule: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise TypeError(
            f"{rule}: slots asks for {name!r}, which is not an argument of the rule. Declare it as "
            "one, or leave it out."
        )
    return known[name]


def _check_parameter(rule: str, path: str, leaf: Any) -> None:
    if is_sparse(leaf):
        raise TypeError(
            f"{rule}: the parameter at '{path}' is a sparse array. Pass its todense(): gradients "
            "may be sparse, parameters are dense."
        )
    check_parameter(rule, path, leaf)


def replace_rule_inits(
    init: Any, change: Callable[[RuleInit], RuleInit | None]
) -> tuple[Any, bool]:
    """Changes the rules within the `init` of a transformation, through chains and wrappers.

    Args:
      init: of any transformation.
      change: returns the new `init` of a rule, or None to leave it as it is.

    Returns:
      The new init, and whether any rule was changed.
    """
    if isinstance(init, RuleInit):
        new = change(init)
        return (init, False) if new is None else (new, True)
    if type(init) is tuple:
        parts = [replace_rule_inits(x, change) for x in init]
        return tuple(x for x, _ in parts), any(changed for _, changed in parts)
    if not dataclasses.is_dataclass(init) or isinstance(init, type):
        return init, False
    fields = {
        f.name: replace_rule_inits(getattr(init, f.name), change) for f in dataclasses.fields(init)
    }
    if not any(is_changed for _, is_changed in fields.values()):
        return init, False
    values = {k: x for k, (x, _) in fields.items()}
    if isinstance(init, Interned):  # an equal one may live already, with its programs
        return type(init).of(*values.values()), True
    return dataclasses.replace(init, **values), True
