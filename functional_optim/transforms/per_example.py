"""Clipping the gradients of single examples before they are summed."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike

from ..core.numerics.precision import compute_dtype
from ..core.numerics.validation import check_number
from ..core.protocol import PyTree
from ..core.trees.norms import factor_to, global_norm
from ..core.trees.placement import auto_sharded
from ..core.trees.structure import align, is_absent, leaf_paths

__all__ = [
    "number_of_examples",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
]

Array = jax.Array


def per_example_global_norm_clip(grads: PyTree, l2_norm_clip: ArrayLike) -> tuple[PyTree, Array]:
    """Scales each example's gradients down to a norm over all arrays, and sums the examples.

    Args:
      grads: arrays `(batch, *p)`, the first axis over examples.
      l2_norm_clip: `()`, the largest norm of an example.

    Returns:
      The sums, of shapes `*p`, and how many examples were clipped, `()` int32. Norms and sums are
      taken in at least float32; sums have the dtypes of the gradients.

    Raises:
      ValueError: an array has no first axis, the first axes differ in length, or the norm is a
        negative number.

    Example:
      >>> import functional_optim as fo
      >>> sums, number = fo.per_example_global_norm_clip([jnp.array([[3.0, 4.0], [0.3, 0.4]])], 1.0)
      >>> print(sums[0], number)
      [0.90000004 1.2       ] 1

    Reference: Abadi et al., Deep learning with differential privacy, CCS 2016, Algorithm 1,
    arXiv:1607.00133.
    """
    check_number(l2_norm_clip, "per_example_global_norm_clip: l2_norm_clip", "[0, inf]")
    number_of_examples("per_example_global_norm_clip", grads)
    factors = _factors(grads, l2_norm_clip)
    return jax.tree.map(lambda g: _weighted_sum(factors, g), grads), _number_below_one(factors)


def per_example_layer_norm_clip(
    grads: PyTree, global_l2_norm_clip: ArrayLike, uniform: bool = True
) -> tuple[PyTree, PyTree]:
    """Scales each example's gradients down array by array, and sums the examples.

    With K arrays, the norm of each is at most global_l2_norm_clip / sqrt(K). Without `uniform`, the
    norm of an array with d of the D elements is at most global_l2_norm_clip sqrt(d / D).

    Args:
      grads: arrays `(batch, *p)`, the first axis over examples.
      global_l2_norm_clip: `()`, the largest norm of an example, over all arrays.
      uniform: whether all arrays have the same bound.

    Returns:
      The sums, of shapes `*p`, and for each array how many examples were clipped, `()` int32.

    Raises:
      ValueError: an array has no first axis, the first axes differ in length, or the norm is a
        negative number.

    Reference: McMahan et al., Learning differentially private recurrent language models, ICLR
    2018, section 2.3, arXiv:1710.06963.
    """
    where = "per_example_layer_norm_clip: global_l2_norm_clip"
    check_number(global_l2_norm_clip, where, "[0, inf]")
    batch = number_of_examples("per_example_layer_norm_clip", grads)
    leaves, treedef = jax.tree.flatten(grads)
    total = sum(g.size for g in leaves) // batch

    def clipped(g: Array) -> tuple[Array, Array]:
        # The parts sum to 1, so that the norm over all arrays is at most the bound.
        part = 1 / len(leaves) if uniform else g.size // batch / total
        factors = _factors(g, global_l2_norm_clip * part**0.5)
        return _weighted_sum(factors, g), _number_below_one(factors)

    sums, numbers = zip(*map(clipped, leaves), strict=True)
    return jax.tree.unflatten(treedef, sums), jax.tree.unflatten(treedef, numbers)


def number_of_examples(where: str, grads: PyTree, params: PyTree | None = None) -> int:
    """Checks the first axes, and returns the number of examples.

    Args:
      where: name of the caller, for errors.
      params: the parameters, whose shapes the gradients of one example must have; None for no
        check.
    """
    shapes = [jnp.shape(g) for g in jax.tree.leaves(grads)]
    if len({s[0] if s else None for s in shapes}) != 1 or not shapes[0] or not shapes[0][0]:
        raise ValueError(
            f"{where}: the first axis of all arrays of grads must be the examples, got the "
            f"shapes {shapes}. Use jax.vmap(jax.grad(loss), (None, 0)), or micro_grad."
        )
    if params is not None:
        _check_shapes(where, grads, params)
    return shapes[0][0]


def _check_shapes(where: str, grads: PyTree, params: PyTree) -> None:
    flat, paths = jax.tree.leaves(params), leaf_paths(params)
    for path, p, g in zip(
        paths, flat, align(params, grads, link=where, name="updates"), strict=True
    ):
        if not is_absent(g) and jnp.shape(g)[1:] != jnp.shape(p):
            raise ValueError(
                f"{where}: the updates at '{path}' have shape {jnp.shape(g)}, and the parameter "
                f"{jnp.shape(p)}. Pass the gradients of single examples, along a first axis."
            )


def _factors(grads: PyTree, bound: Any) -> Array:
    return factor_to(bound, jax.vmap(global_norm)(grads))


def _number_below_one(factors: Array) -> Array:
    return jnp.sum(factors < 1, dtype=jnp.int32)


def _weighted_sum(factors: Array, g: ArrayLike) -> Array:
    g = jnp.asarray(g)
    dtype = g.dtype if jnp.issubdtype(g.dtype, jnp.inexact) else factors.dtype
    wide = compute_dtype(dtype)

    def weighted(g: Array, factors: Array) -> Array:
        return jnp.tensordot(factors.astype(wide), g.astype(wide), axes=1).astype(dtype)

    # Summed over the examples, which may be sharded.
    return auto_sharded(weighted, lambda shape, spec, mesh: PartitionSpec(*spec[1:]), g, factors)
