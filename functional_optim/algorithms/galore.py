"""GaLore: an optimizer of matrices whose moments are in a subspace of the gradients."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import renamed
from ..core.functions import can_be_cached
from ..core.numerics.matrices import adjoint
from ..core.numerics.precision import compute_dtype, safe_increment
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, MaskedNode, PyTree, TransformInitFn
from ..core.rules.schedule import check_choice
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.labels import FrozenTree, resolve_labels
from ..core.trees.placeholders import is_any_params
from ..core.trees.placement import auto_sharded, place_on_mesh_of
from ..core.trees.structure import align, is_absent, leaf_paths
from ..core.trees.varying import varying_as
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.masking import masked
from ..transforms.matrices import (
    Blocks,
    MatrixAxes,
    MatrixLeaves,
    MuonDimensionNumbers,
    all_of,
    as_matrix_axes,
    one_or_all,
    two_axes,
)
from ..transforms.scaling import scale as scale_updates
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam

__all__ = ["GaLoreDimensionNumbers", "galore", "scale_by_galore"]

Array = jax.Array
Axes = PyTree | Callable[[PyTree], PyTree] | None

GaLoreDimensionNumbers = MuonDimensionNumbers
"""Makes `MatrixAxes` under optax's name."""

SIDES = ("longer", "shorter")

_scale = renamed(scale_updates, step_size="scale")


@composed
def scale_by_galore(
    rank: int = 128,
    update_proj_gap: int = 200,
    scale: ScalarOrSchedule = 1.0,
    base_optimizer: GradientTransformation | None = None,
    weight_dimension_numbers: Axes = None,
    *,
    side: str = "longer",
) -> GradientTransformation:
    """Applies an optimizer to matrices that are projected on their largest singular vectors.

    For one matrix G of shape `(rows, columns)`, with r = min(rank, rows, columns), where the rows
    are projected:

        P <- the first r left singular vectors of G, at the first of every update_proj_gap updates
        u  = scale P base(P^T G)

    Where the columns are projected, P has the right singular vectors, and u = scale base(G P) P^T.
    The sign of a singular vector is not determined by G, and moments depend on it: here its element
    of the largest magnitude is positive, so that runs repeat. base transforms the updates of all
    other parameters without a projection.

    The state keeps P as `projector`, `(rows, r)` or `(columns, r)`, and `base_optimizer_state`,
    whose slots are `(r, columns)` or `(rows, r)`; if a parameter has several matrices, they are
    along a first axis. Extra arguments are passed to base. `scale` `()` has no unit; u is in units
    of base's updates.

    Args:
      rank: largest rank of the projections.
      update_proj_gap: number of updates for which P stays the same.
      scale: factor of the updates of matrices; 0.25 in the paper and in the authors' examples.
      base_optimizer: a transformation that does not need parameters; None for `scale_by_adam()`.
      weight_dimension_numbers: tree of `MatrixAxes` or `GaLoreDimensionNumbers`, or a prefix of
        one, with None for the parameters that are not projected; a function of the parameters that
        returns one; or one for all parameters with at least two axes. None for exactly the
        parameters with two axes; `axes_by_name()` leaves out embeddings and heads.
      side: the side that is projected: `"longer"`, which makes the slots of base small and P large,
        as in optax; or `"shorter"`, as in the paper. The rows of a square matrix are projected.

    Differences: in optax, LAPACK determines the signs, and there are no batch axes. The authors
    project the shorter side, and count the updates of each parameter. A matrix whose singular
    vectors are not finite keeps P.

    Raises:
      TypeError: rank or update_proj_gap is not an integer, or base_optimizer not a transformation.
      ValueError: rank or update_proj_gap < 1, side is unknown, or axes do not fit a parameter.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_galore(rank=2), {"w": jnp.zeros((8, 5)), "b": jnp.zeros(5)}
      >>> state = tx.init(params)[0]
      >>> moments = state.base_optimizer_state.mu
      >>> state.projector["w"].shape, moments["w"].shape, moments["b"].shape
      ((8, 2), (2, 5), (5,))

    Reference: Zhao et al., GaLore: Memory-efficient LLM training by gradient low-rank projection,
    ICML 2024, Algorithm 2, arXiv:2403.03507.
    """
    base = scale_by_adam() if base_optimizer is None else base_optimizer
    init, update = check_pair("scale_by_galore: base_optimizer", base)
    check_choice(side, "scale_by_galore: side", SIDES)
    projections = Projections(
        MatrixLeaves.of(_axes(weight_dimension_numbers), "galore", "weight_dimension_numbers"),
        as_count(rank, "scale_by_galore: rank"),
        as_count(update_proj_gap, "scale_by_galore: update_proj_gap"),
        side,
    )
    low_rank = GradientTransformation(
        ProjectedInit(init, projections),
        ProjectedUpdate.of(ExtraArgsAdapter.to(update), projections),
    )
    matrices = projections.leaves.where(matrices=True)
    return chain(low_rank, masked(_scale(scale), matrices))


def _axes(axes: Axes) -> Axes:
    if axes is None:
        return two_axes
    spec = as_matrix_axes(axes)
    return axes if spec is None else _OfAll(spec)


@dataclasses.dataclass(frozen=True)
class _OfAll:
    """The same axes for all parameters with at least two axes."""

    axes: MatrixAxes

    def __call__(self, params: PyTree) -> PyTree:
        return jax.tree.map(lambda p: self.axes if jnp.ndim(p) > 1 else None, params)


@dataclasses.dataclass(frozen=True)
class Projections:
    """Which parameters are projected, and how.

    Attributes:
      leaves: which parameters have matrices.
      rank: largest rank.
      gap: number of updates with the same projection.
      side: the side that is projected.
    """

    leaves: MatrixLeaves
    rank: int
    gap: int
    side: str

    def blocks(self, name: str, params: PyTree | None, updates: PyTree) -> tuple[Any, list[Any]]:
        """Returns the tree of labels, and the matrices of each leaf, or None."""
        labels = resolve_labels(name, self.leaves.argument, self.leaves, params, updates)
        leaves = align(
            labels, updates, link=name, name="params" if params is updates else "updates"
        )
        known = leaves if params is None else align(labels, params, link=name, name="params")
        blocks = [
            Blocks(axes, jnp.shape(x))
            if isinstance(axes, MatrixAxes) and not is_absent(x)
            else None
            for axes, x in zip(jax.tree.leaves(labels), known, strict=True)
        ]
        for i, matrices in enumerate(blocks):
            try:
                if matrices is not None:
                    matrices.axes.parts(matrices.shape)
            except ValueError as error:
                where = f"{self.leaves.rule}: {self.leaves.argument}: at '{leaf_paths(labels)[i]}'"
                raise ValueError(f"{where}: {error}") from None
        return labels, blocks

    def shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes of the projection and of the projected matrices."""
        n, rows, columns = shape
        r = min(self.rank, rows, columns)
        batch = () if n == 1 else (n,)
        if projects_rows(shape, self.side):
            return (*batch, rows, r), (*batch, r, columns)
        return (*batch, columns, r), (*batch, rows, r)


def projects_rows(shape: Sequence[int], side: str) -> bool:
    """Tells whether the rows of matrices `(..., rows, columns)` are projected, or the columns."""
    rows, columns = shape[-2:]
    return rows >= columns if side == "longer" else rows <= columns


@named_init
@dataclasses.dataclass(frozen=True)
class ProjectedInit:
    """`init` of an optimizer of projections."""

    base: TransformInitFn
    projections: Projections
    name = "scale_by_galore"

    def __call__(self, params: PyTree) -> State:
        """Makes the state; the first update computes the projections."""
        count = jnp.zeros((), np.int32)
        if is_any_params(params):
            return State(count=count, base_optimizer_state=self.base(params), projector=params)
        labels, blocks = self.projections.blocks(self.name, params, params)
        leaves = align(labels, params, link=self.name, name="params")
        low_rank, projectors = [], []
        for matrices, p in zip(blocks, leaves, strict=True):
            if matrices is None:
                low_rank.append(p)
                projectors.append(MaskedNode())
                continue
            shapes = [self.projections.shapes(shape) for shape in matrices.shapes]
            projectors.append(
                one_or_all(varying_as([jnp.zeros(s, compute_dtype(p.dtype)) for s, _ in shapes], p))
            )
            low_rank.append(one_or_all(varying_as([jnp.zeros(s, p.dtype) for _, s in shapes], p)))
        treedef: Any = jax.tree.structure(labels)
        base_state = self.base(treedef.unflatten(low_rank))
        state = State(
            count=count,
            base_optimizer_state=base_state,
            projector=treedef.unflatten(projectors),
        )
        return place_on_mesh_of(params, state)

    def __repr__(self) -> str:
        p = self.projections
        return f"scale_by_galore({p.rank}, {p.gap}, base_optimizer={self.base!r}, side={p.side!r})"


@dataclasses.dataclass(frozen=True)
class ProjectedUpdate(Interned):
    """`update` of an optimizer of projections."""

    base: ExtraArgsAdapter
    projections: Projections

    @property
    def is_cacheable(self) -> bool:
        """Whether the axes and the optimizer may be kept alive."""
        labeller = self.projections.leaves.labeller
        is_tree = isinstance(labeller, FrozenTree) or can_be_cached(labeller)
        return is_tree and getattr(self.base.function, "is_cacheable", False)

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Projects the matrices, transforms all leaves, and maps the results back."""
        check_state("scale_by_galore", updates, state, params)
        name, side = ProjectedInit.name, self.projections.side
        labels, blocks = self.projections.blocks(name, params, updates)
        gradients = align(labels, updates, link=name, name="updates")
        treedef: Any = jax.tree.structure(labels)
        due = state.count % self.projections.gap == 0
        projectors = treedef.flatten_up_to(state.projector)
        low_rank = list(gradients)
        for i, (matrices, g) in enumerate(zip(blocks, gradients, strict=True)):
            if matrices is None or is_absent(g):
                continue
            pairs = [
                _project(x, p, due, side=side)
                for x, p in zip(matrices.split(jnp.asarray(g)), all_of(projectors[i]), strict=True)
            ]
            projectors[i] = one_or_all([p for p, _ in pairs])
            low_rank[i] = one_or_all([x for _, x in pairs])
        new, base_state = self.base(
            treedef.unflatten(low_rank), state.base_optimizer_state, None, extra
        )
        results = treedef.flatten_up_to(new)
        for i, (matrices, g) in enumerate(zip(blocks, gradients, strict=True)):
            if matrices is None or is_absent(g):
                continue
            arrays = [
                _project_back(u, p, shape=shape, side=side)
                for u, p, shape in zip(
                    all_of(results[i]), all_of(projectors[i]), matrices.shapes, strict=True
                )
            ]
            g = jnp.asarray(g)
            results[i] = matrices.join(arrays, g).astype(g.dtype)
        next_state = State(
            count=safe_increment(state.count),
            base_optimizer_state=base_state,
            projector=treedef.unflatten(projectors),
        )
        return treedef.unflatten(results), next_state


@functools.partial(jax.jit, static_argnames="side")
def _project(g: Array, projector: Array, due: Array, side: str) -> tuple[Array, Array]:
    """Returns the projection, computed again where it is due, and the projected matrices.

    Args:
      g: `(matrices, rows, columns)`.
      projector: the last projection, at first zero.
    """
    of_rows = projects_rows(g.shape, side)
    x = g.astype(compute_dtype(g.dtype))
    rank = projector.shape[-1]
    low_rank_sides = (rank, g.shape[-1]) if of_rows else (g.shape[-2], rank)
    low_rank_shape = (*projector.shape[:-2], *low_rank_sides)

    def project(x: Array, projector: Array, due: Array) -> tuple[Array, Array]:
        x = x[0] if projector.ndim == 2 else x
        if x.size == 0:
            return projector.astype(x.dtype), jnp.zeros(low_rank_shape, x.dtype)
        # A leaf that had no update until now has no projection yet.
        new = jax.lax.cond(
            due | ~jnp.any(projector),
            lambda x, old: _singular_vectors(x, old, of_rows),
            lambda x, old: old,
            x,
            projector.astype(x.dtype),
        )
        return new, adjoint(new) @ x if of_rows else x @ new

    def specs(
        shape: tuple[int, ...], spec: PartitionSpec, mesh: object
    ) -> tuple[PartitionSpec, PartitionSpec]:
        batch, rows, columns = (*spec, None, None, None)[:3]
        front = () if projector.ndim == 2 else (batch,)
        if of_rows:
            return PartitionSpec(*front, None, None), PartitionSpec(*front, None, columns)
        return PartitionSpec(*front, None, None), PartitionSpec(*front, rows, None)

    new, low_rank = auto_sharded(project, specs, x, projector, due)
    return new.astype(projector.dtype), low_rank.astype(g.dtype)


@functools.partial(jax.jit, static_argnames=("shape", "side"))
def _project_back(u: Array, projector: Array, shape: tuple[int, ...], side: str) -> Array:
    """Maps updates of projected matrices back to `(matrices, rows, columns)`."""
    of_rows = projects_rows(shape, side)

    def back(u: Array, projector: Array) -> Array:
        u = u.astype(projector.dtype)
        full = projector @ u if of_rows else u @ adjoint(projector)
        return full.reshape(shape)

    return auto_sharded(back, lambda *_: PartitionSpec(), u, projector)


def _singular_vectors(x: Array, old: Array, of_rows: bool) -> Array:
    """Returns the first left or right singular vectors, with signs by their largest elements.

    Args:
      old: the vectors that a matrix keeps whose new ones are not finite.
    """
    left, _, right = jnp.linalg.svd(x, full_matrices=False)
    vectors = (left if of_rows else adjoint(right))[..., : old.shape[-1]]
    largest = jnp.argmax(jnp.abs(vectors), axis=-2, keepdims=True)
    vectors = vectors * jnp.conj(jnp.sign(jnp.take_along_axis(vectors, largest, axis=-2)))
    finite = jnp.all(jnp.isfinite(vectors), axis=(-2, -1), keepdims=True)
    return jnp.where(finite, vectors, old)


@composed
def galore(
    learning_rate: ScalarOrSchedule,
    rank: int = 128,
    update_proj_gap: int = 200,
    scale: ScalarOrSchedule = 1.0,
    base_optimizer: GradientTransformation | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    weight_dimension_numbers: Axes = None,
    *,
    side: str = "longer",
) -> GradientTransformation:
    """GaLore: `scale_by_galore`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_galore`

    `learning_rate` `()` is in units of p per unit of base_optimizer's updates.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_galore`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: see `scale_by_galore`. The authors decay after the step, and their Adam adds its
    eps of 1e-6 to the root without bias correction.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.galore(0.1, rank=1), {"w": jnp.ones((3, 2))}
      >>> updates, _ = tx.update({"w": jnp.full((3, 2), 4.0)}, tx.init(params), params)
      >>> [f"{u:.3f}" for u in updates["w"][0]]
      ['-0.058', '-0.058']

    Reference: Zhao et al., GaLore: Memory-efficient LLM training by gradient low-rank projection,
    ICML 2024, Algorithm 2, arXiv:2403.03507.
    """
    return chain(
        scale_by_galore(
            rank, update_proj_gap, scale, base_optimizer, weight_dimension_numbers, side=side
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
