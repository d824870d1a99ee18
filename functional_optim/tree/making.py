"""Functions that make trees like another: of zeros, of random numbers, in another dtype."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from ..core.protocol import PyTree

__all__ = [
    "batch_shape",
    "cast",
    "cast_like",
    "dtype",
    "full_like",
    "ones_like",
    "random_like",
    "split_key_like",
    "unwrap_random_key_data",
    "zeros_like",
]

Array = jax.Array


def zeros_like(tree: PyTree, dtype: DTypeLike | None = None) -> PyTree:
    """Makes a tree of zeros with the shapes of another.

    Args:
      dtype: dtype of all leaves; None for the dtype of each leaf.

    Example:
      >>> zeros_like({"a": jnp.array([1.0, 2.0])})
      {'a': Array([0., 0.], dtype=float32)}
    """
    return jax.tree.map(functools.partial(jnp.zeros_like, dtype=dtype), tree)


def ones_like(tree: PyTree, dtype: DTypeLike | None = None) -> PyTree:
    """Makes a tree of ones; see `zeros_like`."""
    return jax.tree.map(functools.partial(jnp.ones_like, dtype=dtype), tree)


def full_like(tree: PyTree, fill_value: ArrayLike, dtype: DTypeLike | None = None) -> PyTree:
    """Makes a tree filled with one number; see `zeros_like`."""
    return jax.tree.map(lambda x: jnp.full_like(x, fill_value, dtype=dtype), tree)


def batch_shape(tree: PyTree, shape: tuple[int, ...] = ()) -> PyTree:
    """Repeats every leaf `*p` to `(*shape, *p)`.

    Example:
      >>> batch_shape({"a": jnp.array([1.0, 2.0])}, (3,))["a"].shape
      (3, 2)
    """
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, *jnp.shape(x))), tree)


def cast(tree: PyTree, dtype: DTypeLike | None) -> PyTree:
    """Casts a tree to one dtype; None changes nothing.

    Example:
      >>> cast({"a": jnp.array(1.5)}, jnp.bfloat16)
      {'a': Array(1.5, dtype=bfloat16)}
    """
    if dtype is None:
        return tree
    return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), tree)


def cast_like(tree: PyTree, other_tree: PyTree) -> PyTree:
    """Casts the leaves of a tree to the dtypes of another tree's leaves.

    Example:
      >>> cast_like({"a": jnp.array(1.5)}, {"a": jnp.bfloat16(0)})
      {'a': Array(1.5, dtype=bfloat16)}
    """
    return jax.tree.map(lambda x, y: jnp.asarray(x).astype(jnp.result_type(y)), tree, other_tree)


def dtype(tree: PyTree, mixed_dtype_handler: str | None = None) -> np.dtype[Any]:
    """Returns the dtype of all leaves; float32 (float64 under x64) without leaves.

    Args:
      mixed_dtype_handler: the result where dtypes differ: `"promote"` for their promotion;
        `"highest"` or `"lowest"` for the dtype among them that all promote to, or that promotes
        to all.

    Raises:
      ValueError: dtypes differ and there is no handler, or an unknown one; or none of the dtypes
        is the highest or the lowest, as for float16 and bfloat16.

    Example:
      >>> dtype({"a": jnp.bfloat16(1), "b": jnp.float32(1)}, "lowest")
      dtype(bfloat16)
    """
    dtypes = [jnp.result_type(x) for x in jax.tree.leaves(tree)]
    if not dtypes:
        return jnp.asarray([]).dtype
    if mixed_dtype_handler is None:
        if len(set(dtypes)) > 1:
            names = ", ".join(sorted({str(x) for x in dtypes}))
            raise ValueError(f"dtype: the leaves are of {names}. Pass mixed_dtype_handler.")
        return dtypes[0]
    if mixed_dtype_handler not in ("promote", "highest", "lowest"):
        raise ValueError(
            "dtype: mixed_dtype_handler must be None, 'promote', 'highest' or 'lowest', got "
            f"{mixed_dtype_handler!r}."
        )
    with jax.numpy_dtype_promotion("standard"):
        if mixed_dtype_handler == "promote":
            return functools.reduce(jnp.promote_types, dtypes)
        low = mixed_dtype_handler == "lowest"
        for x in dtypes:
            if all(jnp.promote_types(x, y) == (y if low else x) for y in dtypes):
                return x
    names = ", ".join(sorted({str(x) for x in dtypes}))
    raise ValueError(
        f"dtype: none of {names} is the {mixed_dtype_handler}. Pass 'promote' for a dtype that "
        "holds all of them."
    )


def split_key_like(rng_key: Array, target_tree: PyTree) -> PyTree:
    """Splits a random key into a tree with one key for each leaf.

    Example:
      >>> keys = split_key_like(jax.random.key(0), {"a": 0, "b": 0})
      >>> bool(jnp.any(jax.random.key_data(keys["a"]) != jax.random.key_data(keys["b"])))
      True
    """
    leaves, treedef = jax.tree.flatten(target_tree)
    return jax.tree.unflatten(treedef, jax.random.split(rng_key, len(leaves)))


def random_like(
    rng_key: Array,
    target_tree: PyTree,
    sampler: Callable[..., Array] = jax.random.normal,
    dtype: DTypeLike | None = None,
) -> PyTree:
    """Makes a tree of random arrays.

    Args:
      rng_key: a key, which is split for the leaves.
      target_tree: gives shapes, dtypes and shardings.
      sampler: `sampler(key, shape, dtype)`, optionally with `out_sharding`.
      dtype: dtype of all leaves; None for the dtype of each leaf.

    Example:
      >>> random_like(jax.random.key(0), {"a": jnp.zeros(2)})["a"].shape
      (2,)
    """
    # Samplers of jax.random take out_sharding; a caller's sampler need not.
    takes_sharding = "out_sharding" in inspect.signature(sampler).parameters

    def leaf(key: Array, x: ArrayLike) -> Array:
        sharding = {"out_sharding": jax.typeof(x).sharding} if takes_sharding else {}
        return sampler(key, jnp.shape(x), dtype or jnp.result_type(x), **sharding)

    return jax.tree.map(leaf, split_key_like(rng_key, target_tree), target_tree)


def unwrap_random_key_data(input_tree: PyTree) -> PyTree:
    """Replaces random keys by their integers, which can be compared and saved.

    Example:
      >>> unwrap_random_key_data({"key": jax.random.key(7)})["key"].tolist()
      [0, 7]
    """

    def leaf(x: PyTree) -> PyTree:
        is_key = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(x) if is_key else x

    return jax.tree.map(leaf, input_tree)
