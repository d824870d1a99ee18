"""`init` of a rule: from parameters to the state before the first update."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .engine import RuleUpdate
from .leaf import cast, read_parameter, start_slots
from .numbers import as_state
from .placement import beside
from .precision import hyper_dtype
from .protocol import PyTree
from .schedule import NumberedSchedule
from .state import State
from .trees import path_string

__all__ = ["RuleInit"]

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class RuleInit:
    """`init` of a rule, with the numbers that go into the state."""

    update: RuleUpdate
    numbers: tuple[tuple[str, Any], ...]
    starts: tuple[tuple[str, Any], ...]
    text: str = dataclasses.field(default="", compare=False)

    @property
    def name(self) -> str:
        """Name of the link in a chain."""
        return self.update.rule.name

    def __repr__(self) -> str:
        return self.text

    def __call__(self, params: PyTree) -> State:
        """Makes the state for `params`, whose leaves may be `jax.ShapeDtypeStruct`."""
        rule = self.update.rule
        treedef: Any
        leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
        arrays = [read_parameter(rule.name, path_string(path), leaf) for path, leaf in leaves]
        fields: dict[str, Any] = {"count": jnp.zeros((), np.int32)}
        numbers = self.hyperparams()
        names = self._slot_names(numbers["hyperparams"])
        if names:
            fields["steps"] = jnp.zeros(len(arrays), np.int32)
        fields |= numbers
        if names and rule.memory:
            fields["memory"] = {k: jnp.zeros(len(arrays), hyper_dtype()) for k in rule.memory}
        if rule.metrics:
            fields["metrics"] = {k: jnp.zeros((), hyper_dtype()) for k in rule.metrics}
        make, dtypes = self._slot_maker(numbers["hyperparams"]), dict(self.update.dtypes)
        fields = jax.tree.map(beside(arrays), fields)
        slots = [start_slots(make, p, dtypes) for p in arrays]
        for k in names:
            fields[k] = treedef.unflatten([s[k] for s in slots])
        return State(**fields)

    def hyperparams(self) -> dict[str, Any]:
        """The state's fields that hold numbers, before the first update."""
        plans = {k: v for k, v in self.numbers if isinstance(v, NumberedSchedule)}
        numbers = {k: plan.initial_numbers() for k, plan in plans.items()}
        start = jnp.zeros((), hyper_dtype())
        values = {
            k: as_state(v.evaluate(start, numbers[k]) if k in plans else v) for k, v in self.numbers
        }
        return {"hyperparams": values} | ({"schedules": numbers} if plans else {})

    def _slot_maker(self, hyper: Mapping[str, Array]) -> Callable[[Array], Mapping[str, Array]]:
        """The rule's `slots`, given those of the arguments that it asks for."""
        make = self.update.rule.slots
        if make is None:
            return lambda p: {}
        wanted = list(inspect.signature(make).parameters)[1:]
        known = dict(self.update.options) | dict(self.starts)
        fixed = {k: known[k] for k in wanted if k in known}
        scalars = {k: hyper[k] for k in wanted if k not in known}
        return lambda p: make(p, **fixed, **cast(scalars, p.dtype))

    def _slot_names(self, hyper: Mapping[str, Array]) -> tuple[str, ...]:
        """Names of the slots, found on a stand-in: the tree may have no leaf to ask."""
        stand_in = jax.ShapeDtypeStruct((), hyper_dtype())
        names = tuple(jax.eval_shape(self._slot_maker(hyper), stand_in))
        unknown = sorted({k for k, _ in self.update.dtypes} - set(names) - {"*"})
        if unknown:
            raise ValueError(
                f"{self.name}: state_dtype names the slot {unknown[0]!r}, which this rule does "
                f"not keep. Its slots are: {', '.join(names) or 'none'}."
            )
        return names
