"""Migrates named states of format 1, which all versions up to 0.1 wrote.

In format 1, the state of each link had, next to `count`,

    steps     the number of updates of each parameter
    memory    scalars of each parameter that went from one step to the next, among them the decays
              of the last step

and some moments were bias-corrected: m / (1 - b^t) in place of m. From format 2 on, a link has
`leaf_counts` only if they differ from `count` or `per_leaf_counts` requested them; `carry` replaces
`memory`, without the decays; and moments are plain.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ..core.leaf.quantized import FORMATS, QuantizedArray, decode_state
from ..core.numerics.precision import compute_dtype
from .migration import Migrated
from .placing import HostArray, SavedArray, dtype_of
from .quantized_parts import join_parts, split_parts

__all__ = ["BIAS_CORRECTED", "migrate_format_1"]

Arrays: TypeAlias = dict[str, SavedArray]

BIAS_CORRECTED: Mapping[str, Mapping[str, str]] = {
    "ema": {"ema": "decay"},
    "scale_by_adam": {"mu": "b1", "nu": "b2"},
    "scale_by_adamax": {"mu": "b1"},
    "scale_by_adan": {"mu": "b1", "delta": "b2", "nu": "b3"},
    "scale_by_amsgrad": {"mu": "b1", "nu": "b2"},
    "scale_by_belief": {"mu": "b1"},
    "scale_by_radam": {"mu": "b1", "nu": "b2"},
}
"""Rule -> its bias-corrected slots -> the decay of each, whose last value was in `memory`.

All other slots were plain: nu of Adamax and AdaBelief, nu_max of Adam (the largest v).
AMSGrad's nu_max is the largest bias-corrected v in both formats.
"""

_DECAYS = {decay for slots in BIAS_CORRECTED.values() for decay in slots.values()}
_SLOTS_BY_DECAYS = {frozenset(slots.values()): slots for slots in BIAS_CORRECTED.values()}
"""The decays in its memory identify the rule of a state. The link's name does not: a link alone has
none, and `named_chain` gives a different one."""

_START = {"mu_product": 1.0, "mu": 1.0}
"""Carried scalars (of `scale_by_adam`, `scale_by_asgd`) that were 0 in the memory before a
parameter's first update, and now start at 1. The others start at 0, or are not read then."""


def migrate_format_1(saved: Migrated) -> Migrated:
    """Returns a named state of format 1 as one of format 2."""
    arrays, optional = dict(saved.arrays), set(saved.optional)
    # The state of `trace` had a dampening of 0 if none was passed; now it has no dampening then.
    optional |= {
        k
        for k, x in arrays.items()
        if f".{k}".endswith(".hyperparams.dampening") and not np.any(np.asarray(x))
    }
    for link in _links(saved.arrays):
        _migrate_link(arrays, optional, link)
    _add_floor_of_loss_scales(arrays)
    return Migrated(arrays, frozenset(optional))


def _add_floor_of_loss_scales(arrays: Arrays) -> None:
    """Adds the numbers that the states of `loss_scale` lacked, with their defaults, in place."""
    marker = ".hyperparams.growth_factor"  # only `loss_scale` has this hyperparameter
    for link in [k.removesuffix(marker) for k in arrays if k.endswith(marker)] + [""]:
        start = f"{link}." if link else ""
        factor, tracker = (f"{start}{k}" for k in ("hyperparams.growth_factor", "growth_tracker"))
        if factor in arrays and tracker in arrays:
            arrays.setdefault(f"{start}hyperparams.min_scale", np.ones_like(arrays[factor]))
            arrays.setdefault(f"{start}metrics.notfinite_count", np.zeros_like(arrays[tracker]))


def _links(arrays: Arrays) -> list[str]:
    """Returns the paths of the links that have `steps`; each path but the root's ends in a dot."""
    counts = (k for k in arrays if k == "count" or k.endswith(".count"))
    return [
        name.removesuffix("count")
        for name in counts
        if np.issubdtype(dtype_of(arrays[name]), np.integer)
        and any(_names_below(arrays, f"{name.removesuffix('count')}steps"))
    ]


def _names_below(arrays: Arrays, name: str) -> Iterator[str]:
    """Yields the names that are `name`, or begin with it and a dot."""
    return (k for k in arrays if k == name or k.startswith(f"{name}."))


def _migrate_link(arrays: Arrays, optional: set[str], link: str) -> None:
    """Replaces a link's `steps` and `memory`, and its bias-corrected slots, in place."""
    count = np.asarray(arrays[f"{link}count"])
    steps = {k.removeprefix(f"{link}steps"): k for k in _names_below(arrays, f"{link}steps")}
    leaf_counts = {leaf: np.asarray(arrays.pop(k)) for leaf, k in steps.items()}
    memory: dict[str, dict[str, HostArray]] = {}
    for name in list(_names_below(arrays, f"{link}memory")):
        scalar, _, leaf = name.removeprefix(f"{link}memory.").partition(".")
        memory.setdefault(scalar, {})[f".{leaf}" if leaf else ""] = np.asarray(arrays.pop(name))
    # Some rules now carry whether a parameter has been updated, which they derived from `steps`
    # before. Other rules had this scalar in their memory, and no longer need it.
    started = {leaf: (t > 0).astype(np.float32) for leaf, t in leaf_counts.items()}
    memory.setdefault("started", started)
    optional |= {f"{link}carry.started{leaf}" for leaf in memory["started"]}
    slots = _SLOTS_BY_DECAYS.get(frozenset(memory.keys() & _DECAYS), {})
    if not all(any(_names_below(arrays, f"{link}{slot}")) for slot in slots):
        slots = {}  # a rule of another package, with a scalar of the same name as a decay
    for slot, decay in slots.items():
        for leaf, t in leaf_counts.items():
            total = _one_minus_power(memory[decay][leaf], t)
            _multiply(arrays, f"{link}{slot}{leaf}", total)
    for scalar in memory.keys() - set(slots.values()):
        for leaf, x in memory[scalar].items():
            has_started = leaf_counts[leaf] > 0
            carried = np.where(has_started, x, _START.get(scalar, 0.0)).astype(x.dtype)
            arrays[f"{link}carry.{scalar}{leaf}"] = carried
    if any(not np.array_equal(t, _broadcast_count(count, t)) for t in leaf_counts.values()):
        arrays |= {f"{link}leaf_counts{leaf}": t for leaf, t in leaf_counts.items()}


def _broadcast_count(count: HostArray, t: HostArray) -> HostArray:
    """Broadcasts a link's count to the shape of one parameter's count, or of all counts.

    `vmap` may have added leading axes.
    """
    return np.broadcast_to(count if count.ndim == t.ndim else count[..., None], t.shape)


def _one_minus_power(b: HostArray, t: HostArray) -> HostArray:
    """Computes 1 - b^t without cancellation, in float64."""
    b = np.asarray(b, np.float64)
    log = np.log(np.where(b > 0, b, 1.0))
    return np.where(b > 0, -np.expm1(t * log), np.where(t > 0, 1.0, 0.0))


def _multiply(arrays: Arrays, name: str, factor: HostArray) -> None:
    """Multiplies the array of a name, quantized or not, if it was saved.

    The factor's axes are the leading axes of the array.
    """
    if name in arrays:
        arrays[name] = _product(arrays[name], factor)
        return
    parts = {f"{name}.{part}" for kind in FORMATS.values() for part in kind.parts}
    quantized = join_parts({k: arrays[k] for k in parts & arrays.keys()}, {}, decode=False)
    if name in quantized:
        kind = type(quantized[name])
        assert issubclass(kind, QuantizedArray)  # because `name` itself was not saved
        x = jnp.asarray(_product(decode_state(quantized[name]), factor))
        arrays |= split_parts(name, kind.of(x, None))


def _product(x: SavedArray, factor: HostArray) -> SavedArray:
    """Multiplies in float64, or on the devices of a JAX array; keeps the dtype."""
    assert not isinstance(x, QuantizedArray)
    factor = factor.reshape(factor.shape + (1,) * (x.ndim - factor.ndim))
    if isinstance(x, jax.Array):  # it may be sharded over several processes
        wide = x.astype(compute_dtype(x.dtype))
        return (wide * jnp.asarray(factor, wide.dtype)).astype(x.dtype)
    doubled = x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)
    return (doubled * factor).astype(x.dtype)
