"""States of optax as ours and ours as optax's: a run that began with one goes on with the other."""

from typing import Any

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.state import State
from ..core.trees import path_string
from ..serialization.placing import place
from .optax_arrays import converted
from .optax_injected import take_injected, write_injected
from .optax_pairs import Clock, Pair, links_of, pair_up, slots_of
from .optax_table import Counterpart
from .optax_walk import map_states
from .optax_wrappers import Wrapper, injected_counts

__all__ = ["from_optax", "to_optax"]


def from_optax(state: Any, template: PyTree, *, count: int | None = None) -> PyTree:
    """Turns a state of optax into one of the same transformation here.

    Both are chains of the same links in the same order, possibly with masks, partitions, named
    chains, `MultiSteps`, `apply_if_finite`, `conditionally_transform` or `inject_hyperparams`
    within; links that keep nothing there may be in between. The page on checkpoints lists which
    links are known, and why others are refused. The hyperparameters are the template's, which is
    to have optax's arguments; those that are injected there are taken over. optax's rmsprop with
    momentum multiplies by the learning rate before the momentum: its counterpart is
    `chain(scale_by_rms(...), scale_by_learning_rate(...), trace(...))`.

    Args:
      state: what `init` or `update` of optax gave.
      template: `init(params)` of the transformation here; of `lookahead`, with the slow ones.
      count: number of updates made, where nothing in optax's state counts them.

    Raises:
      ValueError: something in one has no counterpart in the other, or means something else
        there; shapes differ; or nothing counts the updates and count is not given.

    Example:
      >>> import optax
      >>> import functional_optim as fo
      >>> from functional_optim.interop.optax_state import from_optax
      >>> params = {"w": 1.0}
      >>> theirs, ours = optax.sgd(0.1, momentum=0.9), fo.sgd(0.1, momentum=0.9)
      >>> _, state = theirs.update({"w": 0.5}, theirs.init(params))
      >>> print(from_optax(state, ours.init(params), count=1).trace.trace["w"])
      0.5
    """
    who = "from_optax"
    # Before all else, for means are corrected by the decays in force.
    template = take_injected(who, template, pair_up(who, state, template))
    pairs = pair_up(who, state, template)
    clock, by_path = Clock(who, pairs, count), {p.path: p for p in pairs}
    fields = {
        path: _read(who, link, by_path.get(path), clock(path)) for path, link in links_of(template)
    }
    for p in pairs:
        if isinstance(p.counterpart, Wrapper) and p.path is not None:
            fields[p.path] = p.counterpart.read(p.theirs, p.ours)
    return _with_fields(template, (), fields)


def to_optax(state: PyTree, template: Any) -> Any:
    """Turns a state into optax's of the same transformation; the reverse of `from_optax`.

    Args:
      state: what `init` or `update` here gave.
      template: `init(params)` of optax's transformation.

    Raises:
      ValueError: something in one has no counterpart in the other, or means something else
        there; or shapes differ.
    """
    who = "to_optax"
    pairs = iter(pair_up(who, template, state))
    made = max((int(link.count) for _, link in links_of(state)), default=0)

    def write(theirs: Any) -> Any:
        pair = next(pairs)
        if pair.path is None:
            new = write_injected(who, state, pair)
            return new._replace(**injected_counts(new, made))
        if isinstance(pair.counterpart, Wrapper):
            return theirs._replace(**pair.counterpart.write(pair.ours, theirs))
        return _write(who, pair)

    return map_states(template, write)


def _read(who: str, link: State, pair: Pair | None, count: int) -> dict[str, Any]:
    """The fields of a link after `count` updates, with what optax keeps for it."""
    fields: dict[str, Any] = {"count": place(count, link.count)}
    if "steps" in link:
        fields["steps"] = place(np.full(link.steps.shape, count), link.steps)
    if "memory" in link:
        fields["memory"] = _memory(who, link, count)
    if pair is None:
        return fields
    about = _about(pair)
    for slot in slots_of(link):
        if slot not in about.kept:
            total = _total(about, slot, link, count)
            scale = 0.0 if total == 0 else 1 / total
            fields[slot] = converted(who, _field(who, pair, slot), link[slot], scale)
    if about.scalars:
        found = {k: place(getattr(pair.theirs, v), link.scalars[k]) for k, v in _scalars(pair)}
        fields["scalars"] = link.scalars | found
    return fields


def _memory(who: str, link: State, count: int) -> dict[str, Any]:
    """What the clock keeps: the hyperparameters of the last update."""
    last = {k: 1.0 if k == "started" else link.hyperparams.get(k) for k in link.memory}
    unknown = [k for k, v in last.items() if v is None]
    if unknown:
        raise ValueError(f"{who}: optax keeps no {unknown[0]!r}, which the link here needs.")
    at_start = 0 if count == 0 else 1
    return {
        k: place(np.full(x.shape, np.asarray(last[k]) * at_start), x)
        for k, x in link.memory.items()
    }


def _write(who: str, pair: Pair) -> Any:
    """optax's state of what a link holds."""
    theirs, link, about, count = pair.theirs, pair.ours, _about(pair), int(pair.ours.count)
    if about.kept:
        raise ValueError(
            f"{who}: how far '{path_string(pair.path or ())}' has come in its period is not in its "
            "state. Convert that of the optimizer within, after a period."
        )
    if about.period:
        count %= int(link.hyperparams[about.period])
    fields = {
        field: converted(who, link[slot], getattr(theirs, field), _total(about, slot, link, count))
        for slot, field in about.slots.items()
        if slot in link
    }
    fields |= {v: place(link.scalars[k], getattr(theirs, v)) for k, v in _scalars(pair)}
    if about.count and about.count in theirs._fields:
        fields[about.count] = place(count, theirs.count)
    if "is_initial_step" in theirs._fields:
        fields["is_initial_step"] = place(count == 0, theirs.is_initial_step)
    return theirs._replace(**fields)


def _about(pair: Pair) -> Counterpart:
    assert isinstance(pair.counterpart, Counterpart)
    return pair.counterpart


def _scalars(pair: Pair) -> list[tuple[str, str]]:
    return list(_about(pair).scalars.items())


def _field(who: str, pair: Pair, slot: str) -> Any:
    field = _about(pair).slots.get(slot, slot)
    if field not in pair.theirs._fields:
        raise ValueError(
            f"{who}: optax keeps nothing for '{slot}', which {path_string(pair.path or ())} keeps "
            "here."
        )
    return getattr(pair.theirs, field)


def _total(about: Counterpart, slot: str, link: State, count: int) -> float:
    """What optax divides by to get the mean, 1 - decay^count; 0 where it is used up."""
    if about.period and count == 0:
        return 0.0
    decay = about.corrected.get(slot)
    if decay is None:
        return 1.0
    # As optax computes it: decay in float32, its power in double precision.
    return float(-np.expm1(count * np.log(np.float64(link.hyperparams[decay]))))


def _with_fields(node: PyTree, path: tuple[Any, ...], fields: dict[tuple[Any, ...], Any]) -> Any:
    """A tree of states with other fields at their paths."""
    if not isinstance(node, State):
        return node
    keys = [jax.tree_util.GetAttrKey(k) for k in node._fields]
    inner = {
        k: _with_fields(v, (*path, key), fields)
        for key, (k, v) in zip(keys, node._asdict().items(), strict=True)
    }
    return State(**(inner | fields.get(path, {})))
