"""Flattening many small arrays into few vectors."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.adapter import Link, check_pair
from ..core.caching import Interned
from ..core.leaf.stacking import apart
from ..core.numerics.precision import wider
from ..core.protocol import GradientTransformation, PyTree
from ..core.trees.placeholders import is_any_params
from ..core.trees.sparse_rows import is_sparse
from ..core.trees.structure import align_params, is_placeholder, leaf_paths
from .parts import extra_of_part

__all__ = ["flatten"]

Array = jax.Array
Buckets = dict[str, list[int]]


def flatten(inner: GradientTransformation) -> GradientTransformation:
    """Flattens all arrays of each dtype into one vector for a transformation.

    This gives fewer and larger operations, for models with very many small arrays. The state is
    that of `inner` for the parameters `{"float32": (n,), ...}`, so that its paths read
    `mu.float32`. Rules that treat an array as a whole, as a matrix, layer or block, see the vector.
    Do not use it for sharded parameters, because they would be gathered first.

    Args:
      inner: transformation of the vectors.

    Differences: optax makes one vector of the widest dtype.

    Raises:
      TypeError: inner is not a pair of functions.
      ValueError: an update is sparse, or is None where the parameter is an array.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.flatten(fo.sgd(0.5, momentum=0.9))
      >>> params = {"a": jnp.ones(2), "b": jnp.ones((1, 1))}
      >>> updates, state = tx.update(params, tx.init(params), params)
      >>> jax.tree.map(jnp.shape, (updates, state.trace.trace))
      ({'a': (2,), 'b': (1, 1)}, {'float32': (3,)})
    """
    init, update = check_pair("flatten: inner", inner)
    return GradientTransformation(_Init(init), _Update.of(Link.to(update)))


@dataclasses.dataclass(frozen=True)
class _Init:
    """`init` of a flattened transformation."""

    init: Callable[..., Any]
    name = "flatten"

    def __call__(self, params: PyTree) -> Any:
        """Makes the inner state for the vectors."""
        if is_any_params(params):  # nothing is kept for a parameter; how many vectors is not known
            return self.init(jnp.zeros(()))
        leaves = [x if hasattr(x, "dtype") else jnp.asarray(x) for x in jax.tree.leaves(params)]
        return self.init(_joined(leaves, _buckets(leaves)))

    def __repr__(self) -> str:
        return f"flatten({self.init!r})"


@dataclasses.dataclass(frozen=True)
class _Update(Interned):
    """`update` of a flattened transformation."""

    inner: Link

    def __call__(
        self, updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        """Transforms the vectors, and splits them again."""
        treedef: Any
        leaves, treedef = jax.tree.flatten(updates, is_leaf=is_sparse)
        if any(map(is_sparse, leaves)):
            raise ValueError("flatten: an update is sparse. Put densify() in front.")
        leaves = [jnp.asarray(x) for x in leaves]
        values = None
        if params is not None:
            _check_present(updates, params)
            values = [jnp.asarray(p) for p in align_params(updates, params, link="flatten")]
        buckets = _buckets(leaves if values is None else values)
        joined = None if values is None else _joined(values, buckets)
        cut = functools.partial(_joined, buckets=buckets)
        whole = functools.partial(_apart, leaves=leaves, buckets=buckets)
        extra = extra_of_part(extra, treedef, values, leaves, cut, whole)
        new, state = self.inner(_joined(leaves, buckets), state, joined, extra)
        return treedef.unflatten(_apart(new, leaves, buckets)), state


def _check_present(updates: PyTree, params: PyTree) -> None:
    found = jax.tree.leaves(updates, is_leaf=is_placeholder)
    treedef: Any = jax.tree.structure(updates, is_leaf=is_placeholder)
    try:
        whole = treedef.flatten_up_to(params)
    except ValueError:
        return  # align_params raises a better error
    for i, (g, p) in enumerate(zip(found, whole, strict=True)):
        if g is None and p is not None:
            path = leaf_paths(jax.tree.map(lambda x: 0, updates, is_leaf=is_placeholder))[i]
            raise ValueError(
                f"flatten: the update at '{path}' is None. All arrays of a dtype have their update "
                "together: pass zeros, or leave flatten out."
            )


def _buckets(leaves: list[Any]) -> Buckets:
    """Returns which leaves are in which vector."""
    found: Buckets = {}
    for i, x in enumerate(leaves):
        found.setdefault(str(np.dtype(x.dtype)), []).append(i)
    return found


def _joined(leaves: list[Any], buckets: Buckets) -> dict[str, Any]:
    return {k: _one([leaves[i] for i in members]) for k, members in buckets.items()}


def _one(arrays: list[Any]) -> Any:
    """Concatenates arrays in a dtype that holds all of them; of shapes, returns the shape."""
    dtype = functools.reduce(wider, (x.dtype for x in arrays))
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in arrays):
        return jax.ShapeDtypeStruct((sum(x.size for x in arrays),), dtype)
    return jnp.concatenate([x.astype(dtype).reshape(-1) for x in arrays])


def _apart(vectors: dict[str, Array], leaves: list[Any], buckets: Buckets) -> list[Array]:
    """Splits the vectors into leaves; leaves of equal size together, as `apart` does."""
    result: list[Any] = [None] * len(leaves)
    for k, members in buckets.items():
        start = 0
        for size, found in itertools.groupby(members, key=lambda i: leaves[i].size):
            run = list(found)
            block = jax.lax.slice_in_dim(vectors[k], start, start + len(run) * size)
            for i, part in zip(run, apart(block.reshape(len(run), size)), strict=True):
                result[i] = part.reshape(leaves[i].shape)
            start += len(run) * size
    return result
