"""The state of L-BFGS in torch's format: flat vectors, all under the first parameter."""

from collections.abc import Mapping

import jax
import numpy as np

from ...core.protocol import PyTree
from ...core.state import State
from ..conversions import as_numpy
from .checks import is_count, numbers_problem
from .entries import ParamState, place
from .match import SavedGroup

__all__ = ["read_lbfgs_state", "write_lbfgs_states"]

Array = np.ndarray

# torch's name of an entry -> name here. Each dict has one kind of value.
_VECTORS = {"d": "direction", "prev_flat_grad": "grad"}
_RINGS = {"old_dirs": "diff_updates_memory", "old_stps": "diff_params_memory"}
_SCALARS = {"t": "step", "H_diag": "scale", "prev_loss": "value_before"}
_COUNTS = {"n_iter": "iterations", "func_evals": "evaluations"}
_LISTS = {"ro": "weights", "al": "taken"}
_NAMES = (*_VECTORS, *_RINGS, *_SCALARS, *_COUNTS, *_LISTS)


def write_lbfgs_states(link: State, params: PyTree) -> list[ParamState]:
    """Returns torch's states of all parameters; only the first is not empty.

    torch makes some entries after the first iteration; so does this function.
    """
    scalars = jax.device_get(link.scalars)
    entry: ParamState = {}
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
        # torch computes `al` from the negative gradient.
        alphas = [-scalars["taken"][i] for i in order]
        entry["al"] = alphas + [None] * (len(scalars["weights"]) - len(alphas))
    return [{} if i else entry for i, _ in enumerate(jax.tree.leaves(params))]


def _oldest_first(scalars: Mapping[str, PyTree]) -> list[int]:
    """Returns the indices of the pairs in the ring buffers, the oldest first."""
    m, end, size = len(scalars["weights"]), int(scalars["end"]), int(scalars["size"])
    return [(end - size + i) % m for i in range(size)]


def _flat(tree: PyTree) -> Array:
    """Returns all leaves as one vector, with two elements for a complex number."""
    leaves = [np.ravel(np.asarray(x)) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.view(x.real.dtype) for x in leaves])


def read_lbfgs_state(owner: str, saved: SavedGroup, params: PyTree, fresh: State) -> State:
    """Returns the fresh state with the saved entries, and at most as many pairs as it has room for.

    Raises:
      ValueError: the entries are of another optimizer, or of other parameters.
    """
    states = [state for state in saved.states if state]
    if not states:
        return fresh
    entry: ParamState = dict.fromkeys(_NAMES) | states[0]
    _check(owner, states, entry, params)
    count = entry["n_iter"] if saved.steps is None else saved.steps
    scalars = dict(fresh.scalars)
    for k, name in _COUNTS.items():
        scalars[name] = place(entry[k] or 0, scalars[name])
    fields: dict[str, PyTree] = {"count": place(count, fresh.count)}
    if "leaf_counts" in fresh:
        fields["leaf_counts"] = place(np.full(len(saved.names), count), fresh.leaf_counts)
    if entry["d"] is not None and entry["n_iter"]:  # the first iteration replaces all of them
        for k, name in _SCALARS.items():
            scalars[name] = place(entry[k], scalars[name])
        m, pairs = len(scalars["weights"]), len(entry["ro"])
        size = min(pairs, m)
        newest = slice(pairs - size, pairs)  # torch keeps more where history_size was lowered
        for k, name in _LISTS.items():
            sign = -1 if k == "al" else 1
            values = [sign * float(as_numpy(x).item()) for x in (entry[k] or [])[newest]]
            scalars[name] = place(np.array(values + [0.0] * (m - len(values))), scalars[name])
        scalars["size"] = place(size, scalars["size"])
        scalars["end"] = place(size % m, scalars["end"])
        for k, slot in _VECTORS.items():
            fields[slot] = _put(fresh[slot], [_parts(entry[k], saved, params)], ())
        for k, slot in _RINGS.items():
            rows = [_parts(x, saved, params) for x in entry[k][newest]]
            fields[slot] = _put(fresh[slot], rows, (slice(0, size),)) if rows else fresh[slot]
    return fresh._replace(scalars=scalars, **fields)


def _check(
    owner: str, states: list[ParamState], entry: Mapping[str, PyTree], params: PyTree
) -> None:
    """Raises ValueError if the entries do not fit the parameters."""
    n = sum(x.size * (2 if np.iscomplexobj(x) else 1) for x in jax.tree.leaves(params))
    problems = [f"{k!r} is not kept here" for k in states[0] if k not in _NAMES]
    problems += ["more than one parameter has entries"] if len(states) > 1 else []
    problems += _value_problems(entry)
    if problems:  # before sizes are compared, which other values do not have
        raise _wrong(owner, problems)
    vectors = {k: [entry[k]] for k in _VECTORS} | {k: entry[k] or [] for k in _RINGS}
    for k, xs in vectors.items():
        sizes = {np.size(as_numpy(x)) for x in xs if x is not None}
        if sizes - {n}:
            problems.append(f"{k!r} has {sorted(sizes - {n})[0]} elements, the parameters {n}")
    lengths = {k: len(entry[k] or []) for k in ("ro", *_RINGS)}
    if len(set(lengths.values())) > 1:
        problems.append(f"lists of the lengths {lengths}, which must be equal")
    if problems:
        raise _wrong(owner, problems)


def _value_problems(entry: Mapping[str, PyTree]) -> list[str]:
    """Describes the entries that are not counts, numbers, arrays, or lists of them."""
    present = {k: x for k, x in entry.items() if x is not None}
    problems = [
        f"{k!r} is not a count" for k in _COUNTS.keys() & present.keys() if not is_count(present[k])
    ]
    singles = {k: [x] for k, x in present.items() if k in _VECTORS or k in _SCALARS}
    for k in (_RINGS.keys() | _LISTS.keys()) & present.keys():
        if isinstance(present[k], (list, tuple)):
            # torch fills `al` with None up to the size of the history.
            singles[k] = [x for x in present[k] if k != "al" or x is not None]
        else:
            problems.append(f"{k!r} is not a list")
    for k, xs in singles.items():
        wrong = [problem for x in xs if (problem := numbers_problem(x)) is not None]
        wrong += ["is complex" for x in xs if not wrong and np.iscomplexobj(as_numpy(x))]
        if k in _SCALARS or k in _LISTS:
            wrong += ["is not one number" for x in xs if not wrong and np.size(as_numpy(x)) != 1]
        problems += [f"{k!r} {problem}" for problem in wrong[:1]]
    if not problems and present.get("n_iter") and "d" in present:
        missing = sorted((_VECTORS.keys() | _RINGS.keys() | {"ro", *_SCALARS}) - present.keys())
        problems += [f"{k!r} is missing" for k in missing]
    return problems


def _wrong(owner: str, problems: list[str]) -> ValueError:
    return ValueError(
        f"{owner}: the saved state is of another optimizer or other parameters: "
        f"{'; '.join(problems)}. Nothing was loaded."
    )


def _parts(vector: PyTree, saved: SavedGroup, params: PyTree) -> list[Array]:
    """Splits a flat vector into arrays, in the order of the leaves of the tree."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(params)]
    # The vector is in the order of the file's numbers, the leaves may be in another.
    order = np.argsort(saved.numbers)
    widths = [x.size * (2 if np.iscomplexobj(x) else 1) for x in leaves]
    ends = np.cumsum([widths[i] for i in order])[:-1]
    parts: list[Array] = [np.empty(0)] * len(leaves)
    for i, part in zip(order, np.split(as_numpy(vector), ends), strict=True):
        like = leaves[i]
        # A complex leaf has two elements of the vector for each of its elements.
        wide = part.astype(like.real.dtype)
        parts[i] = wide.view(like.dtype).reshape(like.shape)
    return parts


def _put(slot: PyTree, rows: list[list[Array]], at: tuple[slice, ...]) -> PyTree:
    """Returns the slot with the rows written into its leaves, each in its dtype and sharding."""
    leaves, treedef = jax.tree.flatten(slot)
    new = []
    for i, old in enumerate(leaves):
        value = np.array(old)
        value[at] = np.stack([row[i] for row in rows]) if at else rows[0][i]
        new.append(place(value, old))
    return jax.tree.unflatten(treedef, new)
