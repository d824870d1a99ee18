"""Gradients of a batch in parts, one on each device, summed so that each device gets a share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from ..core.protocol import PyTree
from .specs import WHOLE, cut_axis, spread

__all__ = ["scattered_value_and_grad"]

Array = jax.Array


def scattered_value_and_grad(
    loss_fn: Callable[..., Array], mesh: Mesh, axis: str, specs: PyTree = WHOLE
) -> Callable[..., tuple[Array, PyTree]]:
    """Makes a function that gives value and gradient, the gradient in shares as `zero1` wants it.

    `loss_fn(params, *batch) -> ()` is the mean loss of the examples it is given. The function
    made of it takes the whole batch, whose arrays are divided along their first axis, and returns
    the means over all devices. Each device computes the gradient of its part of the batch, and
    the gradients are reduce-scattered: no device receives the whole of it. A leaf of which `axis`
    divides no axis is small, and summed on all devices.

    With `jax.grad` of the loss over the whole batch the numbers are the same; whether gradients
    are then all-reduced or reduce-scattered is XLA's choice (on CPU it always all-reduces).

    Args:
      axis: of the mesh, over which the batch is divided.
      specs: how the parameters are sharded over other axes of the mesh; the default is that each
        device has all. A tree of specs shaped like the parameters, or a prefix of that.

    Example:
      >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
      >>> def loss_fn(w, x):
      ...     return jnp.mean(jnp.square(x @ w))
      >>> value_and_grad = scattered_value_and_grad(loss_fn, mesh, "data")
      >>> value_and_grad(jnp.array([1.0, 2.0]), jnp.eye(2))
      (Array(2.5, dtype=float32), Array([1., 2.], dtype=float32))
    """

    def value_and_grad(params: PyTree, *batch: Any) -> tuple[Array, PyTree]:
        full = spread("scattered_value_and_grad", params, specs)
        treedef: Any
        leaves, treedef = jax.tree.flatten(params)
        whole = jax.tree.leaves(full)
        places = [
            cut_axis(jnp.shape(p), spec, mesh, axis) for p, spec in zip(leaves, whole, strict=True)
        ]

        def part(params: PyTree, batch: tuple[Any, ...]) -> tuple[Array, list[Array]]:
            # Without this, the derivative by what all devices share is the sum over them.
            own = jax.lax.pcast(params, (axis,), to="varying")
            loss, grads = jax.value_and_grad(loss_fn)(own, *batch)
            shares = [
                _share(g, i, axis) for g, i in zip(jax.tree.leaves(grads), places, strict=True)
            ]
            return jax.lax.pmean(loss, axis), shares

        shares = [PartitionSpec() if i is None else _along(i, axis) for i in places]
        loss, grads = jax.shard_map(
            part,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(axis)),
            out_specs=(PartitionSpec(), shares),
            axis_names={axis},
        )(params, batch)
        return loss, treedef.unflatten(grads)

    return value_and_grad


def _along(i: int, axis: str) -> PartitionSpec:
    return PartitionSpec(*[None] * i, axis)


def _share(g: Array, i: int | None, axis: str) -> Array:
    """This device's share of the mean of an array over an axis of the mesh."""
    if i is None:
        return jax.lax.pmean(g, axis)
    total = jax.lax.psum_scatter(g, axis, scatter_dimension=i, tiled=True)
    return total / jax.lax.axis_size(axis)
