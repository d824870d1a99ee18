"""The state of L-BFGS in torch's format: flat vectors, all kept for the first parameter."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.state import State
from .named_state import place
from .plain import as_numpy
from .torch_file import SavedGroup
from .torch_state import Entry

__all__ = ["read_entry", "write_entry"]

Array = np.ndarray[Any, Any]

_VECTORS = {"d": "direction", "prev_flat_grad": "grad"}
_RINGS = {"old_dirs": "diff_updates_memory", "old_stps": "diff_params_memory"}
_SCALARS = {"t": "step", "H_diag": "scale", "prev_loss": "value_before"}
_COUNTS = {"n_iter": "iterations", "func_evals": "evaluations"}
_LISTS = {"ro": "weights", "al": "taken"}


def write_entry(link: State, params: PyTree) -> list[Entry]:
    """torch's entries of all parameters: that of the first, and empty ones.

    torch does not have all of them from the start; nor are they here, before they are there.
    """
    scalars = jax.device_get(link.scalars)
    entry: Entry = {}
    if scalars["evaluations"]:
        entry = {k: int(scalars[name]) for k, name in _COUNTS.items()}
    if scalars["iterations"]:
        entry |= {k: _flat(link[slot]) for k, slot in _VECTORS.items()}
        entry |= {k: float(scalars[name]) for k, name in _SCALARS.items()}
        order = _oldest_first(scalars)
        for k, slot in _RINGS.items():
            rings = jax.device_get(link[slot])
            entry[k] = [_flat(jax.tree.map(lambda ring, i=i: ring[i], rings)) for i in order]
        entry["ro"] = [scalars["weights"][i] for i in order]
    if scalars["iterations"] > 1:
        # torch takes them from the negative gradient.
        taken = [-scalars["taken"][i] for i in order]
        entry["al"] = taken + [None] * (len(scalars["weights"]) - len(taken))
    return [entry] + [{} for _ in jax.tree.leaves(params)[1:]]


def _oldest_first(scalars: Mapping[str, Any]) -> list[int]:
    """Where in the rings the pairs are."""
    m, end, size = len(scalars["weights"]), int(scalars["end"]), int(scalars["size"])
    return [(end - size + i) % m for i in range(size)]


def _flat(tree: PyTree) -> Array:
    """A vector of all leaves; a complex element as two."""
    leaves = [np.ravel(np.asarray(x)) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.view(x.real.dtype) for x in leaves])


def read_entry(who: str, saved: SavedGroup, params: PyTree, fresh: State) -> State:
    """The fresh state with what was saved; of more pairs than it keeps, the newest.

    Raises:
      ValueError: the entries are of another optimizer, or of other parameters.
    """
    found = [entry for entry in saved.entries if entry]
    if not found:
        return fresh
    entry: Entry = dict.fromkeys((*_VECTORS, *_RINGS, *_SCALARS, *_COUNTS, *_LISTS)) | found[0]
    _check(who, found, entry, params)
    count = entry["n_iter"] if saved.steps is None else saved.steps
    scalars = dict(fresh.scalars)
    for k, name in _COUNTS.items():
        scalars[name] = place(entry[k] or 0, scalars[name])
    fields: dict[str, Any] = {"count": place(count, fresh.count)}
    fields["steps"] = place(np.full(len(saved.names), count), fresh.steps)
    if entry["d"] is not None:
        for k, name in _SCALARS.items():
            scalars[name] = place(entry[k], scalars[name])
        m, there = len(scalars["weights"]), len(entry["ro"])
        size = min(there, m)
        newest = slice(there - size, there)  # torch keeps more where history_size was lowered
        for k, name in _LISTS.items():
            sign = -1 if k == "al" else 1
            values = [sign * float(as_numpy(x)) for x in (entry[k] or [])[newest]]
            scalars[name] = place(np.array(values + [0.0] * (m - len(values))), scalars[name])
        scalars["size"] = place(size, scalars["size"])
        scalars["end"] = place(size % m, scalars["end"])
        for k, slot in _VECTORS.items():
            fields[slot] = _put(fresh[slot], [_parts(entry[k], saved, params)], ())
        for k, slot in _RINGS.items():
            rows = [_parts(x, saved, params) for x in entry[k][newest]]
            fields[slot] = _put(fresh[slot], rows, (slice(0, size),)) if rows else fresh[slot]
    return fresh._replace(scalars=scalars, **fields)


def _check(who: str, found: list[Entry], entry: Mapping[str, Any], params: PyTree) -> None:
    """Raises where the entries are not those of these parameters."""
    n = sum(x.size * (2 if np.iscomplexobj(x) else 1) for x in jax.tree.leaves(params))
    known = {*_VECTORS, *_RINGS, *_SCALARS, *_COUNTS, *_LISTS}
    problems = [f"{k!r} is not kept here" for k in found[0] if k not in known]
    problems += ["more than one parameter has entries"] if len(found) > 1 else []
    vectors = {k: [entry[k]] for k in _VECTORS} | {k: entry[k] or [] for k in _RINGS}
    for k, xs in vectors.items():
        sizes = {np.size(as_numpy(x)) for x in xs if x is not None}
        if sizes - {n}:
            problems.append(f"{k!r} has {sorted(sizes - {n})[0]} elements, the parameters {n}")
    lengths = {k: len(entry[k] or []) for k in ("ro", *_RINGS)}
    if len(set(lengths.values())) > 1:
        problems.append(f"lists of the lengths {lengths}, which are of the same pairs")
    if problems:
        raise ValueError(
            f"{who}: the saved state is of another optimizer or other parameters: "
            f"{'; '.join(problems)}. Nothing was loaded."
        )


def _parts(vector: Any, saved: SavedGroup, params: PyTree) -> list[Array]:
    """A flat vector taken apart, in the order of the leaves here."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(params)]
    order = np.argsort(saved.numbers)
    widths = [x.size * (2 if np.iscomplexobj(x) else 1) for x in leaves]
    ends = np.cumsum([widths[i] for i in order])[:-1]
    parts: list[Array] = [np.empty(0)] * len(leaves)
    for i, part in zip(order, np.split(as_numpy(vector), ends), strict=True):
        like = leaves[i]
        wide = part.astype(like.real.dtype)
        parts[i] = wide.view(like.dtype).reshape(like.shape)
    return parts


def _put(slot: PyTree, rows: list[list[Array]], at: tuple[slice, ...]) -> PyTree:
    """The slot with arrays of the leaves put in, in its dtype and place."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(slot)
    new = []
    for i, old in enumerate(leaves):
        value = np.array(old)
        value[at] = np.stack([row[i] for row in rows]) if at else rows[0][i]
        new.append(place(value, old))
    return treedef.unflatten(new)
