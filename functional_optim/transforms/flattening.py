"""Flattening many small arrays into few vectors."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.adapter import ExtraArgsAdapter, check_order, check_pair
from ..core.caching import Interned
from ..core.leaf.quantized import is_quantized
from ..core.leaf.stacking import unstack_array
from ..core.numerics.precision import wider
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn
from ..core.signatures import named_init
from ..core.trees.placeholders import is_any_params
from ..core.trees.placement import replicated, shard_like, sharded_as
from ..core.trees.structure import align_params, is_absent, is_placeholder, is_sparse
from ..core.types import OptState
from .parts import extra_of_part

__all__ = ["flatten"]

Array = jax.Array
Buckets = dict[str, list[int]]


def flatten(inner: GradientTransformation) -> GradientTransformation:
    """Flattens all arrays of each dtype into one vector for a transformation.

    This gives fewer and larger operations, for models with very many small arrays. The state is the
    state of `inner` for the parameters `{"float32": (n,), ...}`, so that its paths read
    `mu.float32`. Rules that treat an array as a whole, as a matrix, layer or block, see the vector.
    Do not use it for sharded parameters, because every device gets the whole vectors.

    A parameter whose update is None does not change, and neither does its part of the vectors in
    the state. But all parameters of a vector share its count, and so the bias corrections. Where
    all updates of a dtype are None, the update of its vector is None too.

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
    return GradientTransformation(
        _FlattenInit(init), _FlattenUpdate.of(ExtraArgsAdapter.to(update))
    )


@named_init
@dataclasses.dataclass(frozen=True)
class _FlattenInit:
    """`init` of a flattened transformation."""

    init: TransformInitFn
    name = "flatten"

    def __call__(self, params: PyTree) -> OptState:
        """Makes the inner state for the vectors."""
        if is_any_params(params):  # slots of placeholders are empty, so their dtypes do not matter
            return self.init(jnp.zeros(()))
        leaves = [x if hasattr(x, "dtype") else jnp.asarray(x) for x in jax.tree.leaves(params)]
        buckets = _buckets(leaves)
        return self.init(
            {k: _concatenate([leaves[i] for i in members]) for k, members in buckets.items()}
        )

    def __repr__(self) -> str:
        return f"flatten({self.init!r})"


@dataclasses.dataclass(frozen=True)
class _FlattenUpdate(Interned):
    """`update` of a flattened transformation."""

    inner: ExtraArgsAdapter

    def __call__(
        self, updates: PyTree, state: OptState, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, OptState]:
        """Transforms the vectors, and splits them again."""
        check_order("flatten", updates, state, params)
        leaves = _Leaves.of(updates, params)
        vectors = None if params is None else leaves.vectors_of_params()
        extra = leaves.extra_of_vectors(extra)
        new, after = self.inner(leaves.vectors_of_updates(), state, vectors, extra)
        return leaves.split(new), leaves.keep_absent(state, after)


@dataclasses.dataclass(frozen=True)
class _Leaves:
    """The leaves of one update, and the vectors that they are concatenated to.

    Attributes:
      flat: the updates, including placeholders.
      flat_params: the parameters at the same indices, if update got params.
      treedef: the structure of both, with a leaf for each placeholder.
      places: the indices in `flat` of the leaves that belong to a vector.
      updates: the updates of these leaves, None where the gradient is None.
      params: the parameters of these leaves; their updates, if there are no parameters.
      buckets: the vectors, each with the indices in `updates` of its leaves.
    """

    flat: list[PyTree]
    flat_params: list[PyTree] | None
    treedef: Any
    places: list[int]
    updates: list[Array | None]
    params: list[Array]
    buckets: Buckets

    @classmethod
    def of(cls, updates: PyTree, params: PyTree | None) -> "_Leaves":
        """Finds the leaves; a parameter whose update is None belongs to a vector, too."""
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
        reference = flat if flat_params is None else flat_params
        places = [
            i
            for i, (g, p) in enumerate(zip(flat, reference, strict=True))
            if not is_absent(p) and (g is None or not is_placeholder(g))
        ]
        gradients = [None if flat[i] is None else jnp.asarray(flat[i]) for i in places]
        values = [jnp.asarray(reference[i]) for i in places]
        return cls(flat, flat_params, treedef, places, gradients, values, _buckets(values))

    def vectors_of_params(self) -> dict[str, Array]:
        """Concatenates the parameters."""
        return {
            k: _concatenate([self.params[i] for i in members])
            for k, members in self.buckets.items()
        }

    def vectors_of_updates(self) -> dict[str, Array | None]:
        """Concatenates the updates; None becomes zeros, unless all of a vector are None."""
        return {k: self._vector(members) for k, members in self.buckets.items()}

    def _vector(self, members: list[int]) -> Array | None:
        pairs = [(self.updates[i], self.params[i]) for i in members]
        dtypes = [g.dtype for g, _ in pairs if g is not None]
        if not dtypes:
            return None
        dtype = functools.reduce(wider, dtypes)
        return _concatenate([jnp.zeros_like(p, dtype=dtype) if g is None else g for g, p in pairs])

    def extra_of_vectors(self, extra: Mapping[str, object]) -> dict[str, object]:
        """Turns extra arguments that are like the parameters into vectors."""

        def cut(flat: list[PyTree]) -> dict[str, Array]:
            pairs = zip((flat[i] for i in self.places), self.params, strict=True)
            arrays = [jnp.zeros_like(p) if is_absent(x) else jnp.asarray(x) for x, p in pairs]
            return {
                k: _concatenate([arrays[i] for i in members]) for k, members in self.buckets.items()
            }

        def uncut(vectors: dict[str, Array]) -> list[PyTree]:
            flat = list(self.flat_params or self.flat)
            for k, members in self.buckets.items():
                parts = _split(vectors[k], [self.params[i].shape for i in members])
                for i, x in zip(members, parts, strict=True):
                    flat[self.places[i]] = x
            return flat

        return extra_of_part(extra, self.treedef, self.flat_params, self.flat, cut, uncut)

    def split(self, vectors: dict[str, PyTree]) -> PyTree:
        """Splits vectors into updates, which are sharded like the incoming updates."""
        flat = list(self.flat)
        for k, members in self.buckets.items():
            if is_absent(vectors[k]):
                continue
            parts = _split(vectors[k], [self.params[i].shape for i in members])
            for i, u in zip(members, parts, strict=True):
                g = self.updates[i]
                flat[self.places[i]] = g if g is None else sharded_as(u, g)
        return jax.tree.unflatten(self.treedef, flat)

    def keep_absent(self, before: OptState, after: OptState) -> OptState:
        """Restores the old state of leaves without an update, in the vectors of a state."""
        old = dict(jax.tree_util.tree_flatten_with_path(before, is_leaf=is_quantized)[0])

        def keep(path: tuple[object, ...], new: PyTree) -> PyTree:
            members = self.buckets.get(str(getattr(path[-1], "key", ""))) if path else None
            # Only vectors of a whole bucket belong to leaves; other arrays may have the same key.
            if members is None or path not in old or new.shape != (self._size(members),):
                return new
            if is_quantized(new):
                return self._keep_parts(members, old[path], new)
            return shard_like(self._keep_parts(members, old[path], new), old[path])

        return jax.tree_util.tree_map_with_path(keep, after, is_leaf=is_quantized)

    def _size(self, members: Sequence[int]) -> int:
        return sum(self.params[i].size for i in members)

    def _keep_parts(self, members: list[int], old: PyTree, new: PyTree) -> PyTree:
        if all(self.updates[i] is not None for i in members):
            return new
        if is_quantized(new):
            return type(new).of(self._keep_parts(members, old.decoded(), new.decoded()), None)
        parts, start = [], 0
        for absent, run in itertools.groupby(members, key=lambda i: self.updates[i] is None):
            end = start + self._size(list(run))
            parts.append(jax.lax.slice_in_dim(old if absent else new, start, end))
            start = end
        return jax.lax.concatenate(parts, 0)


def _buckets(leaves: Sequence[Array]) -> Buckets:
    """Returns the dtypes of the vectors, each with the indices of its leaves."""
    buckets: Buckets = {}
    for i, x in enumerate(leaves):
        buckets.setdefault(str(np.dtype(x.dtype)), []).append(i)
    return buckets


def _concatenate(arrays: Sequence[Array]) -> Any:
    """Concatenates arrays, or `ShapeDtypeStruct`s, in a dtype that can represent all of them."""
    dtype = functools.reduce(wider, (x.dtype for x in arrays))
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in arrays):
        return jax.ShapeDtypeStruct((sum(x.size for x in arrays),), dtype)
    return jnp.concatenate([x.astype(dtype).reshape(-1) for x in replicated(arrays)])


def _split(vector: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
    """Splits a vector into arrays; a run of equal sizes is split by one kernel."""
    result: list[Array] = []
    start = 0
    for size, group in itertools.groupby(shapes, key=lambda shape: int(np.prod(shape))):
        run = list(group)
        block = jax.lax.slice_in_dim(vector, start, start + len(run) * size)
        parts = unstack_array(block.reshape(len(run), size))
        result += [part.reshape(shape) for part, shape in zip(parts, run, strict=True)]
        start += len(run) * size
    return result
