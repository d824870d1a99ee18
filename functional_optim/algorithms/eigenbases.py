"""The eigenbases of SOAP and of KL-SOAP, which are refreshed every few updates."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from ..core.numerics.matrices import adjoint, matrix_axes, squares, times
from ..core.numerics.moments import moment
from ..core.numerics.precision import safe_sqrt
from ..core.rules.context import Slots, StepContext
from ..core.rules.spec import TreeStats
from ..core.trees.placement import auto_sharded
from ..core.trees.varying import cond

__all__ = [
    "FACTORS",
    "FAILURES",
    "Sides",
    "bases_of",
    "basis_slots",
    "divided_by_rms",
    "divided_by_root",
    "check_sides",
    "is_due",
    "complex_moment",
    "on_whole_matrices",
    "refreshed",
    "refreshed_factor",
    "rotated",
    "rotated_back",
    "side_sizes",
    "step_scalars",
]

Array = jax.Array

FAILURES = TreeStats(sums=("failed_refreshes",))
"""Publishes how often a basis was kept because its decomposition failed."""

FACTORS = ("left", "right")
"""The sides of a matrix: its rows, and its columns."""


class Sides(NamedTuple):
    """An array for each side of matrices, or None for a side whose basis is the identity."""

    left: Array | None  # (..., rows, rows)
    right: Array | None  # (..., columns, columns)


def side_sizes(
    shape: tuple[int, ...], max_precond_dim: int, *, one_sided: bool = False
) -> tuple[int | None, int | None]:
    """Returns the sizes of the bases, None for a side whose basis is always the identity.

    The identity is used for vectors, for sides of more than max_precond_dim or of one element, and
    with one_sided for the longer side, or the columns if both sides are equal.
    """
    if len(shape) < 2 or 0 in shape:
        return None, None
    rows, columns = shape[-2:]
    has_basis = (not one_sided or rows <= columns, not one_sided or rows > columns)
    left, right = (
        n if use and 1 < n <= max_precond_dim else None
        for n, use in zip((rows, columns), has_basis, strict=True)
    )
    return left, right


def basis_slots(p: Array, sizes: tuple[int | None, int | None]) -> dict[str, Array | None]:
    """Makes the slots of factors and bases: zeros, and the identity."""
    slots: dict[str, Array | None] = {}
    for name, n in zip(FACTORS, sizes, strict=True):
        shape = None if n is None else (*p.shape[:-2], n, n)
        slots[name] = None if shape is None else jnp.zeros(shape, p.dtype)
        slots[f"{name}_basis"] = (
            None if shape is None else jnp.broadcast_to(jnp.eye(shape[-1], dtype=p.dtype), shape)
        )
    return slots | {"failed_refreshes": jnp.zeros((), jnp.int32)}


def check_sides(options: Any, kind: str = "basis") -> str | None:
    """Checks max_precond_dim, the longest side for which a rule keeps a basis or a factor."""
    n = options["max_precond_dim"]
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        return (
            f"max_precond_dim must be a whole number from 0, got {n!r}. Pass the longest side that "
            f"gets a {kind}, or 0 for no {kind}."
        )
    return None


def step_scalars(t: Array, b1: Array, b2: Array, shampoo_beta: Array) -> dict[str, Array]:
    """Computes the scalars of update number t; the first update only makes the bases.

    `n` is the number of updates of the moments, which stay 0 at the first update. A negative
    shampoo_beta means b2.
    """
    b3 = jnp.where(shampoo_beta < 0, b2, shampoo_beta)
    started = jnp.where(t == 1, 0, 1).astype(t.dtype)
    return {
        "n": t - 1,
        "first": t == 1,
        "started": started,
        "mu_gain": started * (1 - b1),
        "nu_gain": started * (1 - b2),
        "factor_decay": b3,
        "factor_gain": 1 - b3,
    }


def is_due(ctx: StepContext, precondition_frequency: Array, *, stagger: bool) -> Array:
    """Tells whether this update refreshes the bases of this leaf.

    With stagger, leaves have different phases. Multiples of the golden ratio, modulo 1, are spread
    evenly over [0, 1) for any run of indices with equal differences, such as the indices of
    matrices with a bias after each.
    """
    n = ctx.n
    if stagger:
        golden = (5**0.5 - 1) / 2
        part = jnp.mod(golden * ctx.leaf.astype(n.dtype), 1)
        n = n + jnp.floor(precondition_frequency * part)
    return (jnp.mod(n, precondition_frequency) == 0) & ~ctx.first


def bases_of(slots: Slots) -> Sides:
    """Returns the bases in a leaf's slots."""
    return Sides(*[getattr(slots, f"{name}_basis", None) for name in FACTORS])


def complex_moment(old: Array, x: Array, decay: Array, gain: Array) -> Array:
    """Computes `moment` of an array that may be complex."""
    return moment(old, x, decay.astype(x.dtype), gain.astype(x.dtype))


def rotated(x: Array, bases: Sides) -> Array:
    """Returns matrices in the bases: left^H x right."""
    x = x if bases.left is None else adjoint(bases.left) @ x
    return x if bases.right is None else x @ bases.right


def rotated_back(x: Array, bases: Sides) -> Array:
    """Inverts `rotated`: left x right^H."""
    x = x if bases.left is None else bases.left @ x
    return x if bases.right is None else x @ adjoint(bases.right)


def divided_by_root(mu: Array, nu: Array, eps: Array, bases: Sides) -> Array:
    """Takes the direction of Adam in the bases: a mean, divided there by the root of nu."""
    # The floor avoids a division of 0 by 0, where eps is 0.
    root = jnp.maximum(safe_sqrt(nu) + eps, float(jnp.finfo(nu.dtype).tiny))
    return rotated_back(times(1 / root, rotated(mu, bases)), bases)


def divided_by_rms(u: Array) -> Array:
    """Divides each matrix by its root mean square."""
    axes = matrix_axes(u)
    rms = safe_sqrt(jnp.mean(squares(u), axis=axes, keepdims=True))
    # 1e-30 is the authors' constant. A matrix of zeros is divided by 1, so that neither the
    # quotient nor its derivative is NaN.
    return times(1 / jnp.where(rms > 0, rms + 1e-30, 1), u)


Refreshed = tuple[Array, Array, Array]
"""A basis, the order of its old columns in it, and which matrices kept their basis."""


def _first_basis(factor: Array) -> Array:
    """Returns eigenvectors in descending order of the eigenvalues."""
    return jnp.flip(jnp.linalg.eigh(factor)[1], axis=-1)


def _next_basis(factor: Array, basis: Array, *, is_sorted: bool) -> tuple[Array, Array]:
    """Returns the basis after one power iteration and a QR decomposition, and its order."""
    product = factor @ basis
    n = basis.shape[-1]
    if not is_sorted:
        order = jnp.broadcast_to(jnp.arange(n), basis.shape[:-1])
    else:
        values = jnp.sum((jnp.conj(basis) * product).real, axis=-2)
        order = jnp.argsort(values, axis=-1, descending=True)
        product = jnp.take_along_axis(product, order[..., None, :], axis=-1)
    return jnp.linalg.qr(product)[0], order


def refreshed_factor(
    ctx: StepContext, due: Array, factor: Array, basis: Array, *, is_sorted: bool
) -> Refreshed:
    """Refreshes the basis of one side, if that is due.

    The first update makes the basis by an eigendecomposition. A matrix whose decomposition has
    elements that are not finite keeps its basis. Bases are constants in derivatives, because the
    derivatives of eigenvectors are infinite where two eigenvalues are equal.
    """
    factor, basis = jax.lax.stop_gradient((factor, basis))
    same = jnp.broadcast_to(jnp.arange(basis.shape[-1]), basis.shape[:-1])

    def keep() -> Refreshed:
        return basis, same, jnp.zeros(basis.shape[:-2], bool)

    def unless_failed(new: Array, order: Array) -> Refreshed:
        failed = ~jnp.all(jnp.isfinite(new), axis=(-2, -1))
        new = jnp.where(failed[..., None, None], basis, new)
        return new, jnp.where(failed[..., None], same, order), failed

    def first() -> Refreshed:
        return unless_failed(_first_basis(factor), same)

    def following() -> Refreshed:
        return unless_failed(*_next_basis(factor, basis, is_sorted=is_sorted))

    return cond(ctx.first | due, lambda: cond(ctx.first, first, following), keep)


def refreshed(
    ctx: StepContext, due: Array, slots: Slots, factors: Sides, *, is_sorted: bool
) -> tuple[dict[str, Array], Sides]:
    """Refreshes the bases of both sides.

    Returns:
      The slots of factors and bases, and the order of the old columns in each new basis.
    """
    new: dict[str, Array] = {}
    orders: list[Array | None] = []
    count = slots.failed_refreshes
    for name, factor in zip(FACTORS, factors, strict=True):
        if factor is None:
            orders.append(None)
            continue
        basis, order, failed = refreshed_factor(
            ctx, due, factor, getattr(slots, f"{name}_basis"), is_sorted=is_sorted
        )
        new |= {name: factor, f"{name}_basis": basis}
        orders.append(order)
        count = count + jnp.sum(failed, dtype=count.dtype)
    return new | {"failed_refreshes": count}, Sides(*orders)


def on_whole_matrices(
    maths: Callable[..., tuple[Array, dict[str, Array]]],
    g: Array,
    slots: Slots,
    ctx: StepContext,
    *rest: Array | None,
) -> tuple[Array, dict[str, Array]]:
    """Calls `maths(g, slots, ctx, *rest)` if g has elements, with sharding left to the compiler.

    Results of g's shape are sharded as g is, and others are replicated. On a mesh with explicit
    axes, the maths must not capture arrays, but receive all of them as arguments.
    """
    fields = slots._asdict()
    if g.size == 0:
        return g, fields

    def specs(shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh | AbstractMesh) -> Any:
        del mesh
        is_like_g = {k: x.shape == shape for k, x in fields.items()}
        return spec, {k: spec if like else PartitionSpec() for k, like in is_like_g.items()}

    def maths_on_fields(
        g: Array, fields: dict[str, Array], scalars: dict[str, Array], *rest: Array | None
    ) -> tuple[Array, dict[str, Array]]:
        return maths(g, Slots(**fields), StepContext(rule=ctx.rule, **scalars), *rest)

    scalars = {k: x for k, x in vars(ctx).items() if k != "rule"}
    return auto_sharded(maths_on_fields, specs, g, fields, scalars, *rest)
