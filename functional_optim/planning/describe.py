"""Describes, before training, what a transformation will do to each parameter."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.leaf.packing import unpacked
from ..core.protocol import PyTree
from ..core.trees.structure import key_paths, leaf_paths, tree_nbytes
from ..sharding.shardings import state_shardings
from ..sharding.specs import AnyMesh, broadcast_specs, find_mesh
from .description import Description, LeafRecord, bytes_per_device
from .usage import usages_of

__all__ = ["describe"]


def describe(
    tx: Any, params: PyTree, specs: PyTree = None, mesh: AnyMesh | None = None
) -> Description:
    """Describes what a transformation does to each parameter, and what state that takes.

    Nothing is computed and no array is made: parameters may be `jax.ShapeDtypeStruct`, and the
    mesh an `AbstractMesh` of devices that do not exist.

    Args:
      tx: any pair `(init, update)`. For links of other packages, names and state are described,
        and the hyperparameters are unknown.
      params: parameters, or their shapes.
      specs: how they are sharded, as for `sharding.state_shardings`; by default as they are.
      mesh: by default that of the shardings in `specs` or `params`. With a mesh, the description
        also has the sharding of all arrays, and the bytes on each device.

    Returns:
      A description that prints, and whose `leaves` are records. For each parameter, its record
      has the mask or label and why, the links that act on it with their hyperparameters, and the
      arrays that they keep for it. `total` is one line.

    Raises:
      ValueError: specs are given and no mesh, or they do not fit the parameters. What `init`
        raises for the parameters is raised here, too.

    Example:
      >>> import functional_optim as fo
      >>> labels = fo.path_labels({r"bias$": "plain"}, default="adam")
      >>> tx = fo.partition({"adam": fo.scale_by_adam(), "plain": fo.scale(-0.1)}, labels)
      >>> print(fo.describe(tx, {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}))
      bias: float32[3], state 0 bytes
        partition: 'plain', by the rule 'bias$'
        plain: step_size=-0.1
      kernel: float32[2, 3], state 48 bytes
        partition: 'adam', by the default
        adam: b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0
          mu float32[2, 3], 24 bytes
          nu float32[2, 3], 24 bytes
      2 parameters of 9 elements; state: 76 bytes, 28 of them shared
    """
    shapes = jax.tree.map(_shape, params)
    # First of all init itself, so that its error is what a user sees of a mistake.
    state = jax.eval_shape(tx.init, shapes)
    usages = list(usages_of(tx.init, tx.update, shapes))
    mesh = mesh if mesh is not None else find_mesh(specs, shapes)
    if mesh is None and specs is not None:
        raise ValueError("describe: specs need a mesh. Pass mesh, which may be an AbstractMesh.")
    if mesh is not None:
        full = broadcast_specs("describe", shapes, specs)
        state = jax.tree.map(_placed, state, state_shardings(tx, shapes, full, mesh))
        shapes = jax.tree.map(
            lambda p, spec: _placed(p, jax.NamedSharding(mesh, spec)), shapes, full
        )
    state = unpacked(state)
    arrays = dict(key_paths(state))
    leaves = []
    for (path, leaf), name in zip(key_paths(shapes), leaf_paths(shapes), strict=True):
        routes = [route for usage in usages for route in usage.routes.get(path, ())]
        links = tuple(link for usage in usages for link in usage.links(path, arrays))
        leaves.append(LeafRecord(name, leaf, tuple(dict.fromkeys(routes)), links))
    return Description(tuple(leaves), tree_nbytes(state), bytes_per_device(jax.tree.leaves(state)))


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    dtype = x.dtype if hasattr(x, "dtype") else jnp.result_type(x)
    # A single device says nothing about how the array is sharded.
    sharding = getattr(x, "sharding", None)
    on_mesh = sharding if isinstance(sharding, jax.NamedSharding) else None
    return jax.ShapeDtypeStruct(jnp.shape(x), dtype, sharding=on_mesh)


def _placed(x: jax.ShapeDtypeStruct, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
