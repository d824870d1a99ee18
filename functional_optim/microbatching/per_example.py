"""Maps functions of one example over a batch, one microbatch after another."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.protocol import PyTree
from .accumulators import AccumulationType, aggregate
from .calling import positional
from .loop import microbatch

__all__ = ["IndividualOutputs", "micro_grad", "micro_vmap"]


class IndividualOutputs(NamedTuple):
    """Results of `micro_grad` for each example, stacked.

    Attributes:
      values: `(batch,)`, the function's values.
      metrics: the results of metrics_fn; None without it.
      aux: the function's auxiliary results; None without has_aux.
    """

    values: jax.Array
    metrics: PyTree
    aux: PyTree


def micro_vmap(
    fun: Callable[..., PyTree],
    in_axes: int | Sequence[int | None] | None = 0,
    out_axes: int = 0,
    *,
    microbatch_size: int | None = None,
    vmap_fn: Callable[..., Callable[..., PyTree]] = jax.vmap,
    accumulator: PyTree = AccumulationType.CONCAT,
    num_real_microbatches: ArrayLike | None = None,
) -> Callable[..., PyTree]:
    """Maps a function over a batch axis, one microbatch after another.

    Accumulators other than `CONCAT` sum or average the results of the rows as they are computed.

    Args:
      fun: function of one row of each batch.
      in_axes: batch axis of each argument, or of all; None for an argument that is not a batch.
        Keyword arguments are batches along their first axis, as in `jax.vmap`.
      out_axes: must be 0.
      microbatch_size: number of rows that are computed together; None for all.
      vmap_fn: used in place of `jax.vmap`.
      accumulator: combines the results of the rows; see `microbatch`.
      num_real_microbatches: see `microbatch`.

    Raises:
      ValueError: out_axes is not 0. `microbatch` raises further errors.

    Example:
      >>> micro_vmap(lambda x: x**2, microbatch_size=2)(jnp.arange(5))
      Array([ 0,  1,  4,  9, 16], dtype=int32)
    """
    if out_axes != 0:
        raise ValueError(f"micro_vmap: out_axes must be 0, got {out_axes!r}.")

    @jax.named_scope(f"micro_vmap_size_{microbatch_size}")
    def mapped(*args: PyTree, **kwargs: PyTree) -> PyTree:
        if not isinstance(in_axes, int | None):
            args, kwargs = positional(fun, args, kwargs, len(in_axes))
        axes = (in_axes,) * len(args) if isinstance(in_axes, int | None) else tuple(in_axes)

        @jax.named_scope("micro_vmap_step")
        def map_rows(*args: PyTree, named: dict[str, PyTree]) -> PyTree:
            return aggregate(accumulator, vmap_fn(fun, axes, out_axes)(*args, **named))

        return microbatch(
            map_rows,
            [i for i, axis in enumerate(axes) if axis is not None],
            microbatch_size,
            accumulator,
            argnames="named",
            in_axes=[axis for axis in axes if axis is not None] + [0],
            num_real_microbatches=num_real_microbatches,
        )(*args, named=kwargs)

    return mapped


def micro_grad(
    fun: Callable[..., PyTree],
    has_aux: bool = False,
    argnums: int | Sequence[int] = 0,
    *,
    batch_argnums: int | Sequence[int] = 1,
    keep_batch_dim: bool = True,
    microbatch_size: int | None = None,
    accumulator: PyTree = AccumulationType.SUM,
    transform_fn: Callable[[PyTree], PyTree] | None = None,
    metrics_fn: Callable[[PyTree], PyTree] | None = None,
    num_real_microbatches: ArrayLike | None = None,
) -> Callable[..., tuple[PyTree, IndividualOutputs]]:
    """Makes a function that sums the gradients of all examples, after transforming each of them.

    The function can clip or measure the gradient of each example, and needs the memory of one
    microbatch of gradients. It returns `(gradients, IndividualOutputs(values, metrics, aux))`.

    Args:
      fun: a function that returns the value of a batch; it is called with one example at a time.
      has_aux: whether fun returns a pair, value and auxiliary results.
      argnums: positions of the arguments to differentiate by.
      batch_argnums: positions of the arguments that are batches along their first axis.
      keep_batch_dim: whether an example is passed as a batch of one.
      microbatch_size: number of gradients that are computed together; None for all.
      accumulator: combines the transformed gradients; see `microbatch`.
      transform_fn: transforms the gradient of one example; None for no transformation.
      metrics_fn: measures the gradient of one example, before transform_fn; None for no metrics.
      num_real_microbatches: see `microbatch`.

    Example:
      >>> from functional_optim.microbatching import micro_grad
      >>> loss = lambda w, x: jnp.mean(w * x)
      >>> grads, outputs = micro_grad(loss, transform_fn=lambda g: jnp.minimum(g, 2.0))(
      ...     1.0, jnp.array([1.0, 2.0, 5.0])
      ... )
      >>> float(grads), outputs.values
      (5.0, Array([1., 2., 5.], dtype=float32))
    """
    batches = {batch_argnums} if isinstance(batch_argnums, int) else set(batch_argnums)

    def with_aux(*args: PyTree, **kwargs: PyTree) -> tuple[jax.Array, PyTree]:
        return fun(*args, **kwargs) if has_aux else (fun(*args, **kwargs), None)

    value_and_grad = jax.value_and_grad(with_aux, argnums, has_aux=True)

    @jax.named_scope("micro_grad_step")
    def transformed_grad(*args: PyTree, **kwargs: PyTree) -> tuple[PyTree, IndividualOutputs]:
        if keep_batch_dim:
            args = tuple(_as_batch(x) if i in batches else x for i, x in enumerate(args))
            kwargs = _as_batch(kwargs)
        (value, aux), grad = value_and_grad(*args, **kwargs)
        result = grad if transform_fn is None else transform_fn(grad)
        metrics = None if metrics_fn is None else metrics_fn(grad)
        return result, IndividualOutputs(value, metrics, aux)

    positions = batches | ({argnums} if isinstance(argnums, int) else set(argnums))

    @jax.named_scope(f"micro_grad_size_{microbatch_size}")
    def summed_grad(*args: PyTree, **kwargs: PyTree) -> tuple[PyTree, IndividualOutputs]:
        args, kwargs = positional(fun, args, kwargs, max(positions) + 1)
        return micro_vmap(
            transformed_grad,
            [0 if i in batches else None for i in range(len(args))],
            microbatch_size=microbatch_size,
            accumulator=(accumulator, AccumulationType.CONCAT),
            num_real_microbatches=num_real_microbatches,
        )(*args, **kwargs)

    return summed_grad


def _as_batch(tree: PyTree) -> PyTree:
    """Returns an example as a batch of one."""
    return jax.tree.map(lambda x: jnp.expand_dims(x, 0), tree)
