"""Migrates named states of format 1, which all versions up to 0.1 wrote.

Format 1 had in the state of each link, beside `count`,

    steps     the number of updates of each parameter
    memory    scalars of each parameter that went from one step to the next, among them the decays
              of the last step

and kept some moments bias-corrected: m / (1 - b^t) in place of m. From format 2 on there are
`leaf_counts` only where they differ from `count`, or where they are asked for; `carry` in place of
`memory`, without the decays; and the plain moments.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.leaf.quantized import FORMATS
from ..core.numerics.precision import compute_dtype
from .migration import Migrated
from .placing import dtype_of
from .quantized_parts import join_parts, split_parts

__all__ = ["BIAS_CORRECTED", "migrate_format_1"]

Arrays = dict[str, Any]

BIAS_CORRECTED: Mapping[str, Mapping[str, str]] = {
    "ema": {"ema": "decay"},
    "scale_by_adam": {"mu": "b1", "nu": "b2"},
    "scale_by_adamax": {"mu": "b1"},
    "scale_by_adan": {"mu": "b1", "delta": "b2", "nu": "b3"},
    "scale_by_amsgrad": {"mu": "b1", "nu": "b2"},
    "scale_by_belief": {"mu": "b1"},
    "scale_by_radam": {"mu": "b1", "nu": "b2"},
}
"""Rule -> its bias-corrected slots -> the decay of each, whose last value was in the memory.

The slots that are not here were plain: nu of Adamax and AdaBelief, nu_max of Adam (the largest v).
AMSGrad's nu_max is the largest bias-corrected v in both formats.
"""

_DECAYS = {decay for slots in BIAS_CORRECTED.values() for decay in slots.values()}
_SLOTS_BY_DECAYS = {frozenset(slots.values()): slots for slots in BIAS_CORRECTED.values()}
"""A state does not say which rule made it (a link alone has no name, `named_chain` gives another),
but the decays in its memory do."""

_START = {"mu_product": 1.0, "mu": 1.0}
"""Carried scalars (of `scale_by_adam`, `scale_by_asgd`) that were 0 in the memory before a
parameter's first update, and now start at 1. The others start at 0, or are not read then."""


def migrate_format_1(saved: Migrated) -> Migrated:
    """Returns a named state of format 1 as one of format 2."""
    arrays, optional = dict(saved.arrays), set(saved.optional)
    # A trace had a dampening of 0 where none was given, and now has none.
    optional |= {
        k
        for k, x in arrays.items()
        if f".{k}".endswith(".hyperparams.dampening") and not np.any(np.asarray(x))
    }
    for link in _links(saved.arrays):
        _migrate_link(arrays, optional, link)
    return Migrated(arrays, frozenset(optional))


def _links(arrays: Arrays) -> list[str]:
    """Returns the paths of the links that have steps, each with a dot behind it but the root."""
    counts = (k for k in arrays if k == "count" or k.endswith(".count"))
    return [
        name.removesuffix("count")
        for name in counts
        if np.issubdtype(dtype_of(arrays[name]), np.integer)
        and any(_below(arrays, f"{name.removesuffix('count')}steps"))
    ]


def _below(arrays: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yields the names that are `name`, or begin with it and a dot."""
    return (k for k in arrays if k == name or k.startswith(f"{name}."))


def _migrate_link(arrays: Arrays, optional: set[str], link: str) -> None:
    count = np.asarray(arrays[f"{link}count"])
    steps = {k.removeprefix(f"{link}steps"): k for k in _below(arrays, f"{link}steps")}
    leaf_counts = {leaf: np.asarray(arrays.pop(k)) for leaf, k in steps.items()}
    memory: dict[str, dict[str, Any]] = {}
    for name in list(_below(arrays, f"{link}memory")):
        scalar, _, leaf = name.removeprefix(f"{link}memory.").partition(".")
        memory.setdefault(scalar, {})[f".{leaf}" if leaf else ""] = arrays.pop(name)
    # Some rules now carry whether a parameter has been updated, and derived it from the steps
    # before. Others had it in their memory, and no longer need it.
    memory.setdefault("started", {leaf: np.float32(t > 0) for leaf, t in leaf_counts.items()})
    optional |= {f"{link}carry.started{leaf}" for leaf in memory["started"]}
    slots = _SLOTS_BY_DECAYS.get(frozenset(memory.keys() & _DECAYS), {})
    if not all(any(_below(arrays, f"{link}{slot}")) for slot in slots):
        slots = {}  # a rule of another package, with a scalar of that name
    for slot, decay in slots.items():
        for leaf, t in leaf_counts.items():
            total = _one_minus_power(np.asarray(memory[decay][leaf]), t)
            _multiply(arrays, f"{link}{slot}{leaf}", total)
    for scalar in memory.keys() - set(slots.values()):
        for leaf, x in memory[scalar].items():
            started = leaf_counts[leaf] > 0
            carried = np.where(started, x, _START.get(scalar, 0.0)).astype(x.dtype)
            arrays[f"{link}carry.{scalar}{leaf}"] = carried
    if any(not np.array_equal(t, _like(count, t)) for t in leaf_counts.values()):
        arrays |= {f"{link}leaf_counts{leaf}": t for leaf, t in leaf_counts.items()}


def _like(count: Any, t: Any) -> Any:
    """Returns the count in the shape of a parameter's count, or of all parameters' counts."""
    return np.broadcast_to(count if count.ndim == t.ndim else count[..., None], t.shape)


def _one_minus_power(b: Any, t: Any) -> Any:
    """Computes 1 - b^t without cancellation, in float64."""
    b = np.asarray(b, np.float64)
    log = np.log(np.where(b > 0, b, 1.0))
    return np.where(b > 0, -np.expm1(t * log), np.where(t > 0, 1.0, 0.0))


def _multiply(arrays: Arrays, name: str, factor: Any) -> None:
    """Multiplies an array, whose leading axes are those of the factor, if it is there."""
    if name in arrays:
        arrays[name] = _product(arrays[name], factor)
        return
    parts = {f"{name}.{part}" for form in FORMATS.values() for part in form.parts}
    quantized = join_parts({k: arrays[k] for k in parts & arrays.keys()}, {}, decode=False)
    if name in quantized:
        form = type(quantized[name])
        x = jnp.asarray(_product(quantized[name].decoded(), factor))
        arrays |= split_parts(name, form.of(x, None))


def _product(x: Any, factor: Any) -> Any:
    factor = factor.reshape(factor.shape + (1,) * (x.ndim - factor.ndim))
    if isinstance(x, jax.Array):  # it may be sharded over several processes
        wide = x.astype(compute_dtype(x.dtype))
        return (wide * jnp.asarray(factor, wide.dtype)).astype(x.dtype)
    doubled = x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)
    return (doubled * factor).astype(x.dtype)
