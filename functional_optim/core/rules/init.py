"""`init` of a rule: makes the state for the parameters, before the first update."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef
from jax.typing import DTypeLike

from ..caching import Interned
from ..leaf.dtypes import as_parameter, check_parameter, init_slots
from ..leaf.packing import pack
from ..numerics.precision import cast, compute_dtype, hyper_dtype, real_dtype
from ..numerics.validation import as_start, as_state
from ..protocol import NoSlot, PyTree
from ..signatures import named_init
from ..state import State
from ..trees.placement import mesh_placer
from ..trees.structure import is_sparse, leaf_paths
from ..trees.varying import varying_as
from .bound_rule import ENGINE_FIELDS, BoundRule, checked_dict
from .by_label import ByLabel
from .rng_keys import Key
from .schedule import Number, NumberedSchedule
from .spec import call_by_name, wanted_names

__all__ = ["RuleInit", "replace_rule_inits"]

Array = jax.Array
T = TypeVar("T")


@named_init
@dataclasses.dataclass(frozen=True)
class RuleInit:
    """`init` of a rule, with the numbers that go into the state.

    Attributes:
      rule: the rule with its options.
      numbers: hyperparameter -> number or schedule; one that differs by label has an entry
        `name.label` for each label.
      init_numbers: numbers that only `slots` reads.
      keys: random keys.
      labels: hyperparameters that differ from leaf to leaf.
      text: the call that made the rule, for printing.
      pack: largest size of a leaf whose slots are stacked; None stacks none.
      per_leaf_counts: whether the state counts the updates of each leaf from the start.
    """

    rule: BoundRule
    numbers: tuple[tuple[str, Number | NumberedSchedule], ...]
    init_numbers: tuple[tuple[str, Number], ...] = ()
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
        treedef: PyTreeDef
        # Sparse arrays are leaves here, so that the error can name them.
        leaves, treedef = jax.tree.flatten(params, is_leaf=is_sparse)
        for path, leaf in zip(leaf_paths(params), leaves, strict=True):
            _check_parameter(self.name, path, leaf)
        place = mesh_placer(leaves)
        number_fields = self.hyperparams()
        hyperparams = number_fields["hyperparams"]
        labels = self.leaf_labels(params)
        slots = self._slots(leaves, self._by_leaf(hyperparams, labels, len(leaves)), place)
        fields: dict[str, Any] = {"count": _first_count()}
        counts_leaves = self.rule.counts_leaves or spec.slots is not None
        # Without them, the first update that lacks a leaf adds the field.
        if self.per_leaf_counts and counts_leaves:
            fields["leaf_counts"] = jnp.zeros(len(leaves), np.int32)
        fields |= number_fields
        if labels:
            # The label of each leaf as an index, because a state has arrays and no texts.
            fields["groups"] = {
                k: jnp.asarray([v.labels.index(label) for label in labels[k]], np.int32)
                for k, v in self.labels
            }
        if self.keys:
            fields["keys"] = {name: key.words() for name, key in self.keys}
        if self.rule.carried_names:
            fields["carry"] = self._carry(hyperparams, labels, fields)
        stats = spec.tree_stats
        if stats.start is not None:
            name = "scalars" if spec.whole_tree else "start of tree_stats"
            arguments = dict(hyperparams)
            if "params" in wanted_names(stats.start):
                arrays = map(as_parameter, leaves)
                arguments["params"] = [cast(x, compute_dtype(x.dtype)) for x in arrays]
            start = self._call(name, stats.start, arguments)
            # Copies, because donated arrays must differ, and a start may be a hyperparameter.
            copies = {k: jnp.array(as_start(v), copy=True) for k, v in start.items()}
            fields["scalars"] = varying_as(copies, leaves)
        if stats.metrics or stats.sums:
            zeros = {k: as_state(0.0) for k in (*stats.metrics, *stats.sums)}
            fields["metrics"] = varying_as(zeros, leaves)
        # Replicated over the mesh of the parameters, as a compiled step returns them.
        fields = {k: jax.tree.map(place, v) for k, v in fields.items()}
        return State(**fields, **self._as_trees(treedef, leaves, slots))

    def _as_trees(
        self, treedef: PyTreeDef, leaves: list[Any], slots: Mapping[str, list[Array | NoSlot]]
    ) -> dict[str, PyTree]:
        """Makes trees of the slots; slots of small leaves may be stacked."""
        if self.pack is None:
            return {k: treedef.unflatten(v) for k, v in slots.items()}
        return pack(treedef, [as_parameter(x) for x in leaves], slots, self.pack)

    def _carry(
        self, hyper: Mapping[str, Array], labels: Mapping[str, list[str]], fields: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Returns the first carried scalars: `()`, or `(n,)` where leaves have counts or labels."""
        values = dict(hyper)
        # A hyperparameter by label becomes an array with the value of each leaf.
        for name, by_label in self.labels:
            of_labels = jnp.stack([values.pop(f"{name}.{label}") for label in by_label.labels])
            values[name] = of_labels[fields["groups"][name]]
        assert self.rule.spec.carry is not None
        start = self._call("carry", self.rule.spec.carry, values)
        for k, v in start.items():
            if jnp.shape(v) and not labels:
                raise ValueError(
                    f"{self.name}: carry starts {k!r} with shape {jnp.shape(v)}, and it must be a "
                    "scalar. Keep arrays as slots, or as start of tree_stats."
                )
        shape = fields["leaf_counts"].shape if "leaf_counts" in fields else ()
        if labels:
            shape = (len(next(iter(labels.values()))),)
        # Copies, because a scalar may start as a hyperparameter, and both are donated.
        return {
            k: jnp.array(jnp.broadcast_to(as_state(v), shape), copy=True) for k, v in start.items()
        }

    def leaf_labels(self, params: PyTree) -> dict[str, list[str]]:
        """Returns each leaf's label, for each hyperparameter that differs by label."""
        return {k: v.of_leaves(self.name, k, params) for k, v in self.labels}

    def _by_leaf(
        self, hyper: Mapping[str, Array], labels: Mapping[str, list[str]], n: int
    ) -> list[dict[str, Array]]:
        """Returns the hyperparameters of each of n leaves; for n = 0, of a placeholder."""
        if not labels:
            return [dict(hyper)] * max(n, 1)
        # The placeholder has the first label.
        leaf_labels = {k: labels[k] or list(v.labels[:1]) for k, v in self.labels}
        by_label = {f"{k}.{label}" for k, v in self.labels for label in v.labels}
        shared = {k: v for k, v in hyper.items() if k not in by_label}
        return [
            shared | {k: hyper[f"{k}.{by_leaf[i]}"] for k, by_leaf in leaf_labels.items()}
            for i in range(max(n, 1))
        ]

    def _slots(
        self, leaves: list[Any], hyper: list[dict[str, Array]], place: Callable[[Array], Array]
    ) -> dict[str, list[Array | NoSlot]]:
        """Returns the slots, by name and then by leaf."""
        spec, dtypes = self.rule.spec, dict(self.rule.slot_dtypes)
        make_slots = spec.slots
        if make_slots is None:
            return {}
        wanted = wanted_names(make_slots, skip=1)

        def make(p: Array, i: int) -> Mapping[str, Array | None]:
            options = {"param_dtype": (leaves[i] if leaves else p).dtype}
            options |= dict(self.rule.options) | dict(self.init_numbers)
            numbers = {k: hyper[i][k] for k in wanted if k in hyper[i]}
            others = {k: _option(self.name, k, options) for k in wanted if k not in numbers}
            slots = make_slots(p, **cast(numbers, real_dtype(p.dtype)), **others)
            return _check_arrays(self.name, checked_dict(self.name, "slots", slots))

        by_leaf = []
        leaves = [x if hasattr(x, "dtype") else jnp.asarray(x) for x in leaves]
        for i, leaf in enumerate(leaves):
            p = as_parameter(leaf)
            slots = init_slots(
                functools.partial(make, i=i), p, dtypes, split_complex=spec.split_complex
            )
            # A slot of the parameter's shape is sharded with it already.
            by_leaf.append(
                {
                    k: v if isinstance(v, NoSlot) or v.shape == p.shape else place(v)
                    for k, v in slots.items()
                }
            )
        names = tuple(by_leaf[0]) if by_leaf else _slot_names(functools.partial(make, i=0))
        self._check_slots(names, dtypes)
        return {k: [slots[k] for slots in by_leaf] for k in names}

    def _check_slots(self, names: tuple[str, ...], dtypes: Mapping[str, DTypeLike]) -> None:
        unknown = sorted(set(dtypes) - set(names) - {"*"})
        if unknown:
            arguments = self.rule.spec.arguments.values()
            argument = next((a.name for a in arguments if unknown[0] in a.slots), "state_dtype")
            raise ValueError(
                f"{self.name}: {argument} names the slot {unknown[0]!r}, which this rule does not "
                f"keep. Its slots are: {', '.join(names) or 'none'}."
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

    def _call(self, name: str, function: Callable[..., T], hyper: Mapping[str, Any]) -> T:
        values = dict(hyper) | dict(self.rule.options) | dict(self.init_numbers)
        return call_by_name(self.name, name, function, values)

    def hyperparams(self) -> dict[str, Any]:
        """Returns the fields `hyperparams` and `schedules` of the first state."""
        schedules = {k: v for k, v in self.numbers if isinstance(v, NumberedSchedule)}
        schedule_numbers = {k: schedule.initial_numbers() for k, schedule in schedules.items()}
        # A scheduled hyperparameter has the value that the first update will use.
        values = {
            k: as_state(v.evaluate(_first_count(), schedule_numbers[k]))
            if isinstance(v, NumberedSchedule)
            else as_state(v)
            for k, v in self.numbers
        }
        return {"hyperparams": values} | ({"schedules": schedule_numbers} if schedules else {})


def _first_count() -> Array:
    # This is one operation, where `jnp.zeros` runs two.
    return jnp.asarray(np.zeros((), np.int32))


def _check_arrays(rule: str, slots: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the slots, after checking that each is an array, or None if it is missing."""
    for k, x in slots.items():
        if x is not None and not hasattr(x, "astype"):
            raise TypeError(
                f"{rule}: slots makes {x!r} for {k!r}, of type {type(x).__name__}, which must be "
                "an array. Return jnp.zeros_like(p) or jnp.zeros(()), for example."
            )
    return slots


def _slot_names(make: Callable[[Array], Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns the names of the slots of a small matrix, in order, for a tree without leaves."""
    names: list[str] = []
    # Appended within an abstract call, which makes no arrays.
    jax.eval_shape(lambda p: names.extend(make(p)), jnp.zeros((1, 1), hyper_dtype()))
    return tuple(names)


def _option(rule: str, name: str, options: Mapping[str, Any]) -> Any:
    if name not in options:
        raise TypeError(
            f"{rule}: slots takes {name!r}, which is not an argument of the rule. Declare it as an "
            "argument, or leave it out."
        )
    return options[name]


def _check_parameter(rule: str, path: str, leaf: object) -> None:
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
      change: returns the new `init` of a rule, or None to keep the old one.

    Returns:
      The new init, and whether any rule was changed.
    """
    if isinstance(init, RuleInit):
        new = change(init)
        return (init, False) if new is None else (new, True)
    if type(init) is tuple:  # the inits of a chain; a NamedTuple may be anything
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
    if isinstance(init, Interned):  # `of` returns an existing equal object, with its programs
        return type(init).of(*values.values()), True
    return dataclasses.replace(init, **values), True
