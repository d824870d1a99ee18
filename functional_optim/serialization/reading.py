"""Restores a state from a flat dictionary."""

from collections.abc import Mapping
from typing import Literal, TypeAlias, overload

import jax
import numpy as np

from ..core.leaf.quantized import decode_state
from ..core.protocol import PyTree
from .argument_names import find_renamed
from .leaf_scalars import LeafScalars, is_leaf_scalar
from .matching import Match, match
from .names import Names
from .placing import HostArray, SavedArray, StateArray, fits, has_shape, place, saved_shape
from .quantized_parts import join_parts
from .renaming import new_names, restack, without_containers
from .report import RestoreReport, describe
from .versions import migrate

__all__ = ["ADVICE", "HyperparamsOf", "from_state_dict", "restore"]

ADVICE = (
    " Pass strict=False to keep the template's values of missing and mismatched arrays, and to "
    "leave out unexpected ones, rename={saved: new} for arrays with another name, "
    "stacked={'layers.*': 'layers'} for stacked layers."
)
"""The advice at the end of an error about a state that does not fit."""

Saved: TypeAlias = Mapping[str, SavedArray]
Renaming: TypeAlias = Mapping[str, str] | None
HyperparamsOf: TypeAlias = Literal["saved", "template"]
"""Whose hyperparameters a restored state has."""


@overload
def from_state_dict(
    template: PyTree,
    state_dict: Saved,
    *,
    strict: Literal[True] = True,
    rename: Renaming = None,
    stacked: Renaming = None,
    hyperparams: HyperparamsOf = "saved",
) -> PyTree: ...


@overload
def from_state_dict(
    template: PyTree,
    state_dict: Saved,
    *,
    strict: Literal[False],
    rename: Renaming = None,
    stacked: Renaming = None,
    hyperparams: HyperparamsOf = "saved",
) -> tuple[PyTree, RestoreReport]: ...


def from_state_dict(
    template: PyTree,
    state_dict: Saved,
    *,
    strict: bool = True,
    rename: Renaming = None,
    stacked: Renaming = None,
    hyperparams: HyperparamsOf = "saved",
) -> PyTree | tuple[PyTree, RestoreReport]:
    """Restores a state from the dictionary that `to_state_dict` returned, array by array.

    Structure, dtypes and shardings are the template's. The following may differ between the saved
    state and the template: the order of parameters and of links; a hyperparameter, such as the
    learning rate, that was constant and follows a schedule, or the reverse, or another schedule,
    whose numbers are then the template's; the label or group of a parameter, and the wrapper
    around its link, as long as link and path are found once; the labels of `by_label`, which are
    the template's if it has their values. Arrays that only one of the two keeps in fewer bits, by
    `low_bit_state`, are decoded or rounded; if both use the same format, the bits are copied.

    The structure differs from the template's in one case, the same that changes it during a run: if
    the parameters of a link had different numbers of updates, because some gradients were None, or
    because a parameter is new, then the link's state gets `leaf_counts` `(n,)`, and scalars that it
    carries from step to step become `(n,)`. `RestoreReport.leaf_counts` lists these links. In the
    reverse case, a template that has `leaf_counts` (`per_leaf_counts`) keeps them, filled with the
    saved `count`.

    States that earlier versions saved (`_format_version` 1) are read as well: their bias-corrected
    moments become plain ones, their counts of each parameter become `count` or `leaf_counts`, and
    the run continues as it would have, to the rounding of float32.

    Args:
      template: `init(params)`, or a state like it; the shapes that `jax.eval_shape` returns are
        enough if everything is restored.
      state_dict: name -> array.
      strict: whether all saved arrays must have a place and all places be filled. Otherwise
        the template's values stay where nothing was saved, and a report says where. A parameter
        that lacks some of its arrays in a link starts over there, with the template's count.
      rename: saved path -> new path, each a run of whole components, replaced wherever it
        occurs: `{"encoder": "backbone"}` for parameters, `{"scale_by_adam.mu":
        "scale_by_lion.mu"}` to use a slot of another rule.
      stacked: path of one layer, with `*` for its number -> path of their stack along a new
        first axis: `{"layers.*": "layers"}`. Layers are stacked or unstacked as the template has
        them.
      hyperparams: `"saved"` restores the hyperparameters and the numbers of schedules, so that a
        run continues as it was; `"template"` keeps the template's, for new values in the code
        or for another optimizer. Counts are restored in both cases, so a new schedule continues
        at the step that the run has reached.

    Returns:
      The state; without `strict`, the state and a `RestoreReport`.

    Raises:
      TypeError: state_dict is not a dict.
      ValueError: state_dict is not from `to_state_dict`, or has a newer format; or, if strict,
        names, shapes or dtypes differ: the message lists all. Nothing is loaded.

    Example:
      >>> import functional_optim as fo
      >>> saved = fo.to_state_dict(fo.trace(0.9).init({"w": 0.0}))
      >>> state, report = fo.from_state_dict(
      ...     fo.trace(0.9).init({"w": 0.0, "new": 0.0}), saved, strict=False
      ... )
      >>> print(report)
      missing: 'trace.new' () float32
    """
    restored = restore(
        "from_state_dict", template, state_dict, strict, rename, stacked, hyperparams, ADVICE
    )
    return restored[0] if strict else restored


def restore(
    function: str,
    template: PyTree,
    state_dict: Saved,
    strict: bool = True,
    rename: Renaming = None,
    stacked: Renaming = None,
    hyperparams: HyperparamsOf = "saved",
    advice: str = "",
) -> tuple[PyTree, RestoreReport]:
    """Restores a state, and reports on it.

    `from_state_dict` explains the other arguments.

    Args:
      function: name of the public function, which errors begin with.
      advice: the end of the error for a state that does not fit.
    """
    if hyperparams not in ("saved", "template"):
        raise ValueError(
            f"{function}: hyperparams must be 'saved' or 'template', got {hyperparams!r}."
        )
    migrated = migrate(function, state_dict)
    renamed = new_names(function, migrated.arrays, rename or {})
    saved = {renamed[k]: x for k, x in migrated.arrays.items()}
    optional = {renamed[k] for k in migrated.optional}
    names = Names(function, template)
    saved = without_containers(saved, names.names)
    argument_names = find_renamed(saved, names.names)
    saved = {argument_names.get(k, k): x for k, x in saved.items()}
    saved = join_parts(saved, names.names, decode=bool(stacked))
    shapes = {k: _shape(names, k) for k in names.names}
    saved = restack(function, saved, shapes | LeafScalars.shapes(names), stacked or {})

    arrays = {k: x for k, x in saved.items() if not is_leaf_scalar(k, saved)}
    wanted = {k: n for k, n in names.names.items() if not n.is_leaf_scalar}
    matched = match(wanted, arrays, _kept_fields(names, hyperparams))
    mismatched = _mismatches(names, matched, saved)
    sources = {k: v for k, v in matched.sources.items() if k not in mismatched}
    scalars = LeafScalars(names, matched.sources, saved, mismatched)
    report = _report(names, matched, scalars, mismatched, saved, optional)
    if strict and not report.complete:
        raise ValueError(
            f"{function}: the saved state does not fit the template.\n{report}\nNothing was "
            f"loaded.{advice}"
        )
    return scalars.put(function, _build(function, names, sources, saved)), report


def _kept_fields(names: Names, hyperparams: HyperparamsOf) -> set[str]:
    """Returns the fields of links that keep the template's values."""
    fields = {"hyperparams", "schedules"} if hyperparams == "template" else set()
    labels = [names.arrays[n.array] for n in names.names.values() if n.field == "groups"]
    # `groups` has indices into the labels in the code; a template of shapes alone lacks them.
    return fields | ({"groups"} if not any(map(_has_no_values, labels)) else set())


def _shape(names: Names, name: str) -> tuple[int, ...]:
    """Returns the shape with which an array of the template is saved."""
    place_of_array = names.names[name]
    shape = saved_shape(names.arrays[place_of_array.array])
    if place_of_array.item is None:
        return shape
    axis = place_of_array.axis % len(shape)
    return (*shape[:axis], *shape[axis + 1 :])


def _describe_target(names: Names, name: str) -> str:
    return f"{_shape(names, name)} {names.arrays[names.names[name].array].dtype}"


def _mismatches(names: Names, matched: Match, saved: Saved) -> dict[str, str]:
    """Describes the arrays whose shapes or dtypes do not fit."""
    return {
        k: f"{describe(saved[v])} saved, {_describe_target(names, k)} in the template"
        for k, v in matched.sources.items()
        if not has_shape(saved[v], _shape(names, k))
        or not fits(saved[v], names.arrays[names.names[k].array])
    }


def _report(
    names: Names,
    matched: Match,
    scalars: LeafScalars,
    mismatched: dict[str, str],
    saved: Saved,
    optional: set[str],
) -> RestoreReport:
    missing = matched.missing(k for k, n in names.names.items() if not n.is_leaf_scalar)
    unexpected = [
        k for k in matched.unexpected(saved) if k not in scalars.used and k not in optional
    ]
    return RestoreReport(
        {k: _describe_target(names, k) for k in missing} | scalars.missing,
        {k: describe(saved[k]) for k in unexpected},
        mismatched,
        matched.moved,
        tuple(sorted(matched.kept)),
        tuple(scalars.added),
    )


def _build(function: str, names: Names, sources: Mapping[str, str], saved: Saved) -> PyTree:
    """Returns the template with the saved arrays, except leaf scalars."""
    parts: dict[int, dict[int | None, SavedArray]] = {}
    axes = {x.array: x.axis for x in names.names.values()}
    for name, source in sources.items():
        target = names.names[name]
        parts.setdefault(target.array, {})[target.item] = saved[source]
    for name, target in names.names.items():
        if target.is_leaf_scalar or target.item in parts.get(target.array, {}):
            continue
        if _has_no_values(names.arrays[target.array]):
            raise ValueError(
                f"{function}: nothing was restored for '{name}', and the template has only its "
                "shape. Pass a template with values: init(params)."
            )
    arrays = list(names.arrays)
    # A checkpoint may leave out arrays without elements.
    empty: dict[int, dict[int | None, SavedArray]] = {
        i: {None: np.zeros(np.shape(x))} for i, x in enumerate(arrays) if 0 in np.shape(x)
    }
    for i, items in (empty | parts).items():
        value = items[None] if None in items else _join_items(arrays[i], items, axes[i])
        arrays[i] = place(value, arrays[i])
    return jax.tree.unflatten(names.treedef, arrays)


def _has_no_values(x: StateArray) -> bool:
    """Tells whether an array of the template, or a part of it, is only a shape."""
    return any(isinstance(part, jax.ShapeDtypeStruct) for part in jax.tree.leaves(x))


def _join_items(like: StateArray, items: Mapping[int | None, SavedArray], axis: int) -> HostArray:
    """Returns `like` with the saved items of several parameters in place of its own."""
    n = np.shape(like)[axis]
    if len(items) == n:
        return np.stack([np.asarray(decode_state(items[j])) for j in range(n)], axis)
    whole = np.array(decode_state(like))
    for j, x in items.items():
        np.moveaxis(whole, axis, 0)[j] = np.asarray(decode_state(x))
    return whole
