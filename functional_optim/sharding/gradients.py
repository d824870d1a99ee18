"""Reduce-scatters the gradients of a batch, so that each device gets a shard of the sum."""

from collections.abc import Callable
from typing import Any

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
    """Makes a function that returns value and gradient, the gradient sharded as `zero1` needs it.

    `loss_fn(params, *batch) -> ()` is the mean loss of the examples it is given. The new function
    takes the whole batch, whose arrays are divided along their first axis, and returns the means
    over all devices. Each device computes the gradient of its part of the batch, and the
    gradients are reduce-scattered: no device receives the whole gradient. A leaf without an axis
    that `axis` divides is small, and summed on all devices.

    `jax.grad` of the loss over the whole batch gives the same numbers; XLA then chooses whether
    gradients are all-reduced or reduce-scattered (on CPU it always all-reduces).

    Args:
      axis: axis of the mesh over which the batch is divided.
      specs: how the parameters are sharded over other axes of the mesh; by default they are
        replicated. A tree of specs shaped like the parameters, or a prefix of that.

    Example:
      >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
      >>> def loss_fn(w, x):
      ...     return jnp.mean(jnp.square(x @ w))
      >>> value_and_grad = scattered_value_and_grad(loss_fn, mesh, "data")
      >>> value_and_grad(jnp.array([1.0, 2.0]), jnp.eye(2))
      (Array(2.5, dtype=float32), Array([1., 2.], dtype=float32))
    """

    def value_and_grad(params: PyTree, *batch: Any) -> tuple[Array, PyTree]:
        full = broadcast_specs("scattered_value_and_grad", params, specs)
        treedef: Any
        leaves, treedef = jax.tree.flatten(params)
        axes = [
            shard_axis(jnp.shape(p), spec, mesh, axis)
            for p, spec in zip(leaves, jax.tree.leaves(full), strict=True)
        ]

        def part(params: PyTree, batch: tuple[Any, ...]) -> tuple[Array, list[Array]]:
            # Otherwise the derivative by replicated parameters is summed over the devices.
            varying = jax.lax.pcast(params, (axis,), to="varying")
            loss, grads = jax.value_and_grad(loss_fn)(varying, *batch)
            shards = [_shard(g, i, axis) for g, i in zip(jax.tree.leaves(grads), axes, strict=True)]
            return jax.lax.pmean(loss, axis), shards

        shards = [PartitionSpec() if i is None else _along(i, axis) for i in axes]
        loss, grads = jax.shard_map(
            part,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(axis)),
            out_specs=(PartitionSpec(), shards),
            axis_names={axis},
        )(params, batch)
        return loss, treedef.unflatten(grads)

    return value_and_grad


def _along(i: int, axis: str) -> PartitionSpec:
    return PartitionSpec(*[None] * i, axis)


def _shard(g: Array, i: int | None, axis: str) -> Array:
    """Returns this device's shard of the mean of an array over an axis of the mesh."""
    if i is None:
        return jax.lax.pmean(g, axis)
    total = jax.lax.psum_scatter(g, axis, scatter_dimension=i, tiled=True)
    return total / jax.lax.axis_size(axis)
