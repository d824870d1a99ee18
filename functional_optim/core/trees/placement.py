"""Placement of the arrays of a state: sharded as the parameters, and as before the update."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from ..protocol import PyTree
from .varying import varying_like

__all__ = [
    "partitioned_as",
    "partitioned_like",
    "shard_like",
    "place_on_mesh_of",
    "auto_sharded",
    "mesh_placer",
    "put_like",
    "with_one_sharding",
    "zeros_like_mean",
    "zeros_like_copies",
    "sharded_as",
    "sharded_together",
    "sharding_for",
    "typed_as",
    "Specs",
    "replicated",
]

Array = jax.Array
T = TypeVar("T")


def shard_like(slot: Array, p: Array) -> Array:
    """Shards a slot as its parameter, where the shapes are equal.

    Within a program, `zeros_like` does not keep the sharding of the parameter. Outside of one it
    does, but slots that are made in another way are on the default device.
    """
    if slot.shape != p.shape:
        return slot
    if not _traced(slot, p):
        is_placed = slot.committed or not p.committed
        return slot if is_placed else jax.device_put(slot, p.sharding)
    return partitioned_as(slot, p)


def partitioned_as(y: Array, x: Array) -> Array:
    """Returns y, which the partitioner of a program shards as x, of the same shape.

    The partitioner propagates shardings through elementwise operations. So y goes through a
    `select` with x, whose condition the compiler resolves only after partitioning: it is y.
    `jax.experimental.shard_alike`, which JAX had until 0.11.2, would not do. All calls of one
    function share its groups, and equal constants are one array, which is then in all groups; so
    all leaves of one shape were sharded as one of them.
    """
    sharding = jax.typeof(x).sharding
    if AxisType.Explicit in sharding.mesh.axis_types:  # the sharding is in the type of x
        y = jax.sharding.reshard(y, sharding)
    if jax.device_count() == 1:  # which has everything
        return y
    never = jax.lax.optimization_barrier(np.zeros((), np.bool_))
    if x.dtype != y.dtype:  # `select` needs one dtype
        # JAX warns of a cast from complex to real.
        x = jnp.real(x) if not jnp.iscomplexobj(y) else x
        x = x.astype(y.dtype)
    return jax.lax.select_n(never, y, x)


def partitioned_like(new: T, old: PyTree) -> T:
    """Returns a state whose arrays the partitioner shards as in the state before the update.

    Otherwise it may divide a matrix that was replicated, and the next step would be compiled
    again. Arrays that only one of the states has, or with other shapes, are returned unchanged.
    """
    # One device has everything, and within shard_map each device has its part already.
    if jax.device_count() == 1 or jax.sharding.get_abstract_mesh().manual_axes:
        return new
    # Matched by path, because an update may add counts to a state.
    before = dict(jax.tree_util.tree_flatten_with_path(old)[0])

    def partitioned(path: tuple[Any, ...], y: Array) -> Array:
        x = before.get(path)
        is_traced_array = isinstance(y, jax.core.Tracer) and y.ndim > 0
        if x is None or not is_traced_array or jnp.shape(x) != y.shape:
            return y
        # Where the sharding is in the type, the partitioner does not choose it.
        is_typed = AxisType.Explicit in jax.typeof(y).sharding.mesh.axis_types
        return y if is_typed else partitioned_as(y, jnp.asarray(x))

    return jax.tree_util.tree_map_with_path(partitioned, new)


def zeros_like_mean(p: Array, axis: int | tuple[int, ...]) -> Array:
    """Makes zeros of the shape of the mean of p over axes, which stay with size 1.

    They are sharded as that mean would be: as the parameter along its other axes.
    """
    # Its sharding is read, and nothing else.
    mean = jnp.sum(p, axis=axis, keepdims=True)
    zeros = jnp.zeros_like(mean)
    return partitioned_as(zeros, mean) if _traced(p) else zeros


def zeros_like_copies(p: Array, n: int) -> Array:
    """Makes zeros of the shape `(n, *p)`, sharded as the parameter along its axes."""
    copies = jnp.broadcast_to(p, (n, *p.shape))
    zeros = jnp.zeros_like(copies)
    return partitioned_as(zeros, copies) if _traced(p) else zeros


def with_one_sharding(arrays: Sequence[Array]) -> Sequence[Array]:
    """Returns the arrays so that they can be concatenated.

    Where shardings are part of types, and differ, each array is replicated.
    """
    return arrays if len({jax.typeof(x).sharding for x in arrays}) == 1 else replicated(arrays)


def replicated(arrays: Sequence[Array]) -> Sequence[Array]:
    """Replicates the arrays over all devices of their mesh.

    Within a program on a mesh without explicit axes, the arrays are returned unchanged, and the
    compiler decides.
    """
    # Outside of a program arrays have shardings, and within one only their types may.
    if not _traced(*arrays):
        mesh: Mesh | AbstractMesh | None = next(
            (m for m in map(_mesh, arrays) if m is not None), None
        )
        if mesh is None:
            return arrays
        return jax.device_put(arrays, [sharding_for(x, mesh, PartitionSpec()) for x in arrays])
    shardings = (_explicit_sharding(x) for x in arrays)
    mesh = next((sharding.mesh for sharding in shardings if sharding is not None), None)
    if mesh is None:
        return arrays
    return [jax.sharding.reshard(x, _replicated(mesh)) for x in arrays]


def _replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


Specs = Callable[[tuple[int, ...], PartitionSpec, Mesh | AbstractMesh], PyTree]
"""`(shape, spec, mesh) -> specs` of the results computed from an array of this shape and spec."""


def auto_sharded(
    function: Callable[..., PyTree], specs: Specs, x: Array, *others: PyTree
) -> PyTree:
    """Calls `function(x, *others)`, and lets the compiler choose shardings within it.

    Where shardings are in types, JAX refuses an operation whose result could be sharded in several
    ways, such as a product along a sharded axis. There the results are sharded by `specs`;
    elsewhere this is a plain call.
    """
    sharding = _explicit_sharding(x)
    if sharding is None:
        return function(x, *others)
    out_specs = specs(x.shape, sharding.spec, sharding.mesh)
    out_sharding = jax.tree.map(lambda spec: NamedSharding(sharding.mesh, spec), out_specs)
    return jax.sharding.auto_axes(function, out_sharding=out_sharding)(x, *others)


def sharded_as(x: Array, like: Array) -> Array:
    """Shards an array as another one of its shape, where shardings are in types.

    There, JAX refuses an operation on arrays that are sharded in different ways. On a mesh without
    explicit axes, and without a mesh, x is returned unchanged.
    """
    sharding = jax.typeof(like).sharding
    if AxisType.Explicit not in sharding.mesh.axis_types or x.shape != like.shape:
        return x
    return x if jax.typeof(x).sharding == sharding else jax.sharding.reshard(x, sharding)


def typed_as(x: Array, like: Array) -> Array:
    """Gives an array the dtype of another one, and within `shard_map` its varying axes.

    The sharding stays: outside of a program, an array on no mesh cannot be resharded.
    """
    if jax.typeof(x) == jax.typeof(like):
        return x
    return varying_like(x.astype(like.dtype), like)


def sharded_together(
    update: Array, slots: PyTree, param: Array | None
) -> tuple[Array, PyTree, Array | None]:
    """Shards update, slots and parameter of a leaf as its slots are.

    A state may be sharded where the parameter is replicated, or the reverse. The slots are not
    moved, because they are larger than the parameter and nothing else reads them.
    """
    if AxisType.Explicit not in jax.typeof(update).sharding.mesh.axis_types:
        return update, slots, param
    # A slot of another shape, such as a row of second moments, has no sharding for the update.
    like = next((x for x in jax.tree.leaves(slots) if x.shape == update.shape), update)
    update, slots = jax.tree.map(lambda x: sharded_as(x, like), (update, slots))
    return update, slots, param if param is None else sharded_as(param, like)


def _explicit_sharding(x: ArrayLike) -> NamedSharding | None:
    """Returns the sharding in the type of an array, where it is on a mesh with explicit axes."""
    sharding = jax.typeof(x).sharding
    return sharding if AxisType.Explicit in sharding.mesh.axis_types else None


def mesh_placer(params: Iterable[object]) -> Callable[[Array], Array]:
    """Returns a function that replicates an array over all devices of the parameters' mesh.

    Arrays that are committed to devices are returned unchanged. The scalars of a state are
    replicated because a compiled step returns them so: with another sharding of its arguments,
    the second call would compile again.

    Where `init` is traced on a mesh with explicit axes, arrays are on no mesh unless they are
    computed from parameters. The first update would change their sharding to that of its results.
    """
    params = list(params)
    mesh = next((m for m in map(_mesh, params) if m is not None), None)
    traced = (_explicit_sharding(p) for p in params if isinstance(p, jax.core.Tracer))
    typed = next((sharding.mesh for sharding in traced if sharding is not None), None)

    def place(x: Array) -> Array:
        if typed is not None:
            is_array = isinstance(x, jax.Array) and x.ndim > 0
            is_on_mesh = not is_array or _explicit_sharding(x) is not None
            return x if is_on_mesh else jax.sharding.reshard(x, _replicated(typed))
        # The state of another library may have leaves that are not arrays of JAX.
        if mesh is None or _traced(x) or getattr(x, "committed", True):
            return x
        return jax.device_put(x, sharding_for(x, mesh, PartitionSpec()))

    return place


def sharding_for(x: Array, mesh: Mesh | AbstractMesh, spec: PartitionSpec) -> NamedSharding:
    """Returns the sharding of an array by a spec, written as in the results of programs.

    Programs write an entry for each axis where shardings are in types, and leave out trailing
    None elsewhere. jit compiles again for a spec that is written in another way.
    """
    entries = [*spec, *[None] * (x.ndim - len(spec))]
    if AxisType.Explicit not in mesh.axis_types:
        last = max((i for i, entry in enumerate(entries, 1) if entry is not None), default=0)
        entries = entries[:last]
    return NamedSharding(mesh, PartitionSpec(*entries))


def place_on_mesh_of(params: PyTree, state: PyTree) -> PyTree:
    """Replicates the uncommitted arrays of a state over the devices of the parameters."""
    return jax.tree.map(mesh_placer(jax.tree.leaves(params)), state)


def put_like(old: Array, value: ArrayLike) -> Array:
    """Copies a value into a new array, with the dtype and sharding of the old one.

    It is a copy because the arrays of a state are donated, and the caller's are not. It has the
    old sharding because a compiled step would compile again for another one.
    """
    if _traced(value, old):
        return jnp.asarray(value).astype(old.dtype)
    # Through the host by explicit transfers, which `jax.transfer_guard` permits.
    host = np.array(jax.device_get(value), old.dtype)
    return jax.device_put(host, old.sharding if old.committed else None)


def _mesh(p: object) -> Mesh | None:
    """Returns the mesh over which an array is sharded; None if it is traced, or on no mesh."""
    sharding = None if _traced(p) else getattr(p, "sharding", None)
    mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
    return mesh if isinstance(mesh, Mesh) else None


def _traced(*values: object) -> bool:
    return any(isinstance(v, jax.core.Tracer) for v in values)
