"""Converts states of optax and of this package into each other, so that runs can continue."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..core.state import State
from ..core.trees.structure import path_string
from ..core.types import OptState
from ..serialization.placing import place
from .optax_arrays import copy_arrays
from .optax_injected import read_injected, write_injected
from .optax_pairs import Pair, Path, UpdateCounts, links_of, pair_up, slots_of
from .optax_table import Counterpart
from .optax_walk import map_states
from .optax_wrappers import Wrapper, injected_counts

__all__ = ["from_optax", "to_optax"]


def from_optax(state: OptState, template: PyTree, *, count: int | None = None) -> PyTree:
    """Converts a state of optax to a state of the same transformation of this package.

    The arrays are copied, without arithmetic. Both are chains of the same links in the same order,
    possibly with masks, partitions, named chains, `MultiSteps`, `apply_if_finite`,
    `conditionally_transform` or `inject_hyperparams` within; links without a state in optax may be
    in between. The page on checkpoints lists the links that can be converted, and why others
    cannot. The hyperparameters are the template's, which should have optax's arguments;
    hyperparameters that optax has injected are copied. optax's rmsprop with momentum multiplies by
    the learning rate before the momentum: its counterpart is
    `chain(scale_by_rms(...), scale_by_learning_rate(...), trace(...))`.

    Args:
      state: a result of optax's `init` or `update`.
      template: `init(params)` of our transformation; for `lookahead`, with the slow params.
      count: number of updates made, if optax's state has no count.

    Raises:
      ValueError: a part of one state has no counterpart in the other, or has another meaning;
        shapes differ; or optax's state has no count, and neither is count passed.

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
    function = "from_optax"
    template = read_injected(function, template, pair_up(function, state, template))
    pairs = pair_up(function, state, template)
    counts, by_path = UpdateCounts(function, pairs, count), {p.path: p for p in pairs}
    fields = {
        path: _read(function, link, by_path.get(path), counts(path))
        for path, link in links_of(template)
    }
    for p in pairs:
        if isinstance(p.counterpart, Wrapper) and p.path is not None:
            fields[p.path] = p.counterpart.read(p.theirs, p.ours)
    return _with_fields(template, (), fields)


def to_optax(state: PyTree, template: OptState) -> OptState:
    """Converts a state to optax's state of the same transformation; the reverse of `from_optax`.

    Args:
      state: a result of `init` or `update` of this package.
      template: `init(params)` of optax's transformation.

    Raises:
      ValueError: a part of one state has no counterpart in the other, or has another meaning;
        shapes differ; or parameters had different numbers of updates, because some of
        their gradients were None, and optax has one count for all.
    """
    function = "to_optax"
    pairs = iter(pair_up(function, template, state))
    updates_made = max((int(link.count) for _, link in links_of(state)), default=0)

    def write(theirs: OptState) -> OptState:
        pair = next(pairs)
        if pair.path is None:
            new = write_injected(function, state, pair)
            return new._replace(**injected_counts(new, updates_made))
        if isinstance(pair.counterpart, Wrapper):
            return theirs._replace(**pair.counterpart.write(pair.ours, theirs))
        return _write(function, pair)

    return map_states(template, write)


def _read(function: str, link: State, pair: Pair | None, count: int) -> dict[str, PyTree]:
    """Returns the fields of a link after `count` updates, with the values of optax's state."""
    fields: dict[str, PyTree] = {"count": place(count, link.count)}
    if "leaf_counts" in link:
        fields["leaf_counts"] = place(np.full(link.leaf_counts.shape, count), link.leaf_counts)
    if "carry" in link:
        fields["carry"] = _read_carry(function, link, pair, count)
    if pair is None:
        return fields
    counterpart = _counterpart(pair)
    for slot in slots_of(link):
        if slot not in counterpart.kept:
            array = copy_arrays(function, _field(function, pair, slot), link[slot])
            fields[slot] = _zeros(array) if counterpart.is_used_up(count) else array
    if counterpart.scalars:
        scalars = {k: place(getattr(pair.theirs, v), link.scalars[k]) for k, v in _scalars(pair)}
        fields["scalars"] = link.scalars | scalars
    return fields


def _read_carry(function: str, link: State, pair: Pair | None, count: int) -> dict[str, PyTree]:
    """Returns the scalars that a link carries from step to step."""
    known = {"started": np.float32(count > 0)}
    if pair is not None:
        known |= {k: getattr(pair.theirs, v) for k, v in _counterpart(pair).carry.items()}
    unknown = [k for k in link.carry if k not in known]
    if unknown:
        raise ValueError(f"{function}: optax keeps no {unknown[0]!r}, which the link here needs.")
    return {k: place(np.full(x.shape, known[k]), x) for k, x in link.carry.items()}


def _write(function: str, pair: Pair) -> OptState:
    """Returns optax's state with the values of a link."""
    theirs, link, counterpart = pair.theirs, pair.ours, _counterpart(pair)
    path = path_string(pair.path or ())
    if counterpart.kept:
        raise ValueError(
            f"{function}: the state of '{path}' does not say at which step of its period it is. "
            "Convert the state of the inner optimizer, after a period."
        )
    count = _count_of_all(function, path, link)
    if counterpart.period:
        count %= int(link.hyperparams[counterpart.period])
    fields = {
        field: copy_arrays(function, link[slot], getattr(theirs, field))
        for slot, field in counterpart.slots.items()
        if slot in link
    }
    if counterpart.is_used_up(count):
        fields = _zeros(fields)
    fields |= {v: place(link.scalars[k], getattr(theirs, v)) for k, v in _scalars(pair)}
    fields |= {
        v: place(_shared_number(function, path, k, link.carry[k]), getattr(theirs, v))
        for k, v in counterpart.carry.items()
    }
    for name in filter(None, (counterpart.count, *counterpart.other_counts)):
        if name in theirs._fields:
            fields[name] = place(count + counterpart.first_count, getattr(theirs, name))
    for name in ("is_initial_step", "is_init_step"):
        if name in theirs._fields:
            fields[name] = place(count == 0, getattr(theirs, name))
    return theirs._replace(**fields)


def _shared_number(function: str, path: str, name: str, value: jax.Array) -> np.ndarray:
    """Returns the number that a link carries for all parameters."""
    numbers = np.unique(np.asarray(value))
    if numbers.size != 1:
        raise ValueError(
            f"{function}: the parameters of '{path}' have separate numbers {name!r}, and optax has "
            "one for all. Convert a state whose gradients were never None."
        )
    return numbers[0]


def _count_of_all(function: str, path: str, link: State) -> int:
    """Returns the number of updates that all parameters of a link had."""
    counts = {int(n) for n in np.asarray(link._asdict().get("leaf_counts", link.count)).ravel()}
    if len(counts) > 1:
        raise ValueError(
            f"{function}: the parameters of '{path}' had between {min(counts)} and {max(counts)} "
            "updates, and optax has one count for all. Convert a state whose gradients were never "
            "None."
        )
    return counts.pop() if counts else int(link.count)


def _zeros(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, tree)


def _counterpart(pair: Pair) -> Counterpart:
    assert isinstance(pair.counterpart, Counterpart)
    return pair.counterpart


def _scalars(pair: Pair) -> list[tuple[str, str]]:
    return list(_counterpart(pair).scalars.items())


def _field(function: str, pair: Pair, slot: str) -> PyTree:
    field = _counterpart(pair).slots.get(slot, slot)
    if field not in pair.theirs._fields:
        raise ValueError(
            f"{function}: optax keeps nothing for '{slot}', which {path_string(pair.path or ())} "
            "keeps here."
        )
    return getattr(pair.theirs, field)


def _with_fields(node: PyTree, path: Path, fields: Mapping[Path, Mapping[str, PyTree]]) -> PyTree:
    """Returns a tree of states with new fields at their paths."""
    if not isinstance(node, State):
        return node
    keys = [jax.tree_util.GetAttrKey(k) for k in node._fields]
    inner = {
        k: _with_fields(v, (*path, key), fields)
        for key, (k, v) in zip(keys, node._asdict().items(), strict=True)
    }
    return State(**{**inner, **fields.get(path, {})})
