"""The shardings of a state, told before there is one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from ..core.link import check_pair
from ..core.protocol import GradientTransformation, PyTree
from .specs import AnyMesh, axes_of, find_mesh, spread, trimmed

__all__ = ["shardings_of", "state_shardings"]


def state_shardings(
    tx: GradientTransformation,
    params: PyTree,
    specs: PyTree = None,
    mesh: AnyMesh | None = None,
    *,
    memory_kind: str | None = None,
) -> PyTree:
    """Tells how the state of `tx` is sharded for parameters that are sharded by `specs`.

    The tree is that of `tx.init(params)`, with a sharding in place of each array: to be passed
    to `jax.jit` as `in_shardings` or `out_shardings`, or to a library of checkpoints. What has a
    parameter's shape lies as the parameter does; what is reduced from it, the rows and columns of
    Adafactor say, as the reduction would; scalars and counts on all devices.

    `init` is traced, with shardings as part of the arrays' types. Nothing is allocated or
    compiled, so that parameters may be shapes, and the mesh an `AbstractMesh` of devices that are
    not there. `tx` may be of any library. Of an `init` that does what has no sharding in JAX's
    types (`flatten`, which joins all parameters to one vector), the arrays that have the shape
    and the path of a parameter lie as it does, and all others on all devices.

    Args:
      params: arrays, or `jax.ShapeDtypeStruct`.
      specs: of each parameter, the `PartitionSpec` or `NamedSharding`; one stands for the whole
        subtree in whose place it is. Without it, the parameters' own shardings.
      mesh: by default that of the shardings in `specs` or `params`. Where there is none either,
        the result holds specs and not shardings, for use within `jax.set_mesh`.
      memory_kind: where on each device the arrays are kept, such as `"pinned_host"`.

    Raises:
      ValueError: specs and parameters differ in structure, the mesh does not divide an axis of a
        parameter, nothing says how they are sharded, or the devices have no such memory.

    Example:
      >>> import functional_optim as fo
      >>> from functional_optim.sharding import state_shardings
      >>> params = {"w": jax.ShapeDtypeStruct((1024, 4096), jnp.float32)}
      >>> tx = fo.scale_by_factored_rms()
      >>> specs = state_shardings(tx, params, {"w": PartitionSpec("data", "model")})
      >>> specs.v_row["w"], specs.v_col["w"], specs.count
      (P('data',), P(None, 'model'), P())
    """
    mesh = mesh if mesh is not None else find_mesh(specs, params)
    if specs is None and mesh is None:
        raise ValueError(
            "state_shardings: neither specs nor params say how the parameters are sharded. Pass "
            "specs, such as PartitionSpec('data')."
        )
    if memory_kind is not None:
        _check_memory(memory_kind, mesh)
    init, _ = check_pair("state_shardings: tx", tx)
    found = shardings_of(init, params, spread("state_shardings", params, specs), mesh)
    if mesh is None:
        return found
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec, memory_kind=memory_kind), found)


def _check_memory(kind: str, mesh: AnyMesh | None) -> None:
    if mesh is None:
        raise ValueError("state_shardings: memory_kind needs a mesh. Pass mesh.")
    if isinstance(mesh, Mesh) and mesh.local_devices:  # of others, nothing is known
        known = [memory.kind for memory in mesh.local_devices[0].addressable_memories()]
        if kind not in known:
            raise ValueError(
                f"state_shardings: memory_kind must be one that the devices have, "
                f"{', '.join(map(repr, known))}, got {kind!r}."
            )


def shardings_of(
    init: Callable[..., Any], params: PyTree, specs: PyTree, mesh: AnyMesh | None
) -> PyTree:
    """The specs of the state's arrays; `specs` has one for each parameter."""
    explicit = _explicit(specs, mesh)

    def typed(p: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
        dtype = p.dtype if hasattr(p, "dtype") else jnp.result_type(p)
        return jax.ShapeDtypeStruct(jnp.shape(p), dtype, sharding=NamedSharding(explicit, spec))

    typed_params = jax.tree.map(typed, params, specs)
    try:
        with jax.sharding.use_abstract_mesh(explicit):
            state = jax.eval_shape(init, typed_params)
    except Exception as error:
        # JAX does not export the type.
        if type(error).__name__ != "ShardingTypeError":
            raise
        return _by_path(init, params, specs)
    return jax.tree.map(
        lambda x: trimmed(x.sharding.spec) if x.sharding else PartitionSpec(), state
    )


def _by_path(init: Callable[..., Any], params: PyTree, specs: PyTree) -> PyTree:
    """The specs of those arrays of the state that have path and shape of a parameter."""
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    known = [
        (path, jnp.shape(p), s) for (path, p), s in zip(flat, jax.tree.leaves(specs), strict=True)
    ]

    def find(path: tuple[Any, ...], x: Any) -> PartitionSpec:
        for end, shape, spec in known:
            if x.shape == shape and path[len(path) - len(end) :] == end:
                return trimmed(spec)
        return PartitionSpec()

    return jax.tree_util.tree_map_with_path(find, jax.eval_shape(init, params))


def _explicit(specs: PyTree, mesh: AnyMesh | None) -> AbstractMesh:
    """The mesh with axes that show in the types of arrays; one of single devices for none."""
    if mesh is not None:
        sizes, names = tuple(mesh.shape.values()), tuple(mesh.shape)
    else:
        names = tuple(dict.fromkeys(a for spec in jax.tree.leaves(specs) for a in axes_of(spec)))
        sizes = (1,) * len(names)
    return AbstractMesh(sizes, names, axis_types=(AxisType.Explicit,) * len(names))
