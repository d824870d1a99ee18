"""Replaces the hyperparameters of a state, and moves a state to a changed transformation."""

from collections.abc import Iterator

import jax
import numpy as np
from jax.typing import ArrayLike

from ..core.chain import ChainInit
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.bound_rule import ENGINE_FIELDS
from ..core.rules.init import RuleInit
from ..core.rules.schedule import NumberedSchedule
from ..core.state import State
from ..core.trees.placement import put_like

__all__ = ["DormantSlots", "replace_hyperparams", "rule_inits", "scalar_like", "transfer_state"]

DormantSlots = dict[str, dict[str, PyTree]]
"""Slots that no link has at present, because an option is off: link -> slot -> tree."""


def replace_hyperparams(state: State, tx: GradientTransformation) -> State:
    """Returns the state with the hyperparameters of `tx`, whose `update` the state was made for.

    Each new scalar has the dtype and sharding of the old one, so that a compiled step accepts
    the state.
    """
    links = dict(state._asdict())
    for name, init in rule_inits(tx):
        links[name] = _replace_in_link(links[name], init)
    return State(**links)


def rule_inits(tx: GradientTransformation) -> Iterator[tuple[str, RuleInit]]:
    """Yields the rules among the links of a chain, with the names of their states."""
    assert isinstance(tx.init, ChainInit)
    for name, init in zip(tx.init.names, tx.init.inits, strict=True):
        if isinstance(init, RuleInit):
            yield name, init


def _replace_in_link(state: State, init: RuleInit) -> State:
    values, schedules = dict(state.hyperparams), dict(state._asdict().get("schedules", {}))
    for name, number in init.numbers:
        if isinstance(number, NumberedSchedule):
            new = number.initial_numbers()
            schedules[name] = jax.tree.map(scalar_like, new, schedules[name])
        else:
            values[name] = scalar_like(number, values[name])
    fields = {"hyperparams": values} | ({"schedules": schedules} if schedules else {})
    return state._replace(**fields)


def scalar_like(value: ArrayLike, old: jax.Array) -> PyTree:
    """Returns a number with the dtype and sharding of the scalar that it replaces.

    Where the old scalar is not committed to a device, the result is a NumPy scalar, which costs
    a twentieth of a `jax.Array`; except under a transfer guard, which would forbid the step to
    transfer it.
    """
    has_sharding = isinstance(old, jax.Array) and (
        isinstance(old, jax.core.Tracer) or old.committed
    )
    if isinstance(value, jax.core.Tracer) or has_sharding:
        return put_like(old, value)
    # The dtype of the old scalar, or the compiled step would not accept the state.
    host = np.asarray(jax.device_get(value)).astype(old.dtype)[()]
    guarded = jax.config.jax_transfer_guard_host_to_device not in (None, "allow")  # type: ignore[attr-defined]
    return jax.device_put(host) if guarded else host


def transfer_state(old: State, fresh: State, dormant: DormantSlots) -> tuple[State, DormantSlots]:
    """Moves counts and slots of `old` to `fresh`, a transformation's state with other options.

    Counts, carried scalars, slots and scalars of the tree move if link, name and shapes are the
    same; other slots, and all hyperparameters, are from `fresh`. A link with new slots starts its
    counts again.

    Returns:
      The state, and the slots that it does not have, which a later call may restore.
    """
    links, still_dormant = {}, {}
    for name, link in fresh._asdict().items():
        old_link = old._asdict().get(name, State())
        slots = dormant.get(name, {}) | _slots(old_link)
        still_dormant[name] = {k: v for k, v in slots.items() if k not in link}
        # The counts of a link without slots do not apply to new slots, which start from zeros.
        if bool(_slots(old_link)) == bool(_slots(link)):
            fields = {k: old_link[k] for k in _KEPT_FIELDS if k in old_link} | slots
            matching = {k: v for k, v in fields.items() if k in link and _same_shapes(v, link[k])}
            link = link._replace(**matching)
        links[name] = link
    return State(**links), still_dormant


_KEPT_FIELDS = ("count", "leaf_counts", "carry", "scalars")


def _slots(link: State) -> dict[str, PyTree]:
    return {k: v for k, v in link._asdict().items() if k not in ENGINE_FIELDS}


def _same_shapes(a: PyTree, b: PyTree) -> bool:
    """Tells whether two trees have one structure, and leaves of equal shapes."""

    def types(tree: PyTree) -> tuple[PyTree, list[tuple[int, ...]]]:
        leaves, treedef = jax.tree.flatten(tree)
        return treedef, [x.shape for x in leaves]

    return types(a) == types(b)
