"""Reads partition specs, broadcasts them over a tree, and adds an axis of the mesh to them."""

from collections.abc import Iterator
from typing import TypeAlias

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from ..core.protocol import PyTree
from ..core.trees.structure import path_string

__all__ = [
    "REPLICATED",
    "AnyMesh",
    "axes_of",
    "broadcast_specs",
    "find_mesh",
    "shard_axis",
    "sharded_along",
    "trimmed",
]

AnyMesh = jax.sharding.Mesh | jax.sharding.AbstractMesh

Entry: TypeAlias = str | tuple[str, ...] | None
"""An entry of a spec: the axes of the mesh that divide an axis of the array."""

REPLICATED = PartitionSpec()
"""The spec of an array of which every device has a whole copy."""


def broadcast_specs(function: str, params: PyTree, specs: PyTree) -> PyTree:
    """Returns a tree with a spec for each parameter.

    Args:
      function: name of the public function, which errors begin with.
      params: arrays, or shapes.
      specs: a tree of specs or shardings shaped like the parameters, or a prefix of that; None
        in the tree is `PartitionSpec()`. None alone means the present shardings of the parameters.
    """
    if specs is None:
        return jax.tree.map(_present_spec, params)
    try:
        full = jax.tree.broadcast(specs, params, is_leaf=_is_spec)
    except ValueError as error:
        raise ValueError(
            f"{function}: specs do not fit the parameters: {error} Give one for each parameter, or "
            "one for a whole subtree."
        ) from None
    return jax.tree_util.tree_map_with_path(
        lambda path, s, p: _check_spec(f"{function}: the spec at '{path_string(path)}'", s, p),
        full,
        params,
        is_leaf=_is_spec,
    )


def find_mesh(*trees: PyTree) -> AnyMesh | None:
    """Returns the mesh of the first sharding, or array with a sharding, in the trees."""
    for x in jax.tree.leaves(trees, is_leaf=_is_spec):
        sharding = x if isinstance(x, Sharding) else _sharding(x)
        if isinstance(sharding, NamedSharding):
            return sharding.mesh
    return None


def axes_of(spec: PartitionSpec) -> Iterator[str]:
    """Yields the names of the mesh's axes in a spec."""
    for entry in spec:
        yield from _names(entry)


def trimmed(spec: PartitionSpec) -> PartitionSpec:
    """Returns the spec without trailing axes that are not sharded."""
    last = max((i for i, entry in enumerate(spec, 1) if entry is not None), default=0)
    return PartitionSpec(*spec[:last])


def shard_axis(shape: tuple[int, ...], spec: PartitionSpec, mesh: AnyMesh, axis: str) -> int | None:
    """Returns the axis of an array that an axis of the mesh divides, or None if there is none.

    Axes that are not sharded yet come first.
    """
    if axis in axes_of(spec):
        return None
    entries = _entries(shape, spec)
    parts = [int(np.prod([mesh.shape[name] for name in _names(e)], dtype=int)) for e in entries]
    fits = [i for i, n in enumerate(shape) if n and n % (parts[i] * mesh.shape[axis]) == 0]
    return min(fits, key=lambda i: (entries[i] is not None, i), default=None)


def sharded_along(
    shape: tuple[int, ...], spec: PartitionSpec, mesh: AnyMesh, axis: str
) -> PartitionSpec:
    """Adds an axis of the mesh to a spec, if it divides an axis of the array."""
    i = shard_axis(shape, spec, mesh, axis)
    if i is None:
        return spec
    entries = _entries(shape, spec)
    names = (*_names(entries[i]), axis)
    entries[i] = names if len(names) > 1 else axis
    return PartitionSpec(*entries)


def _entries(shape: tuple[int, ...], spec: PartitionSpec) -> list[Entry]:
    """Returns an entry for each axis of an array."""
    return [*spec, *[None] * (len(shape) - len(spec))]


def _names(entry: Entry) -> tuple[str, ...]:
    """Returns the axes of the mesh that an entry of a spec names."""
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def _is_spec(x: object) -> bool:
    return x is None or isinstance(x, (PartitionSpec, Sharding))


def _check_spec(where: str, x: Sharding | PartitionSpec | None, p: jax.Array) -> PartitionSpec:
    """Converts x to a spec, and checks that it fits the parameter p."""
    spec = PartitionSpec() if x is None else x.spec if isinstance(x, NamedSharding) else x
    if not isinstance(spec, PartitionSpec):
        raise TypeError(f"{where} must be a PartitionSpec or a NamedSharding, got {x!r}.")
    if len(spec) > np.ndim(p):
        raise ValueError(
            f"{where} is {spec}, and the parameter has {np.ndim(p)} axes. Give a spec that fits it."
        )
    return spec


def _sharding(x: object) -> Sharding | None:
    """Returns the sharding of an array or shape; a tracer's is not known outside of its type."""
    return None if isinstance(x, jax.core.Tracer) else getattr(x, "sharding", None)


def _present_spec(x: object) -> PartitionSpec:
    sharding = _sharding(x)
    return sharding.spec if isinstance(sharding, NamedSharding) else PartitionSpec()
