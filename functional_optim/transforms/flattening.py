"""Flattening many small arrays into few vectors."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.adapter import Link, check_pair
from ..core.caching import Interned
from ..core.leaf.quantized import is_quantized
from ..core.leaf.stacking import unstack_array
from ..core.numerics.precision import wider
from ..core.protocol import GradientTransformation, PyTree
from ..core.trees.placeholders import is_any_params
from ..core.trees.placement import replicated, shard_like, sharded_as
from ..core.trees.sparse_rows import is_sparse
from ..core.trees.structure import align_params, is_absent, is_placeholder
from .parts import extra_of_part

__all__ = ["flatten"]

Array = jax.Array
Buckets = dict[str, list[int]]


def flatten(inner: GradientTransformation) -> GradientTransformation:
    """Flattens all arrays of each dtype into one vector for a transformation.

    This gives fewer and larger operations, for models with very many small arrays. The state is
    that of `inner` for the parameters `{"float32": (n,), ...}`, so that its paths read
    `mu.float32`. Rules that treat an array as a whole, as a matrix, layer or block, see the vector.
    Do not use it for sharded parameters, because every device gets the whole vectors.

    A parameter whose update is None stays, and so does its part of the vectors in the state. But
    all parameters of a vector share its count, and so the bias corrections. Where all updates of a
    dtype are None, the update of its vector is None too.

    Args:
      inner: transformation of the vectors.

    Differences: optax makes one vector of the widest dtype, and refuses None.

    Raises:
      TypeError: inner is not a pair of functions.
      ValueError: an update is sparse.

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
        buckets = _buckets(leaves)
        return self.init({k: _one([leaves[i] for i in at]) for k, at in buckets.items()})

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
        leaves = _Leaves.of(updates, params)
        joined = None if params is None else leaves.vectors_of_params()
        extra = leaves.extra_of_vectors(extra)
        new, after = self.inner(leaves.vectors_of_updates(), state, joined, extra)
        return leaves.split(new), leaves.keep_absent(state, after)


@dataclasses.dataclass(frozen=True)
class _Leaves:
    """The leaves of one update, and how they are joined.

    Attributes:
      flat: the updates, placeholders among them.
      flat_params: the parameters in the same places, if they are known.
      treedef: their structure, with a leaf for each placeholder.
      places: where in `flat` those are that are in a vector.
      updates: of these, None where there is none.
      params: of these; the updates, where there are no parameters.
      buckets: which of these are in which vector.
    """

    flat: list[Any]
    flat_params: list[Any] | None
    treedef: Any
    places: list[int]
    updates: list[Any]
    params: list[Any]
    buckets: Buckets

    @classmethod
    def of(cls, updates: PyTree, params: PyTree | None) -> "_Leaves":
        """Finds the leaves; a parameter is in a vector although its update is None."""
        treedef: Any
        flat, treedef = jax.tree.flatten(
            updates, is_leaf=lambda x: is_placeholder(x) or is_sparse(x)
        )
        if any(map(is_sparse, flat)):
            raise ValueError("flatten: an update is sparse. Put densify() in front.")
        flat_params = None
        if params is not None:
            align_params(updates, params, link="flatten")  # raises where they differ
            flat_params = treedef.flatten_up_to(params)
        beside = flat if flat_params is None else flat_params
        places = [
            i
            for i, (g, p) in enumerate(zip(flat, beside, strict=True))
            if not is_absent(p) and (g is None or not is_placeholder(g))
        ]
        given = [None if flat[i] is None else jnp.asarray(flat[i]) for i in places]
        values = [jnp.asarray(beside[i]) for i in places]
        return cls(flat, flat_params, treedef, places, given, values, _buckets(values))

    def vectors_of_params(self) -> dict[str, Array]:
        """Joins the parameters."""
        return {k: _one([self.params[i] for i in at]) for k, at in self.buckets.items()}

    def vectors_of_updates(self) -> dict[str, Array | None]:
        """Joins the updates; zeros stand for one that is not there, if others are."""
        return {k: self._vector(at) for k, at in self.buckets.items()}

    def _vector(self, members: list[int]) -> Array | None:
        there = [self.updates[i].dtype for i in members if self.updates[i] is not None]
        if not there:
            return None
        dtype = functools.reduce(wider, there)
        pairs = ((self.updates[i], self.params[i]) for i in members)
        return _one([jnp.zeros_like(p, dtype=dtype) if g is None else g for g, p in pairs])

    def extra_of_vectors(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Turns extra arguments that are like the parameters into vectors."""

        def cut(flat: list[Any]) -> dict[str, Array]:
            pairs = zip((flat[i] for i in self.places), self.params, strict=True)
            arrays = [jnp.zeros_like(p) if is_absent(x) else jnp.asarray(x) for x, p in pairs]
            return {k: _one([arrays[i] for i in at]) for k, at in self.buckets.items()}

        def uncut(vectors: dict[str, Array]) -> list[Any]:
            flat = list(self.flat_params or self.flat)
            for k, members in self.buckets.items():
                parts = _split(vectors[k], [self.params[i].shape for i in members])
                for i, x in zip(members, parts, strict=True):
                    flat[self.places[i]] = x
            return flat

        return extra_of_part(extra, self.treedef, self.flat_params, self.flat, cut, uncut)

    def split(self, vectors: dict[str, Any]) -> PyTree:
        """Splits vectors into updates, sharded as those that were given."""
        flat = list(self.flat)
        for k, members in self.buckets.items():
            if is_absent(vectors[k]):
                continue
            parts = _split(vectors[k], [self.params[i].shape for i in members])
            for i, u in zip(members, parts, strict=True):
                g = self.updates[i]
                flat[self.places[i]] = g if g is None else sharded_as(u, g)
        return self.treedef.unflatten(flat)

    def keep_absent(self, before: Any, after: Any) -> Any:
        """Keeps in the vectors of a state what belongs to leaves without an update."""
        old = dict(jax.tree_util.tree_flatten_with_path(before, is_leaf=is_quantized)[0])

        def keep(path: Any, new: Any) -> Any:
            members = self.buckets.get(str(getattr(path[-1], "key", ""))) if path else None
            if members is None or path not in old or new.shape != (self._size(members),):
                return new
            if is_quantized(new):
                return self._kept(members, old[path], new)
            return shard_like(self._kept(members, old[path], new), old[path])

        return jax.tree_util.tree_map_with_path(keep, after, is_leaf=is_quantized)

    def _size(self, members: Sequence[int]) -> int:
        return sum(self.params[i].size for i in members)

    def _kept(self, members: list[int], old: Any, new: Any) -> Any:
        if all(self.updates[i] is not None for i in members):
            return new
        if is_quantized(new):
            return type(new).of(self._kept(members, old.decoded(), new.decoded()), None)
        parts, start = [], 0
        for absent, run in itertools.groupby(members, key=lambda i: self.updates[i] is None):
            end = start + self._size(list(run))
            parts.append(jax.lax.slice_in_dim(old if absent else new, start, end))
            start = end
        return jax.lax.concatenate(parts, 0)


def _buckets(leaves: list[Any]) -> Buckets:
    """Returns which leaves are in which vector."""
    found: Buckets = {}
    for i, x in enumerate(leaves):
        found.setdefault(str(np.dtype(x.dtype)), []).append(i)
    return found


def _one(arrays: list[Any]) -> Any:
    """Concatenates arrays in a dtype that holds all of them; of shapes, returns the shape."""
    dtype = functools.reduce(wider, (x.dtype for x in arrays))
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in arrays):
        return jax.ShapeDtypeStruct((sum(x.size for x in arrays),), dtype)
    return jnp.concatenate([x.astype(dtype).reshape(-1) for x in replicated(arrays)])


def _split(vector: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
    """Splits a vector into arrays; those of equal size together, as `unstack_array` does."""
    result: list[Array] = []
    start = 0
    for size, found in itertools.groupby(shapes, key=lambda shape: int(np.prod(shape))):
        run = list(found)
        block = jax.lax.slice_in_dim(vector, start, start + len(run) * size)
        parts = unstack_array(block.reshape(len(run), size))
        result += [part.reshape(shape) for part, shape in zip(parts, run, strict=True)]
        start += len(run) * size
    return result
