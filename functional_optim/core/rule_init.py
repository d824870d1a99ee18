"""`init` of a rule: from parameters to the state before the first update."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .by_label import ByLabel
from .engine import RuleUpdate
from .keys import Key
from .leaf import as_parameter, cast, check_parameter, start_slots
from .leaves import ENGINE_FIELDS
from .numbers import as_start, as_state
from .packing import pack
from .placement import beside
from .precision import hyper_dtype
from .protocol import PyTree
from .rows import is_sparse
from .schedule import NumberedSchedule
from .state import State
from .trees import is_absent, path_string

__all__ = ["RuleInit"]

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class RuleInit:
    """`init` of a rule, with the numbers that go into the state.

    Slots of leaves of at most `pack` elements are held together, if it is not None.
    """

    update: RuleUpdate
    numbers: tuple[tuple[str, Any], ...]
    starts: tuple[tuple[str, Any], ...]
    keys: tuple[tuple[str, Key], ...] = ()
    groups: tuple[tuple[str, ByLabel], ...] = ()
    text: str = dataclasses.field(default="", compare=False)
    pack: int | None = None

    @property
    def name(self) -> str:
        """Name of the link in a chain."""
        return self.update.rule.name

    def __repr__(self) -> str:
        return self.text if self.pack is None else f"packed({self.text}, max_size={self.pack})"

    def __call__(self, params: PyTree) -> State:
        """Makes the state for `params`, whose leaves may be `jax.ShapeDtypeStruct`."""
        rule = self.update.rule
        treedef: Any
        leaves, treedef = jax.tree_util.tree_flatten_with_path(params, is_leaf=is_sparse)
        for path, leaf in leaves:
            if is_sparse(leaf):
                raise TypeError(
                    f"{rule.name}: the parameter at '{path_string(path)}' is a sparse array. Pass "
                    "its todense(): gradients may be sparse, parameters are dense."
                )
            check_parameter(rule.name, path_string(path), leaf)
        place = beside(leaf for _, leaf in leaves)
        numbers = self.hyperparams()
        labels = self.labels(params)
        values = [leaf for _, leaf in leaves]
        own = self._by_leaf(numbers["hyperparams"], labels, len(leaves))
        slots = self._slots(values, own, place)
        fields: dict[str, Any] = {"count": jnp.zeros((), np.int32)}
        if slots is not None or rule.counts_alone:
            fields["steps"] = jnp.zeros(len(leaves), np.int32)
        fields |= numbers
        if labels:
            fields["groups"] = {
                k: jnp.asarray([v.labels.index(label) for label in labels[k]], np.int32)
                for k, v in self.groups
            }
        if self.keys:
            fields["keys"] = {name: key.words() for name, key in self.keys}
        if "steps" in fields and self.update.memory:
            kept = self.update.memory
            fields["memory"] = {k: jnp.zeros(len(leaves), hyper_dtype()) for k in kept}
        if rule.scalars is not None:
            starts = self._ask(rule.scalars, numbers["hyperparams"])
            fields["scalars"] = {k: as_start(v) for k, v in rule.scalars(**starts).items()}
        if rule.metrics:
            fields["metrics"] = {k: jnp.zeros((), hyper_dtype()) for k in rule.metrics}
        fields = {k: jax.tree.map(place, v) for k, v in fields.items()}
        return State(**fields, **self._as_trees(treedef, values, slots or {}))

    def _as_trees(
        self, treedef: Any, leaves: list[Any], slots: Mapping[str, list[Any]]
    ) -> dict[str, PyTree]:
        """The slots as trees, in which those of small leaves may be held together."""
        if self.pack is None:
            return {k: treedef.unflatten(v) for k, v in slots.items()}
        return pack(treedef, [as_parameter(x) for x in leaves], slots, self.pack)

    def labels(self, params: PyTree) -> dict[str, list[str]]:
        """Per leaf the labels that decide a hyperparameter, by its name."""
        return {k: v.of_leaves(self.name, k, params) for k, v in self.groups}

    def _by_leaf(
        self, hyper: Mapping[str, Any], labels: Mapping[str, list[str]], n: int
    ) -> list[dict[str, Any]]:
        """The hyperparameters of each of n leaves; of one that stands in, where there is none."""
        if not labels:
            return [dict(hyper)] * max(n, 1)
        named = {k: labels[k] or list(v.labels[:1]) for k, v in self.groups}
        whole = {f"{k}.{label}" for k, v in self.groups for label in v.labels}
        shared = {k: v for k, v in hyper.items() if k not in whole}
        return [
            shared | {k: hyper[f"{k}.{own[i]}"] for k, own in named.items()}
            for i in range(max(n, 1))
        ]

    def _slots(
        self,
        leaves: list[Any],
        hyper: list[dict[str, Any]],
        place: Callable[[Array], Array],
    ) -> dict[str, list[Array]] | None:
        """The slots, by name and then by leaf; None where the rule keeps none."""
        rule, dtypes = self.update.rule, dict(self.update.dtypes)
        if rule.slots is None:
            return None
        make_with = rule.slots

        def make(p: Array, i: int) -> Mapping[str, Array | None]:
            outside = {"param_dtype": (leaves[i] if leaves else p).dtype}
            asked = self._ask(make_with, hyper[i] | outside, skip=1)
            known = {k: v for k, v in asked.items() if k in hyper[i]}
            fixed = {k: v for k, v in asked.items() if k not in hyper[i]}
            return make_with(p, **cast(known, p.real.dtype), **fixed)

        found = []
        leaves = [x if hasattr(x, "dtype") else jnp.asarray(x) for x in leaves]
        for i, leaf in enumerate(leaves):
            p = as_parameter(leaf)
            slots = start_slots(functools.partial(make, i=i), p, dtypes, parts=rule.parts)
            own = [k for k, v in slots.items() if is_absent(v) or v.shape == p.shape]
            found.append({k: v if k in own else place(v) for k, v in slots.items()})
        # A tree without leaves has no parameter to ask; a scalar stands in for one.
        names = tuple(
            found[0]
            if found
            else jax.eval_shape(lambda p: make(p, 0), jnp.zeros((), hyper_dtype()))
        )
        self._check_slots(names, dtypes)
        return {k: [slots[k] for slots in found] for k in names} if names else None

    def _check_slots(self, names: tuple[str, ...], dtypes: Mapping[str, Any]) -> None:
        unknown = sorted(set(dtypes) - set(names) - {"*"})
        if unknown:
            raise ValueError(
                f"{self.name}: state_dtype names the slot {unknown[0]!r}, which this rule does "
                f"not keep. Its slots are: {', '.join(names) or 'none'}."
            )
        taken = sorted(set(names) & set(ENGINE_FIELDS))
        if taken:
            raise ValueError(
                f"{self.name}: {taken[0]!r} cannot be the name of a slot: the engine keeps it. "
                "Choose another name."
            )

    def _ask(
        self, function: Callable[..., Any], hyper: Mapping[str, Array], skip: int = 0
    ) -> dict[str, Any]:
        """Those of the rule's arguments that a function takes, after its first `skip`."""
        known = dict(hyper) | dict(self.update.options) | dict(self.starts)
        wanted = list(inspect.signature(function).parameters)[skip:]
        return {k: known[k] for k in wanted}

    def hyperparams(self) -> dict[str, Any]:
        """The state's fields that hold numbers, before the first update."""
        plans = {k: v for k, v in self.numbers if isinstance(v, NumberedSchedule)}
        numbers = {k: plan.initial_numbers() for k, plan in plans.items()}
        start = jnp.zeros((), np.int32)
        values = {
            k: as_state(v.evaluate(start, numbers[k]) if k in plans else v) for k, v in self.numbers
        }
        return {"hyperparams": values} | ({"schedules": numbers} if plans else {})
