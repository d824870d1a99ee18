"""Describes, before training, the effect of a transformation on each parameter."""

import jax
import jax.numpy as jnp
from jax.sharding import Sharding
from jax.typing import ArrayLike

from ..core.leaf.packing import unpacked
from ..core.protocol import GradientTransformation, PyTree
from ..core.trees.structure import key_paths, leaf_paths, tree_nbytes
from ..sharding.shardings import state_shardings
from ..sharding.specs import AnyMesh, broadcast_specs, find_mesh
from ..transforms.matrices import UnclearMatrices
from .description import Description, LeafRecord, bytes_per_device
from .usage import find_links

__all__ = ["describe"]


def describe(
    tx: GradientTransformation, params: PyTree, specs: PyTree = None, mesh: AnyMesh | None = None
) -> Description:
    """Describes the effect of a transformation on each parameter, and the state that it needs.

    Nothing is computed and no array is allocated: parameters may be `jax.ShapeDtypeStruct`, and the
    mesh an `AbstractMesh` of devices that do not exist.

    Args:
      tx: any pair `(init, update)`. For links from other packages, the description has names and
        state, but no hyperparameters.
      params: parameters, or their shapes.
      specs: the sharding of the parameters, as in `sharding.state_shardings`; by default, their
        present sharding.
      mesh: by default the mesh of the shardings in `specs` or `params`. With a mesh, the
        description also has the sharding of all arrays, and the bytes on each device.

    Returns:
      A description, which prints as text. Its `leaves` have a record for each parameter: the
      parameter's mask or label and the reason for it, the links that act on it with their
      hyperparameters, and the arrays that they keep for it. `total` is one line. If `init` cannot
      know which parameters are matrices, the text is its question, with the lines that answer it.

    Raises:
      ValueError: specs are passed without a mesh, or do not fit the parameters. Errors of `init`
        are raised as well.

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
    shapes = jax.tree.map(_shape_on_mesh, params)
    # Run init first, so that a mistake raises its error and not one of the description.
    try:
        state = jax.eval_shape(tx.init, shapes)
    except UnclearMatrices as error:
        return _question(error, shapes)
    usages = list(find_links(tx.init, tx.update, shapes))
    mesh = mesh if mesh is not None else find_mesh(specs, shapes)
    if mesh is None and specs is not None:
        raise ValueError("describe: specs need a mesh. Pass mesh, which may be an AbstractMesh.")
    if mesh is not None:
        full = broadcast_specs("describe", shapes, specs)
        state = jax.tree.map(_with_sharding, state, state_shardings(tx, shapes, full, mesh))
        shapes = jax.tree.map(
            lambda p, spec: _with_sharding(p, jax.NamedSharding(mesh, spec)), shapes, full
        )
    state = unpacked(state)  # so that stacked slots belong to their parameters
    arrays = dict(key_paths(state))
    # Several links may route a parameter for the same reason, which is listed once.
    leaves = []
    for (path, leaf), name in zip(key_paths(shapes), leaf_paths(shapes), strict=True):
        routes = [route for usage in usages for route in usage.routes.get(path, ())]
        links = tuple(link for usage in usages for link in usage.links(path, arrays))
        leaves.append(LeafRecord(name, leaf, tuple(dict.fromkeys(routes)), links))
    return Description(tuple(leaves), tree_nbytes(state), bytes_per_device(jax.tree.leaves(state)))


def _question(error: UnclearMatrices, shapes: PyTree) -> Description:
    """Describes a transformation whose `init` asks which parameters are matrices."""
    leaves = tuple(
        LeafRecord(path, leaf, (error.kinds[path],) if path in error.kinds else (), ())
        for path, leaf in zip(leaf_paths(shapes), jax.tree.leaves(shapes), strict=True)
    )
    return Description(leaves, 0, None, question=str(error))


def _shape_on_mesh(x: ArrayLike | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    dtype = x.dtype if hasattr(x, "dtype") else jnp.result_type(x)
    # The sharding of an array on a single device does not mean that it must stay there.
    sharding = getattr(x, "sharding", None)
    on_mesh = sharding if isinstance(sharding, jax.NamedSharding) else None
    return jax.ShapeDtypeStruct(jnp.shape(x), dtype, sharding=on_mesh)


def _with_sharding(x: jax.ShapeDtypeStruct, sharding: Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
