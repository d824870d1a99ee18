"""Partition specs of parameters: read, spread over a tree, and cut along one more axis."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from ..core.protocol import PyTree
from ..core.trees import path_string

__all__ = ["WHOLE", "AnyMesh", "axes_of", "cut", "cut_axis", "find_mesh", "spread", "trimmed"]

AnyMesh = jax.sharding.Mesh | jax.sharding.AbstractMesh

WHOLE = PartitionSpec()
"""Of an array that every device has."""


def spread(where: str, params: PyTree, specs: PyTree) -> PyTree:
    """A tree of a spec for each parameter.

    Args:
      where: what errors begin with.
      params: arrays, or what has their shape and dtype.
      specs: a tree of specs or shardings shaped like the parameters, or a prefix of that; None
        in it is `PartitionSpec()`. None alone stands for the shardings that the parameters have.
    """
    if specs is None:
        return jax.tree.map(_own, params)
    try:
        full = jax.tree.broadcast(specs, params, is_leaf=_is_spec)
    except ValueError as error:
        raise ValueError(
            f"{where}: specs do not fit the parameters: {error} Give one for each parameter, or "
            "one for a whole subtree."
        ) from None
    return jax.tree_util.tree_map_with_path(
        lambda path, s, p: _as_spec(f"{where}: the spec at '{path_string(path)}'", s, p),
        full,
        params,
        is_leaf=_is_spec,
    )


def find_mesh(*trees: PyTree) -> AnyMesh | None:
    """The mesh of the first sharding in the trees, or of the first array, that has one."""
    for x in jax.tree.leaves(trees, is_leaf=_is_spec):
        sharding = x if isinstance(x, Sharding) else _sharding(x)
        if isinstance(sharding, NamedSharding):
            return sharding.mesh
    return None


def axes_of(spec: PartitionSpec) -> Iterator[str]:
    """Names of the mesh's axes in a spec."""
    for entry in spec:
        yield from _names(entry)


def trimmed(spec: PartitionSpec) -> PartitionSpec:
    """The spec without what it says of trailing axes that are whole."""
    last = max((i for i, entry in enumerate(spec, 1) if entry is not None), default=0)
    return PartitionSpec(*spec[:last])


def cut_axis(shape: tuple[int, ...], spec: PartitionSpec, mesh: AnyMesh, axis: str) -> int | None:
    """The axis of an array that a further axis of the mesh is to divide, or None.

    The first whole one that it divides; else the first of those which are cut already.
    """
    if axis in axes_of(spec):
        return None
    entries = _entries(shape, spec)
    parts = [int(np.prod([mesh.shape[name] for name in _names(e)], dtype=int)) for e in entries]
    fits = [i for i, n in enumerate(shape) if n and n % (parts[i] * mesh.shape[axis]) == 0]
    return min(fits, key=lambda i: (entries[i] is not None, i), default=None)


def cut(shape: tuple[int, ...], spec: PartitionSpec, mesh: AnyMesh, axis: str) -> PartitionSpec:
    """The spec with a further axis of the mesh, where one of the array's can be divided by it."""
    place = cut_axis(shape, spec, mesh, axis)
    if place is None:
        return spec
    entries = _entries(shape, spec)
    names = (*_names(entries[place]), axis)
    entries[place] = names if len(names) > 1 else axis
    return PartitionSpec(*entries)


def _entries(shape: tuple[int, ...], spec: PartitionSpec) -> list[Any]:
    return [*spec, *[None] * (len(shape) - len(spec))]


def _names(entry: Any) -> tuple[str, ...]:
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def _is_spec(x: Any) -> bool:
    return x is None or isinstance(x, (PartitionSpec, Sharding))


def _as_spec(where: str, x: Any, p: Any) -> PartitionSpec:
    """What x says of a parameter."""
    spec = PartitionSpec() if x is None else x.spec if isinstance(x, NamedSharding) else x
    if not isinstance(spec, PartitionSpec):
        raise TypeError(f"{where} must be a PartitionSpec or a NamedSharding, got {x!r}.")
    if len(spec) > np.ndim(p):
        raise ValueError(
            f"{where} is {spec}, and the parameter has {np.ndim(p)} axes. Give one of its own."
        )
    return spec


def _sharding(x: Any) -> Any:
    return None if isinstance(x, jax.core.Tracer) else getattr(x, "sharding", None)


def _own(x: Any) -> PartitionSpec:
    sharding = _sharding(x)
    return sharding.spec if isinstance(sharding, NamedSharding) else PartitionSpec()
