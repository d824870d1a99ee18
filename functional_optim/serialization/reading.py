"""From a flat dictionary to a state."""

from collections.abc import Mapping
from typing import Any, Literal, overload

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.stored import decode_state
from .forms import gathered
from .matching import Match, match
from .naming import Names
from .placing import fits, place, saved_shape
from .renaming import renamed, restacked
from .report import RestoreReport, describe
from .versions import migrated

__all__ = ["ADVICE", "from_state_dict", "restore"]

ADVICE = (
    " Pass strict=False to keep the values of the template there, rename={there: here} for what "
    "has another name, stacked={'layers.*': 'layers'} for stacked layers."
)
"""What to do where something does not fit."""

Saved = Mapping[str, Any]
Renaming = Mapping[str, str] | None


@overload
def from_state_dict(
    template: PyTree,
    state_dict: Saved,
    *,
    strict: Literal[True] = True,
    rename: Renaming = None,
    stacked: Renaming = None,
) -> PyTree: ...


@overload
def from_state_dict(
    template: PyTree,
    state_dict: Saved,
    *,
    strict: Literal[False],
    rename: Renaming = None,
    stacked: Renaming = None,
) -> tuple[PyTree, RestoreReport]: ...


def from_state_dict(
    template: PyTree,
    state_dict: Saved,
    *,
    strict: bool = True,
    rename: Renaming = None,
    stacked: Renaming = None,
) -> Any:
    """Restores a state from what `to_state_dict` gave, array by array and by name.

    Structure, dtypes and shardings are the template's. Between the two, these may have changed
    and are no mismatch: the order of parameters and of links; a learning rate (or any
    hyperparameter) that was constant and follows a schedule, or the reverse, or another
    schedule, whose numbers are then the template's; which label or group a parameter is of, and
    which wrapper is around its link, as long as link and path are found once. What one of the
    two holds in fewer bits, by `low_bit_state`, is decoded or rounded; where both do so in one
    form, it is taken as it is.

    Args:
      template: `init(params)`, or the like of it; without values, as `jax.eval_shape` gives it,
        where everything is restored.
      state_dict: name -> array.
      strict: whether all that was saved must have a place and all places be filled. Otherwise
        the template's values stay where there is nothing, and a report says where. A parameter
        that has some of its arrays in a link and lacks others starts its steps anew there.
      rename: path there -> path here, each a run of whole components, replaced wherever it
        stands: `{"encoder": "backbone"}` for parameters, `{"scale_by_adam.mu":
        "scale_by_lion.mu"}` to take over a slot.
      stacked: path of one layer, with `*` for its number -> path of their stack along a new
        first axis: `{"layers.*": "layers"}`. Layers that were apart are stacked and those that
        were stacked are taken apart, as the template has them.

    Returns:
      The state; without `strict`, the state and a `RestoreReport`.

    Raises:
      TypeError: state_dict is no dict.
      ValueError: it is none of `to_state_dict`, or of a newer format; or, if strict, names,
        shapes or dtypes differ: the message lists all. Nothing is loaded.

    Example:
      >>> import functional_optim as fo
      >>> saved = fo.to_state_dict(fo.trace(0.9).init({"w": 0.0}))
      >>> state, report = fo.from_state_dict(
      ...     fo.trace(0.9).init({"w": 0.0, "new": 0.0}), saved, strict=False
      ... )
      >>> print(report)
      missing: 'steps.new' () int32, 'memory.started.new' () float32, 'trace.new' () float32
    """
    made = restore("from_state_dict", template, state_dict, strict, rename, stacked, ADVICE)
    return made[0] if strict else made


def restore(
    who: str,
    template: PyTree,
    state_dict: Saved,
    strict: bool = True,
    rename: Renaming = None,
    stacked: Renaming = None,
    advice: str = "",
) -> tuple[PyTree, RestoreReport]:
    """The state and the report; `who` is what errors say was called, `advice` how they end."""
    saved = renamed(who, migrated(who, state_dict), rename or {})
    known = Names(who, template)
    saved = gathered(saved, known.names, plain=bool(stacked))
    saved = restacked(who, saved, {k: _shape(known, k) for k in known.names}, stacked or {})
    matched = match(known.names, saved)
    report = _compare(known, matched, saved)
    if strict and not report.complete:
        raise ValueError(
            f"{who}: what was saved does not fit what is here.\n{report}\nNothing was loaded."
            f"{advice}"
        )
    taken = {k: v for k, v in matched.found.items() if k not in report.mismatched}
    taken = _without_clocks_of_incomplete(known, taken)
    return _build(who, known, taken, saved), report


def _shape(known: Names, name: str) -> tuple[int, ...]:
    """The shape that is saved under a name."""
    where = known.names[name]
    x = known.arrays[where.array]
    if where.item is None:
        return saved_shape(x)
    axis = where.axis % x.ndim
    return (*x.shape[:axis], *x.shape[axis + 1 :])


def _compare(known: Names, matched: Match, saved: Saved) -> RestoreReport:
    def here(name: str) -> str:
        return f"{_shape(known, name)} {known.arrays[known.names[name].array].dtype}"

    wrong = {
        k: f"{describe(saved[v])} there, {here(k)} here"
        for k, v in matched.found.items()
        if np.shape(saved[v]) != _shape(known, k)
        or not fits(saved[v], known.arrays[known.names[k].array])
    }
    return RestoreReport(
        {k: here(k) for k in matched.missing(known.names)},
        {k: describe(saved[k]) for k in matched.unexpected(saved)},
        wrong,
        matched.moved,
        tuple(sorted(matched.settled)),
    )


def _without_clocks_of_incomplete(known: Names, taken: dict[str, str]) -> dict[str, str]:
    """What is taken, without the steps of parameters that lack one of their slots.

    Zeros that count as the mean of many steps would be taken for it.
    """
    lacking = {
        (n.link, n.leaf)
        for k, n in known.names.items()
        if n.leaf is not None and not n.of_clock and k not in taken
    }
    return {
        k: v
        for k, v in taken.items()
        if not known.names[k].of_clock or (known.names[k].link, known.names[k].leaf) not in lacking
    }


def _build(who: str, known: Names, taken: Mapping[str, str], saved: Saved) -> PyTree:
    """The template's tree with what is taken over."""
    parts: dict[int, dict[int | None, Any]] = {}
    axes = {where.array: where.axis for where in known.names.values()}
    for name, there in taken.items():
        where = known.names[name]
        parts.setdefault(where.array, {})[where.item] = saved[there]
    for name, where in known.names.items():
        like = known.arrays[where.array]
        if _has_no_values(like) and where.item not in parts.get(where.array, {}):
            raise ValueError(
                f"{who}: there is nothing for '{name}', and the template has shapes alone. Pass "
                "a template with values: init(params)."
            )
    arrays = list(known.arrays)
    empty = {i: {None: np.zeros(x.shape)} for i, x in enumerate(arrays) if 0 in np.shape(x)}
    for i, found in (empty | parts).items():
        value = found[None] if None in found else _of_several(arrays[i], found, axes[i])
        arrays[i] = place(value, arrays[i])
    return jax.tree.unflatten(known.treedef, arrays)


def _has_no_values(like: Any) -> bool:
    return any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(like))


def _of_several(like: Any, found: Mapping[Any, Any], axis: int) -> Any:
    """A part for each parameter, of which some may stay as they are."""
    n = np.shape(like)[axis]
    if len(found) == n:
        return np.stack([np.asarray(decode_state(found[j])) for j in range(n)], axis)
    whole = np.array(decode_state(like))
    for j, x in found.items():
        np.moveaxis(whole, axis, 0)[j] = np.asarray(decode_state(x))
    return whole
