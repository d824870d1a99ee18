"""Applies a transformation of matrices to the parameters that have some."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...core.adapter import ExtraArgsAdapter, check_order, check_pair, link_name
from ...core.caching import Interned
from ...core.functions import can_be_cached
from ...core.protocol import GradientTransformation, MaskedNode, PyTree, TransformInitFn
from ...core.signatures import named_init
from ...core.trees.labels import FrozenTree, resolve_labels
from ...core.trees.placeholders import AnyParams, is_any_params
from ...core.trees.placement import partitioned_like, place_on_mesh_of, replicated
from ...core.trees.structure import align, align_params, is_absent, leaf_paths
from ...core.types import OptState
from ..parts import extra_of_part
from .axes import Blocks, MatrixAxes, all_of, one_or_all
from .routing import MatrixLeaves

__all__ = ["MatricesInit", "MatricesUpdate", "on_matrices"]

Array = jax.Array


def on_matrices(
    inner: GradientTransformation, leaves: MatrixLeaves, block_size: int | None = None
) -> GradientTransformation:
    """Applies a transformation to the matrices of a tree only.

    The transformation sees each parameter that has matrices as an array of shape
    `(matrices, rows, columns)`, or as a tuple of such arrays where its matrices differ in shape. It
    sees `MaskedNode` in place of all other parameters, whose updates are returned unchanged.

    The state is the state of `inner`. A slot with the shape of the matrices is kept in the shape of
    the parameter, so that it is sharded like the parameter, and other functions can read it as a
    slot of the parameter.

    Args:
      inner: the transformation.
      leaves: which parameters have matrices, and along which axes.
      block_size: the largest side of a matrix; longer ones are cut into blocks, each of which is
        a matrix for `inner`. None for no limit.
    """
    init, update = check_pair("on_matrices: inner", inner)
    name = link_name(init, update)
    form = StateForm.of(init)
    return GradientTransformation(
        MatricesInit(name, init, leaves, block_size, form),
        MatricesUpdate.of(name, ExtraArgsAdapter.to(update), leaves, block_size, form),
    )


@dataclasses.dataclass(frozen=True)
class StateForm:
    """Tells which slots of a state have the shape of the matrices.

    Attributes:
      slots: the paths of these slots, each a tree like the parameters.
    """

    slots: frozenset[tuple[Any, ...]]

    @classmethod
    def of(cls, init: TransformInitFn) -> "StateForm":
        """Finds the slots in a state that `init` makes for matrices of a shape that is unique."""
        probe = (7, 10_007, 10_009)
        state = jax.eval_shape(init, AnyParams(jax.ShapeDtypeStruct(probe, jnp.float32)))  # type: ignore[arg-type]
        leaves, _ = jax.tree_util.tree_flatten_with_path(state, is_leaf=is_any_params)
        has_shape = {
            path: is_any_params(x) and getattr(x[0], "shape", None) == probe for path, x in leaves
        }
        return cls(frozenset(path for path, use in has_shape.items() if use))

    def as_matrices(self, state: OptState, view: "_View") -> OptState:
        """Returns a state with these slots as matrices, as the inner transformation has them."""

        def convert(tree: PyTree) -> PyTree:
            return view.tree(view.split(view.treedef.flatten_up_to(tree)))

        return self._map(convert, state)

    def as_parameters(self, state: OptState, view: "_View", before: OptState) -> OptState:
        """Returns a state with these slots in the shape of the parameters.

        Args:
          state: a state of the inner transformation.
          view: the matrices.
          before: the last state in this form, whose shardings the slots keep.
        """

        def convert(tree: PyTree, like: PyTree) -> PyTree:
            return view.tree(view.joined(tree, view.treedef.flatten_up_to(like)))

        return partitioned_like(self._map(convert, state, before), before)

    def from_init(self, state: OptState, view: "_View", params: Sequence[Any]) -> OptState:
        """Returns a new state with these slots in the shape and the sharding of the parameters.

        All other arrays are replicated, whatever the shardings of the matrices.
        """

        def convert(tree: PyTree) -> PyTree:
            return view.tree(view.joined(tree, params))

        return self._map(convert, state, others=lambda x: replicated([x])[0])

    def _map(
        self,
        convert: Callable[..., PyTree],
        state: OptState,
        *more: OptState,
        others: Callable[[Array], Array] = lambda x: x,
    ) -> OptState:
        """Converts these slots, and other arrays by `others`; `more` may have other fields."""
        trees = [dict(self._flat(x)[0]) for x in more]
        leaves, treedef = self._flat(state)
        return treedef.unflatten(
            [
                convert(x, *(tree[path] for tree in trees)) if path in self.slots else others(x)
                for path, x in leaves
            ]
        )

    def _flat(self, state: OptState) -> tuple[list[tuple[Any, Any]], Any]:
        return jax.tree_util.tree_flatten_with_path(
            state, is_leaf=lambda path, _: path in self.slots, is_leaf_takes_path=True
        )


@dataclasses.dataclass(frozen=True)
class _View:
    """The parameters of one update as matrices.

    Attributes:
      labels: the tree of axes and reasons.
      blocks: the matrices of each parameter; None where it has none.
    """

    labels: PyTree
    treedef: Any
    blocks: tuple[Blocks | None, ...]

    @classmethod
    def of(
        cls,
        name: str,
        leaves: MatrixLeaves,
        block_size: int | None,
        params: PyTree | None,
        updates: PyTree,
    ) -> "_View":
        """Finds the matrices of parameters, or of updates where these are not known."""
        labels = resolve_labels(name, leaves.argument, leaves, params, updates)
        flat, treedef = jax.tree.flatten(labels)
        reference = align(labels, updates if params is None else params, link=name, name="params")
        blocks = [
            Blocks(axes, jnp.shape(x), block_size)
            if isinstance(axes, MatrixAxes) and not is_absent(x)
            else None
            for axes, x in zip(flat, reference, strict=True)
        ]
        for i, matrices in enumerate(blocks):
            try:
                if matrices is not None:
                    matrices.axes.parts(matrices.shape)
            except ValueError as error:
                raise ValueError(
                    f"{leaves.rule}: {leaves.argument}: at '{leaf_paths(labels)[i]}': {error}"
                ) from None
        return cls(labels, treedef, tuple(blocks))

    def tree(self, leaves: Sequence[Any]) -> PyTree:
        """Returns the tree that the inner transformation sees."""
        return self.treedef.unflatten(leaves)

    def split(self, leaves: Sequence[Any]) -> list[Any]:
        """Splits leaves into matrices; an absent leaf becomes an absent value for each array."""
        return [
            MaskedNode() if blocks is None else _split(blocks, x)
            for blocks, x in zip(self.blocks, leaves, strict=True)
        ]

    def joined(self, tree: PyTree, like: Sequence[Any]) -> list[Any]:
        """Joins the matrices in a tree to parameters; returns its other leaves unchanged.

        Args:
          tree: the matrices of all parameters.
          like: arrays of the shapes of the parameters, whose shardings the parameters get.
        """
        return [
            x if blocks is None or is_absent(x) else _join(blocks, x, p)
            for blocks, x, p in zip(
                self.blocks, self.treedef.flatten_up_to(tree), like, strict=True
            )
        ]

    def merged(self, tree: PyTree, leaves: Sequence[Any]) -> list[Any]:
        """Returns leaves, where the joined matrices of a tree replace parameters with matrices."""
        return [
            x if blocks is None or is_absent(x) else new
            for blocks, x, new in zip(self.blocks, leaves, self.joined(tree, leaves), strict=True)
        ]


@named_init
@dataclasses.dataclass(frozen=True)
class MatricesInit:
    """`init` of a transformation of matrices."""

    name: str
    init: TransformInitFn
    leaves: MatrixLeaves
    block_size: int | None
    form: StateForm

    def __call__(self, params: PyTree) -> OptState:
        """Makes the state."""
        if is_any_params(params):  # a tree of any shape; see `AnyParams`
            return self.init(params)
        view = _View.of(self.name, self.leaves, self.block_size, params, params)
        leaves = align(view.labels, params, link=self.name, name="params")
        state = self.init(view.tree(view.split(leaves)))
        return place_on_mesh_of(params, self.form.from_init(state, view, leaves))

    def __repr__(self) -> str:
        return repr(self.init)


@dataclasses.dataclass(frozen=True)
class MatricesUpdate(Interned):
    """`update` of a transformation of matrices."""

    name: str
    link: ExtraArgsAdapter
    leaves: MatrixLeaves
    block_size: int | None
    form: StateForm

    @property
    def is_cacheable(self) -> bool:
        """Whether the axes and the transformation may be kept alive."""
        labeller = self.leaves.labeller
        is_tree = isinstance(labeller, FrozenTree) or can_be_cached(labeller)
        return is_tree and getattr(self.link.function, "is_cacheable", False)

    def __call__(
        self, updates: PyTree, state: OptState, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, OptState]:
        """Transforms the matrices."""
        check_order(self.name, updates, state, params)
        view = _View.of(self.name, self.leaves, self.block_size, params, updates)
        gradients = align(view.labels, updates, link=self.name, name="updates")
        values = None
        if params is not None:
            values = align_params(view.labels, params, link=self.name)
        # Shapes and shardings are from the parameters, if update got them.
        like = gradients if values is None else values

        def cut(leaves: Sequence[Any]) -> PyTree:
            return view.tree(view.split(leaves))

        new, after = self.link(
            cut(gradients),
            self.form.as_matrices(state, view),
            None if values is None else cut(values),
            extra_of_part(
                extra, view.treedef, values, gradients, cut, lambda tree: view.merged(tree, like)
            ),
        )
        state = self.form.as_parameters(after, view, state)
        return view.tree(view.merged(new, gradients)), state


def _split(blocks: Blocks, x: Any) -> Any:
    """Returns the matrices of one leaf: an array, or a tuple of several."""
    arrays: list[Any]
    if is_absent(x):
        arrays = [x] * len(blocks.shapes)
    elif isinstance(x, jax.ShapeDtypeStruct):  # `init` may be given the shapes of parameters
        arrays = [jax.ShapeDtypeStruct(shape, x.dtype) for shape in blocks.shapes]
    else:
        arrays = blocks.split(jnp.asarray(x))
    return one_or_all(arrays)


def _join(blocks: Blocks, matrices: Any, like: Any) -> Any:
    """Inverts `_split`, for an array that is sharded like another one."""
    arrays = all_of(matrices)
    if is_absent(arrays[0]):
        return arrays[0]
    like = arrays[0] if isinstance(like, jax.ShapeDtypeStruct) else jnp.asarray(like)
    return blocks.join(arrays, like)
