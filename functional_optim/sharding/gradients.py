"""Reduce-scatters the gradients of a batch, so that each device gets a shard of the sum."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from ..core.protocol import PyTree
from .specs import REPLICATED, broadcast_specs, shard_axis

__all__ = ["scattered_value_and_grad"]

Array = jax.Array


def scattered_value_and_grad(
    loss_fn: Callable[..., Array], mesh: Mesh, axis: str, specs: PyTree = REPLICATED
) -> Callable[..., tuple[Array, PyTree]]:
    """Makes a function of value and gradient, with the gradient sharded for `zero1`.

    `loss_fn(params, *batch) -> ()` is the mean loss of a batch. The new function takes the whole
    batch, divides its arrays along their first axis, and returns the means over all devices. Each
    device computes the gradient of its part of the batch, and the gradients are reduce-scattered:
    no device receives the whole gradient. A leaf that has no axis divisible by the size of `axis`
    is all-reduced; such leaves are usually small.

    `jax.grad` of the loss over the whole batch gives the same numbers; XLA then chooses whether
    gradients are all-reduced or reduce-scattered (on CPU it always all-reduces).

    Args:
      axis: axis of the mesh over which the batch is divided.
      specs: how the parameters are sharded over other axes of the mesh: a tree of specs shaped
        like the parameters, or a prefix of that. By default, the parameters are replicated.

    Example:
      >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
      >>> def loss_fn(w, x):
      ...     return jnp.mean(jnp.square(x @ w))
      >>> value_and_grad = scattered_value_and_grad(loss_fn, mesh, "data")
      >>> value_and_grad(jnp.array([1.0, 2.0]), jnp.eye(2))
      (Array(2.5, dtype=float32), Array([1., 2.], dtype=float32))
    """

    def value_and_grad(params: PyTree, *batch: PyTree) -> tuple[Array, PyTree]:
        full = broadcast_specs("scattered_value_and_grad", params, specs)
        treedef: jax.tree_util.PyTreeDef
        leaves, treedef = jax.tree.flatten(params)
        axes = [
            shard_axis(jnp.shape(p), spec, mesh, axis)
            for p, spec in zip(leaves, jax.tree.leaves(full), strict=True)
        ]

        def on_device(params: PyTree, batch: tuple[PyTree, ...]) -> tuple[Array, list[Array]]:
            # Without this, JAX would sum the derivative by replicated parameters over the devices.
            varying = jax.lax.pcast(params, (axis,), to="varying")
            loss, grads = jax.value_and_grad(loss_fn)(varying, *batch)
            shards = [
                _mean_shard(g, i, axis) for g, i in zip(jax.tree.leaves(grads), axes, strict=True)
            ]
            return jax.lax.pmean(loss, axis), shards

        shards = [PartitionSpec() if i is None else PartitionSpec(*[None] * i, axis) for i in axes]
        loss, grads = jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(axis)),
            out_specs=(PartitionSpec(), shards),
            axis_names={axis},
        )(params, batch)
        return loss, treedef.unflatten(grads)

    return value_and_grad


def _mean_shard(g: Array, i: int | None, axis: str) -> Array:
    """Returns this device's shard of the mean over devices; the whole mean if `i` is None."""
    if i is None:
        return jax.lax.pmean(g, axis)
    total = jax.lax.psum_scatter(g, axis, scatter_dimension=i, tiled=True)
    return total / jax.lax.axis_size(axis)
