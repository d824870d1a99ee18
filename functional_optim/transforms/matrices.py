"""Parameters as matrices: which axes are rows, which are columns, and which are batch axes."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ..core.adapter import Link, check_pair, link_name
from ..core.caching import Interned
from ..core.protocol import GradientTransformation, MaskedNode, PyTree, TransformInitFn
from ..core.trees.labels import Labeller, as_labeller, resolve_labels
from ..core.trees.placement import auto_sharded
from ..core.trees.structure import align, align_params, is_absent
from ..core.types import OptState

__all__ = [
    "REST",
    "MatricesInit",
    "MatricesUpdate",
    "MatrixLeaves",
    "MuonDimensionNumbers",
    "OnlyMatrices",
    "on_matrices",
]

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class MuonDimensionNumbers:
    """Says which axes of a parameter are the inputs of a linear map, and which its outputs.

    Several axes are joined, in the order in which they are given; all others are batch axes.

    Args:
      reduction_axis: axis or axes over which a layer sums.
      output_axis: axis or axes of its outputs.

    Example:
      >>> conv = MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
      >>> layers = MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    """

    reduction_axis: int | tuple[int, ...] = 0
    output_axis: int | tuple[int, ...] = 1

    def axes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Returns the batch axes, the axes of the rows, and the axes of the columns.

        Raises:
          ValueError: an axis does not exist, or is given twice.
        """
        joined = [
            (axis,) if isinstance(axis, int) else tuple(axis)
            for axis in (self.reduction_axis, self.output_axis)
        ]
        flat = [i for axes in joined for i in axes]
        exist = all(-len(shape) <= i < len(shape) for i in flat)
        rows, columns = (tuple(i % max(len(shape), 1) for i in axes) for axes in joined)
        # An axis may be given as -1 and again as its positive index.
        if not exist or len({*rows, *columns}) < len(flat):
            raise ValueError(
                f"{self} does not fit a parameter of shape {shape}. Give each axis once, between "
                f"{-len(shape)} and {len(shape) - 1}."
            )
        return tuple(i for i in range(len(shape)) if i not in rows + columns), rows, columns

    def as_matrices(self, x: Array) -> Array:
        """Reshapes an array to `(matrices, rows, columns)`."""
        parts = self.axes(x.shape)
        sizes = [math.prod(x.shape[i] for i in axes) for axes in parts]

        def join(x: Array) -> Array:
            return jnp.transpose(x, sum(parts, ())).reshape(sizes)

        return auto_sharded(join, lambda shape, spec, mesh: self._spec(spec, shape), x)

    def restored(self, matrices: Array, like: Array) -> Array:
        """Inverts `as_matrices`, for an array with the shape and the sharding of another."""
        shape, spec = like.shape, jax.typeof(like).sharding.spec
        order = sum(self.axes(shape), ())

        def split(matrices: Array) -> Array:
            x = matrices.reshape([shape[i] for i in order])
            return jnp.transpose(x, [order.index(i) for i in range(len(order))])

        return auto_sharded(split, lambda *_: spec, matrices)

    def _spec(self, spec: PartitionSpec, shape: tuple[int, ...]) -> PartitionSpec:
        """Returns the spec of the matrices: that of an axis, or None where several are joined."""
        specs = [spec[axes[0]] if len(axes) == 1 else None for axes in self.axes(shape)]
        return PartitionSpec(*specs)


REST = "rest"
"""The label of a parameter that is not a matrix."""


@dataclasses.dataclass(frozen=True)
class MatrixLeaves:
    """Finds for each parameter its `MuonDimensionNumbers`, or `REST`.

    Attributes:
      labeller: function of the parameters that returns a tree of `MuonDimensionNumbers`, shaped
        like the parameters or a prefix of that, with None for a parameter that is not a matrix;
        or None: all parameters with two axes are matrices.
    """

    labeller: Labeller | None

    @classmethod
    def of(cls, specs: PyTree | Labeller) -> "MatrixLeaves":
        """Makes a hashable object of a tree, a function or None."""
        return cls(None if specs is None else as_labeller(specs))

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the specs of the parameters."""
        if self.labeller is None:
            plain = MuonDimensionNumbers()
            return jax.tree.map(lambda p: plain if jnp.ndim(p) == 2 else REST, params)
        return jax.tree.map(_as_spec, self.labeller(params), is_leaf=lambda x: x is None)

    def shown(self, spec: MuonDimensionNumbers | str, shape: tuple[int, ...]) -> str:
        """Describes how the rules see a parameter: `a matrix of 8 rows and 4 columns`."""
        if isinstance(spec, str):
            by = (
                f"for it has {len(shape)} axes"
                if self.labeller is None
                else "by weight_dimension_numbers"
            )
            return f"no matrix, {by}"
        batch, rows, columns = (math.prod(shape[i] for i in axes) for axes in spec.axes(shape))
        which = f"{batch} matrices" if spec.axes(shape)[0] else "a matrix"
        return f"{which} of {rows} rows and {columns} columns"

    def where(self, matrices: bool) -> "OnlyMatrices":
        """Makes a mask of the matrices, or of all other parameters."""
        return OnlyMatrices(self, matrices)


def _as_spec(entry: object) -> MuonDimensionNumbers | str:
    if entry is not None and not isinstance(entry, MuonDimensionNumbers):
        raise TypeError(
            f"weight_dimension_numbers: each must be MuonDimensionNumbers or None, got {entry!r}. "
            "Pass MuonDimensionNumbers(reduction_axis, output_axis)."
        )
    return REST if entry is None else entry


@dataclasses.dataclass(frozen=True)
class OnlyMatrices:
    """A mask of the matrices of a tree, or of all other parameters."""

    leaves: MatrixLeaves
    matrices: bool

    def __repr__(self) -> str:
        return "matrices" if self.matrices else "all but matrices"

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the mask."""
        return jax.tree.map(lambda spec: (spec != REST) == self.matrices, self.leaves(params))


def on_matrices(inner: GradientTransformation, leaves: MatrixLeaves) -> GradientTransformation:
    """Applies a transformation without slots to the matrices of a tree only.

    The transformation sees each of them as an array of shape `(matrices, rows, columns)`.

    Args:
      inner: the transformation.
      leaves: which parameters are matrices, and how.
    """
    init, update = check_pair("on_matrices: inner", inner)
    name = link_name(init, update)
    return GradientTransformation(
        MatricesInit(name, init, leaves), MatricesUpdate.of(name, Link.to(update), leaves)
    )


@dataclasses.dataclass(frozen=True)
class MatricesInit:
    """`init` of a transformation of matrices; without slots, their shapes do not matter."""

    name: str
    init: TransformInitFn
    leaves: MatrixLeaves

    def __call__(self, params: PyTree) -> OptState:
        """Makes the state."""
        return self.init(params)

    def __repr__(self) -> str:
        return repr(self.init)


@dataclasses.dataclass(frozen=True)
class MatricesUpdate(Interned):
    """`update` of a transformation of matrices."""

    name: str
    link: Link
    leaves: MatrixLeaves

    def __call__(
        self, updates: PyTree, state: OptState, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, OptState]:
        """Transforms the matrices."""
        what = "weight_dimension_numbers"
        labels = resolve_labels(self.name, what, self.leaves, params, updates)
        specs, treedef = jax.tree.flatten(labels)
        gradients = align(labels, updates, link=self.name, name="updates")
        align_params(labels, params, link=self.name)
        is_matrix = [
            spec != REST and not is_absent(g) for spec, g in zip(specs, gradients, strict=True)
        ]
        matrices = [
            spec.as_matrices(jnp.asarray(g)) if use else MaskedNode()
            for spec, g, use in zip(specs, gradients, is_matrix, strict=True)
        ]
        inner, state = self.link(jax.tree.unflatten(treedef, matrices), state, None, extra)
        new = align(labels, inner, link=self.name, name="the inner updates")
        return jax.tree.unflatten(
            treedef,
            [
                spec.restored(u, jnp.asarray(g)) if use else g
                for spec, g, u, use in zip(specs, gradients, new, is_matrix, strict=True)
            ],
        ), state
