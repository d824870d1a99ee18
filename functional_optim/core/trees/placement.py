"""Where arrays of the state live: with the parameters, and where they were before."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from .partitioning import partitioned_as

__all__ = [
    "alike",
    "all_beside",
    "auto_sharded",
    "beside",
    "in_place_of",
    "joinable",
    "reduced",
    "repeated",
    "sharded_as",
    "sharded_together",
    "sharding_for",
    "Specs",
    "whole",
]

Array = jax.Array


def alike(slot: Array, p: Array) -> Array:
    """Shards a slot as its parameter, where the shapes are equal.

    Zeros know nothing of the parameter that they were made for once a program is compiled;
    outside of one, those that are like it are made in its place, and others put there.
    """
    if slot.shape != p.shape:
        return slot
    if not _traced(slot, p):
        stays = slot.committed or not p.committed
        return slot if stays else jax.device_put(slot, p.sharding)
    return partitioned_as(slot, p)


def reduced(p: Array, axis: int | tuple[int, ...]) -> Array:
    """Zeros of the shape of p's mean over an axis, or several, which stay with size 1.

    Sharded as that mean would be: as the parameter along its other axes.
    """
    mean = jnp.sum(p, axis=axis, keepdims=True)
    zeros = jnp.zeros_like(mean)
    return partitioned_as(zeros, mean) if _traced(p) else zeros


def repeated(p: Array, n: int) -> Array:
    """Zeros of the shape `(n, *p)`, sharded as the parameter along its axes."""
    copies = jnp.broadcast_to(p, (n, *p.shape))
    zeros = jnp.zeros_like(copies)
    return partitioned_as(zeros, copies) if _traced(p) else zeros


def joinable(arrays: Sequence[Array]) -> Sequence[Array]:
    """Arrays that can be concatenated.

    Where shardings are part of types, and differ, each is made whole on every device.
    """
    return arrays if len({jax.typeof(x).sharding for x in arrays}) == 1 else whole(arrays)


def whole(arrays: Sequence[Array]) -> Sequence[Array]:
    """Returns the arrays, each whole on every device of their mesh.

    Only a program on a mesh of other axes than explicit ones leaves that to the compiler.
    """
    if not _traced(*arrays):
        mesh: Any = next((m for m in map(_mesh, arrays) if m is not None), None)
        return arrays if mesh is None else jax.device_put(arrays, _replicated(mesh))
    known = (_explicit_sharding(x) for x in arrays)
    mesh = next((sharding.mesh for sharding in known if sharding is not None), None)
    if mesh is None:
        return arrays
    return [jax.sharding.reshard(x, _replicated(mesh)) for x in arrays]


def _replicated(mesh: Any) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


Specs = Callable[[tuple[int, ...], PartitionSpec, Any], Any]
"""`(shape, spec, mesh) -> specs`, of what is made of an array of this shape and spec."""


def auto_sharded(function: Callable[..., Any], specs: Specs, x: Array, *rest: Any) -> Any:
    """Calls `function(x, *rest)`, and lets the compiler choose shardings within it.

    Where shardings are in types, JAX refuses operations that could leave their result in several
    ways, such as products along a sharded axis. There the results are sharded by `specs`;
    elsewhere the function is called as it is.
    """
    sharding = _explicit_sharding(x)
    if sharding is None:
        return function(x, *rest)
    known = specs(x.shape, sharding.spec, sharding.mesh)
    known = jax.tree.map(lambda spec: NamedSharding(sharding.mesh, spec), known)
    return jax.sharding.auto_axes(function, out_sharding=known)(x, *rest)


def sharded_as(x: Any, like: Any) -> Any:
    """Returns the array, sharded as another one of its shape, where shardings are in types.

    There, JAX has no rule for arrays of one operation that are sharded in different ways. On a
    mesh of other axes, or none, x is returned as it is.
    """
    wanted = _explicit_sharding(like)
    if wanted is None or x.shape != like.shape or wanted == jax.typeof(x).sharding:
        return x
    return jax.sharding.reshard(x, wanted)


def sharded_together(update: Array, slots: Any, param: Any) -> tuple[Array, Any, Any]:
    """What one parameter's update is computed of, sharded as its slots are.

    A state may be divided over devices that have the whole parameter, or the reverse. The slots
    stay where they are, because they are more and are not needed elsewhere.
    """
    if _explicit_sharding(update) is None:
        return update, slots, param
    place = next((x for x in jax.tree.leaves(slots) if x.shape == update.shape), update)
    update, slots = jax.tree.map(lambda x: sharded_as(x, place), (update, slots))
    return update, slots, param if param is None else sharded_as(param, place)


def _explicit_sharding(x: Any) -> NamedSharding | None:
    """Returns the sharding in the type of an array, where it is on a mesh with explicit axes."""
    sharding = jax.typeof(x).sharding
    return sharding if AxisType.Explicit in sharding.mesh.axis_types else None


def beside(params: Iterable[Any]) -> Callable[[Array], Array]:
    """Returns a function that places an array on all devices of the parameters' mesh.

    One that has a place of its own keeps it. There a step's scalars come out; left on one
    device, they would make the second call of a compiled step compile again.
    """
    mesh = next((m for m in map(_mesh, params) if m is not None), None)

    def place(x: Array) -> Array:
        # What a foreign state holds that is no array of JAX has no place.
        if mesh is None or _traced(x) or getattr(x, "committed", True):
            return x
        return jax.device_put(x, sharding_for(x, mesh, PartitionSpec()))

    return place


def sharding_for(x: Any, mesh: Any, spec: PartitionSpec) -> NamedSharding:
    """Returns the sharding of an array by a spec, as programs write it in what they return.

    They name all axes of an array where shardings are in types, and leave out the last ones
    elsewhere. jit takes another way of writing for another sharding, and compiles again.
    """
    entries = [*spec, *[None] * (x.ndim - len(spec))]
    if AxisType.Explicit not in mesh.axis_types:
        last = max((i for i, entry in enumerate(entries, 1) if entry is not None), default=0)
        entries = entries[:last]
    return NamedSharding(mesh, PartitionSpec(*entries))


def all_beside(params: Any, state: Any) -> Any:
    """Places the arrays of a state that are not committed on the devices of the parameters."""
    return jax.tree.map(beside(jax.tree.leaves(params)), state)


def in_place_of(old: Array, value: Any) -> Array:
    """Makes a new array of the value, with the dtype and sharding of the old one.

    New even where the value is an array: the state's arrays are donated, the caller's not.
    Placed as the old one, so that a compiled step takes it without compiling again.
    """
    if _traced(value, old):
        return jnp.asarray(value).astype(old.dtype)
    # By way of the host, explicitly: a guard against implicit transfers lets it pass.
    host = np.array(jax.device_get(value), old.dtype)
    return jax.device_put(host, old.sharding if old.committed else None)


def _mesh(p: Any) -> Mesh | None:
    sharding = None if _traced(p) else getattr(p, "sharding", None)
    mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
    return mesh if isinstance(mesh, Mesh) else None


def _traced(*values: Any) -> bool:
    return any(isinstance(v, jax.core.Tracer) for v in values)
