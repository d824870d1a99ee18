"""Finds the shardings of a state before the state exists."""

from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from ..core.adapter import check_pair
from ..core.protocol import GradientTransformation, PyTree
from .specs import AnyMesh, axes_of, broadcast_specs, find_mesh, trimmed

__all__ = ["shardings_of", "state_shardings"]


def state_shardings(
    tx: GradientTransformation,
    params: PyTree,
    specs: PyTree = None,
    mesh: AnyMesh | None = None,
    *,
    memory_kind: str | None = None,
) -> PyTree:
    """Returns the shardings of the state of `tx`, if the parameters are sharded by `specs`.

    The tree is `tx.init(params)` with a sharding in place of each array. Pass it to
    `jax.jit` as `in_shardings` or `out_shardings`, or to a checkpoint library. Arrays of a
    parameter's shape are sharded like the parameter; arrays that are reduced from it, such as the
    rows and columns of Adafactor, like the reduction; scalars and counts are replicated.

    `init` is traced, with shardings as part of the arrays' types. Nothing is allocated or
    compiled, so that parameters may be shapes, and the mesh an `AbstractMesh` of devices that do
    not exist. `tx` may be of any library. If JAX's types have no sharding for an operation in
    `init` (`flatten` concatenates all parameters to one vector), arrays with the path and the shape
    of a parameter are sharded like the parameter, and all others are replicated.

    Args:
      params: arrays, or `jax.ShapeDtypeStruct`.
      specs: the `PartitionSpec` or `NamedSharding` of each parameter, or of a whole subtree. By
        default, the shardings that the parameters have.
      mesh: by default the mesh of the shardings in `specs` or `params`. Without any mesh, the
        result has specs in place of shardings, for use within `jax.set_mesh`.
      memory_kind: the kind of memory that stores the arrays, such as `"pinned_host"`.

    Raises:
      ValueError: specs and parameters differ in structure, the mesh does not divide an axis of a
        parameter, neither specs nor parameters have a sharding, or the devices have no such memory
        kind.

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
    full = broadcast_specs("state_shardings", params, specs)
    state_specs = shardings_of(init, params, full, mesh)
    if mesh is None:
        return state_specs
    return jax.tree.map(
        lambda spec: NamedSharding(mesh, spec, memory_kind=memory_kind), state_specs
    )


def _check_memory(kind: str, mesh: AnyMesh | None) -> None:
    """Raises unless the devices of the mesh have a kind of memory."""
    if mesh is None:
        raise ValueError("state_shardings: memory_kind needs a mesh. Pass mesh.")
    if isinstance(mesh, Mesh) and mesh.local_devices:  # unknown for an abstract mesh
        kinds = [memory.kind for memory in mesh.local_devices[0].addressable_memories()]
        if kind not in kinds:
            raise ValueError(
                f"state_shardings: memory_kind must be one that the devices have, "
                f"{', '.join(map(repr, kinds))}, got {kind!r}."
            )


def shardings_of(
    init: Callable[[PyTree], PyTree], params: PyTree, specs: PyTree, mesh: AnyMesh | None
) -> PyTree:
    """Returns the specs of the state's arrays; `specs` has a spec for each parameter.

    All axes of the mesh are explicit during the trace, so that JAX's types carry the shardings.
    """
    explicit = _explicit(specs, mesh)

    def typed(p: ArrayLike | jax.ShapeDtypeStruct, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
        dtype = p.dtype if hasattr(p, "dtype") else jnp.result_type(p)
        return jax.ShapeDtypeStruct(jnp.shape(p), dtype, sharding=NamedSharding(explicit, spec))

    typed_params = jax.tree.map(typed, params, specs)
    try:
        with jax.sharding.use_abstract_mesh(explicit):
            state = jax.eval_shape(init, typed_params)
    except Exception as error:
        # JAX does not export the type of this exception.
        if type(error).__name__ != "ShardingTypeError":
            raise
        return _by_path(init, params, specs)
    return jax.tree.map(
        lambda x: trimmed(x.sharding.spec) if x.sharding else PartitionSpec(), state
    )


def _by_path(init: Callable[[PyTree], PyTree], params: PyTree, specs: PyTree) -> PyTree:
    """Returns the specs of the state, by comparing its paths and shapes with the parameters."""
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    params_by_path = [
        (path, jnp.shape(p), s) for (path, p), s in zip(flat, jax.tree.leaves(specs), strict=True)
    ]

    def find(path: tuple[Hashable, ...], x: jax.ShapeDtypeStruct) -> PartitionSpec:
        for end, shape, spec in params_by_path:
            if x.shape == shape and path[len(path) - len(end) :] == end:
                return trimmed(spec)
        return PartitionSpec()

    return jax.tree_util.tree_map_with_path(find, jax.eval_shape(init, params))


def _explicit(specs: PyTree, mesh: AnyMesh | None) -> AbstractMesh:
    """Returns the mesh with explicit axes; without a mesh, one whose axes have size 1."""
    if mesh is not None:
        sizes, names = tuple(mesh.shape.values()), tuple(mesh.shape)
    else:
        names = tuple(dict.fromkeys(a for spec in jax.tree.leaves(specs) for a in axes_of(spec)))
        sizes = (1,) * len(names)
    return AbstractMesh(sizes, names, axis_types=(AxisType.Explicit,) * len(names))
