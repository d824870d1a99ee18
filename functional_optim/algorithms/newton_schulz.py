"""Orthogonalizes matrices by polynomials: the Newton-Schulz iteration of Muon."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from ..core.decorators import leaf_rule
from ..core.numerics.matrices import adjoint, as_matrices, transposed
from ..core.numerics.precision import compute_dtype, real_dtype, safe_sqrt
from ..core.rules.arguments import NonNegative, Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import scale_for, scaled_norm_along
from ..core.trees.placement import auto_sharded
from .newton_schulz_schedules import (
    SAFETY_FACTORS,
    STANDARD,
    Rounds,
    Triple,
    check_rounds,
    polynomials_of,
)

__all__ = ["STANDARD", "Rounds", "check_rounds", "newton_schulz", "orthogonalize"]

Array = jax.Array

GRAM_FROM = 2.5
"""How many times as long as the short side the long one is, at least, where `gram` is None.

From 1.5 on, two rounds by one Gram matrix multiply fewer numbers than single rounds; the sums of
small matrices that they need in addition cost time too.
"""


def newton_schulz(
    x: Array,
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int | None = None,
    eps: ArrayLike = 1e-7,
    *,
    method: str = "newton_schulz",
    preconditioning: str = "frobenius",
    safety_factor: float | None = None,
    ns_dtype: DTypeLike | None = None,
    eps_as_floor: bool = False,
    gram: bool | None = None,
    adaptive: bool = False,
) -> Array:
    """Computes nearly orthogonal matrices with the same singular vectors.

    This is the maths of `orthogonalize`, where the arguments are described, for an array of
    shape `(..., rows, columns)`, with any leading axes: each matrix is replaced separately, and
    the transpose of a matrix by the transpose. A matrix of zeros stays zero.

    Raises:
      ValueError: as `orthogonalize`.
    """
    options = {
        "ns_coeffs": ns_coeffs,
        "ns_steps": ns_steps,
        "method": method,
        "preconditioning": preconditioning,
        "ns_dtype": ns_dtype,
    }
    message = check_rounds(options)
    if message is not None:
        raise ValueError(f"newton_schulz: {message}")
    if x.size == 0:
        return x
    # XLA compiles products with a batch axis of length 1 three times as long as those without.
    whole = x.reshape(*(n for n in x.shape[:-2] if n != 1), *x.shape[-2:])
    wide = whole.astype(compute_dtype(x.dtype))
    if method == "newton_schulz":
        if safety_factor is None:
            safety_factor = SAFETY_FACTORS.get(ns_coeffs, 1.0)
        to = _Rounding(ns_dtype)
        # The Gram matrix of the shorter side is smaller, and its products cost less.
        tall = wide.shape[-2] > wide.shape[-1]
        y = to.rounded(wide.astype(to.wide(wide.dtype)))
        eps = jnp.asarray(eps).astype(real_dtype(y.dtype))
        y = _normalized(y, preconditioning, safety_factor, eps, eps_as_floor, to.rounded)
        y = transposed(y) if tall else y
        y = _iterated(y, polynomials_of(ns_coeffs, ns_steps), gram, to)
        u = transposed(y) if tall else y
    else:
        u = _polar_factor(wide, method)
    u = u.astype(x.dtype)
    if adaptive:
        u = jnp.sum(jnp.conj(whole) * u, axis=(-2, -1), keepdims=True) * u
    return u.reshape(x.shape)


def _iterated(x: Array, rounds: Sequence[Triple], gram: bool | None, to: "_Rounding") -> Array:
    """Computes all rounds, two at a time with `gram`, and with None where that saves time."""
    saves_time = to.narrow is None and x.shape[-1] >= GRAM_FROM * x.shape[-2]
    pairs = len(rounds) // 2 * 2 if gram or (gram is None and saves_time) else 0

    def two_at_a_time(x: Array, identity: Array) -> Array:
        for i in range(0, pairs, 2):
            x = _two_rounds(x, rounds[i], rounds[i + 1], identity, to)
        return x

    def in_full_precision(x: Array) -> Array:
        identity = _identity(x)
        x = two_at_a_time(x, identity)
        for polynomial in rounds[pairs:]:
            x = _round_by_factor(x, polynomial, identity, to)
        return x

    def in_few_bits(x: Array) -> Array:
        if gram:
            x = two_at_a_time(x, _identity(x))
        for polynomial in rounds[pairs if gram else 0 :]:
            x = _round(x, polynomial, to)
        return x

    if to.narrow is not None:
        return in_few_bits(x)
    # On the CPU a round multiplies by the factor a I + b A + c A A: XLA compiles that sum, which
    # has the size of the short side, once for all long sides. Other platforms multiply float32 in
    # fewer bits by default, and would round a I too; with small singular values the error is then
    # several times as large.
    return jax.lax.platform_dependent(x, cpu=in_full_precision, default=in_few_bits)


def _polar_factor(x: Array, method: str) -> Array:
    """Computes the polar factor: all singular values that are not 0 become 1."""
    x = x * _scale(x).astype(x.dtype)
    if method == "svd":
        u, s, v = jnp.linalg.svd(x, full_matrices=False)
        # Values of rounding errors alone have arbitrary vectors.
        least = s[..., :1] * max(x.shape[-2:]) * jnp.finfo(s.dtype).eps
        return (u * (s > least)[..., None, :].astype(u.dtype)) @ v
    tall = x.shape[-2] >= x.shape[-1]
    y = x if tall else transposed(x)
    empty = jnp.all(y == 0, axis=(-2, -1), keepdims=True)
    # Of zeros there is no polar decomposition, and this would return NaN.
    y = jnp.where(empty, jnp.eye(y.shape[-2], y.shape[-1], dtype=y.dtype), y)
    function = _qdwh
    for _ in y.shape[:-2]:
        function = jax.vmap(function)
    u = jnp.where(empty, 0.0, function(y))
    return u if tall else transposed(u)


def _scale(x: Array) -> Array:
    """Returns a scale for each matrix, with which squares of its elements do not overflow."""
    return scale_for(jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True))


def _qdwh(x: Array) -> Array:
    return jax.lax.linalg.qdwh(x)[0]


@leaf_rule(split_complex=False, stack_leaves=True, check=check_rounds)
def orthogonalize(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    ns_coeffs: Static[Rounds | str] = STANDARD,
    ns_steps: Static[int | None] = None,
    eps: NonNegative = 1e-7,
    *,
    adaptive: Static[bool] = False,
    preconditioning: Static[str] = "frobenius",
    method: Static[str] = "newton_schulz",
    safety_factor: Static[float | None] = None,
    ns_dtype: Static[DTypeLike | None] = None,
    eps_as_floor: Static[bool] = False,
    gram: Static[bool | None] = None,
) -> tuple[Array, dict[str, Array]]:
    """Replaces matrices by nearly orthogonal ones with the same singular vectors.

    The last two axes of a leaf are a matrix, and all other axes are batch axes; a vector is a
    matrix of one row. For one matrix G with at most as many rows as columns (or transposed):

        X = G / (|G|_F + eps)
        X <- a X + (b A + c A A) X,    A = X X^T, in each of ns_steps rounds
        u  = X, or <G, X> X with adaptive

    If G = U diag(s) V^T, then u = U diag(f(s / |G|_F)) V^T, where f applies the polynomials
    a s + b s^3 + c s^5 of all rounds. The values of f, by the least s / |G|_F:

        ns_coeffs                 rounds   from 0.01 on     from 0.001 on
        "standard"                   5     0.682 to 1.134   0.471 to 1.202
        "dion", also "quintic"       5     0.978 to 1.032   0.475 to 1.145
        "polar_express"              5     0.859 to 1.141   0.847 to 1.141
        "cans"                       5     0.884 to 1.120   0.884 to 1.120
        "cubic", two products each   5     0.774 to 1.300   0.119 to 1.300
        "polar_express_8"            8     1.000 to 1.000   1.000 to 1.000
        "deepseek_v4"               10     1.000 to 1.0005  1.000 to 1.0005

    `eps` `()` is in units of g; u has no unit, or the unit of g with adaptive.

    Args:
      ns_coeffs: (a, b, c); a tuple of such triples, one for each round, the last of which is
        repeated in all later rounds; or the name of a published schedule from the table. With
        `"cans"`, values above 1.0005 diverge, so that it needs products of float32: on devices
        that compute these in fewer bits, set `jax.default_matmul_precision("highest")`.
      ns_steps: number of rounds, below 100; None for as many as ns_coeffs has, 5 for one triple.
      eps: added to the norm of G; in units of g.
      adaptive: whether to scale by the dual norm <G, X>, so that a small gradient makes a small
        step.
      preconditioning: the divisor of G, which must be at least its largest singular value:
        `"frobenius"`, the Frobenius norm; `"spectral"`, the largest singular value, which needs
        an SVD; `"schatten"`, the fourth root of the sum of s^4; or `"aol"`, a number for each row,
        which changes the singular vectors slightly.
      method: `"newton_schulz"`, the rounds above; or the polar factor U V^T itself, from `"svd"` or
        from `"qdwh"`, which ignore all arguments of the rounds. With `"svd"`, singular values of
        rounding errors alone become 0; `"qdwh"` is for matrices of full rank, and has no derivative
        in reverse mode, because it iterates until it has converged.
      safety_factor: the divisor of G is this number times the norm, plus eps. None for the
        authors' number: 1.02 for `"polar_express"`, and 1 otherwise.
      ns_dtype: dtype to which factors and results of products are rounded, bfloat16 in the authors'
        code and in torch; None for the dtype of the computation, at least float32. In float32,
        u has an error of at most 3e-5, in the spectral norm, for singular values that fall to a
        thousandth of the largest. In bfloat16, the error is at most 0.15 for values that fall to a
        tenth, and up to 0.7 below, where rounding replaces directions of small values.
      eps_as_floor: whether to divide by max(|G|_F, eps), as in torch.
      gram: whether to compute two rounds at a time, from the Gram matrix of the first; None where
        this saves at least a tenth of the products without larger errors: on the CPU, unless
        ns_dtype rounds, for matrices whose long side is 2.5 times the short one or more. Where
        products round to bfloat16, the error is several times that of single rounds if singular
        values differ by more than a factor of 100.

    Differences: the authors' code rounds to bfloat16. optax has eps 1e-8, does not accept vectors,
    does not add eps for spectral, and computes <G, X> over all matrices of a leaf together.

    Raises:
      ValueError: ns_coeffs does not consist of triples, or has more triples than rounds; ns_steps
        is not an integer from 0 to 99; method or preconditioning is unknown; ns_dtype with
        `"cans"`; eps negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.orthogonalize("polar_express")
      >>> g = jnp.array([[3.0, 4.0], [40.0, -30.0]])
      >>> u = tx.update(g, tx.init(g))[0]
      >>> bool(jnp.abs(u @ u.T - jnp.eye(2)).max() < 0.3)
      True

    Reference: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024,
    kellerjordan.github.io/posts/muon. Bernstein & Newhouse, Old Optimizer, New Norm: An
    Anthology, 2024, arXiv:2409.20325, for adaptive. Amsel et al., The Polar Express, 2025,
    arXiv:2505.16932. Ahn et al., Dion, 2025, arXiv:2504.05295. Boissin et al., Turbo-Muon,
    2025, arXiv:2512.04632, for aol. Grishina et al., 2025, arXiv:2506.10935, for schatten and
    cans. Nakatsukasa et al., Optimizing Halley's iteration for computing the matrix polar
    decomposition, SIMAX 2010, for qdwh. arXiv:2606.00371, for cubic.
    """
    del slots, p, ctx
    if g.size == 0:
        return g, {}

    def orthogonal(g: Array, eps: Array) -> Array:
        u = newton_schulz(
            as_matrices(g),
            ns_coeffs,
            ns_steps,
            eps,
            method=method,
            preconditioning=preconditioning,
            safety_factor=safety_factor,
            ns_dtype=ns_dtype,
            eps_as_floor=eps_as_floor,
            gram=gram,
            adaptive=adaptive,
        )
        return u.reshape(g.shape)

    return auto_sharded(orthogonal, lambda shape, spec, mesh: spec, g, eps), {}


# A round is traced and lowered once for all rounds that have the same polynomial.
@functools.partial(jax.jit, static_argnames=("polynomial", "to"))
def _round_by_factor(x: Array, polynomial: Triple, identity: Array, to: "_Rounding") -> Array:
    """Computes one round as a product with a I + b A + c A A."""
    gram = to.product(x, adjoint(x))
    return to.product(_factor(gram, polynomial, identity, to), x)


@functools.partial(jax.jit, static_argnames=("polynomial", "to"))
def _round(x: Array, polynomial: Triple, to: "_Rounding") -> Array:
    """Computes one round, and rounds as matrix products in a narrow dtype do."""
    a, b, c = polynomial
    gram = to.rounded(to.product(x, adjoint(x)))
    return to.rounded(a * x + to.product(to.rounded(_even(gram, b, c, to)), x))


@functools.partial(jax.jit, static_argnames=("first", "second", "to"))
def _two_rounds(x: Array, first: Triple, second: Triple, identity: Array, to: "_Rounding") -> Array:
    """Computes two rounds with two products of x: the second Gram matrix is made of the first.

    More rounds in this way would cost still less, but the errors of the Gram matrix grow with the
    square of the slope of each polynomial at 0: after two rounds they are as large as with single
    rounds, and after four a hundred times as large.
    """
    gram = to.rounded(to.product(x, adjoint(x)))
    one = _factor(gram, first, identity, to)
    gram = to.rounded(to.product(to.rounded(to.product(one, gram)), one))
    both = to.rounded(to.product(_factor(gram, second, identity, to), one))
    return to.rounded(to.product(both, x))


def _identity(x: Array) -> Array:
    """Returns identity matrices with as many rows as x."""
    side = x.shape[-2]
    return jnp.broadcast_to(jnp.eye(side, dtype=x.dtype), (*x.shape[:-1], side))


def _factor(gram: Array, polynomial: Triple, identity: Array, to: "_Rounding") -> Array:
    """Computes a I + b A + c A A, by which a round multiplies x."""
    a, b, c = polynomial
    return to.rounded(a * identity + _even(gram, b, c, to))


def _even(gram: Array, b: float, c: float, to: "_Rounding") -> Array:
    """Computes b A + c A A; a cubic polynomial has c = 0, and needs no product."""
    return b * gram + c * to.product(gram, gram) if c else b * gram


def _normalized(
    x: Array,
    preconditioning: str,
    safety_factor: float,
    eps: Array,
    as_floor: bool,
    rounded: Callable[[Array], Array],
) -> Array:
    """Divides matrices so that their singular values are at most 1 / safety_factor."""
    if preconditioning in ("frobenius", "spectral"):
        if preconditioning == "frobenius":
            norm = scaled_norm_along(x, (-2, -1))
        else:
            norm = jnp.linalg.norm(x, ord=2, axis=(-2, -1), keepdims=True)
        size = rounded(norm)
        size = size if safety_factor == 1 else rounded(safety_factor * size)
        size = jnp.maximum(size, rounded(eps)) if as_floor else rounded(size + eps)
    else:
        scale = _scale(x)
        x = x * scale.astype(x.dtype)
        tall = x.shape[-2] > x.shape[-1]
        y = transposed(x) if tall else x
        gram = y @ adjoint(y)
        if preconditioning == "schatten":
            square = scaled_norm_along(gram, (-2, -1))
        else:
            square = jnp.sum(jnp.abs(gram), axis=-1, keepdims=True)
            square = transposed(square) if tall else square
        size = rounded(jnp.maximum(safety_factor * safe_sqrt(square), eps * scale))
    divisor = jax.lax.select(size == 0, jnp.ones_like(size), size)
    return rounded(x / divisor.astype(x.dtype))


@dataclasses.dataclass(frozen=True)
class _Rounding:
    """Rounds as matrix units do: they multiply bfloat16 numbers, and add in float32.

    Attributes:
      narrow: dtype of the factors of products, and of results; None for the dtype of the arrays.
    """

    narrow: DTypeLike | None

    def wide(self, dtype: DTypeLike) -> DTypeLike:
        """Returns the dtype of the sums, for matrices of a dtype."""
        if self.narrow is None or jnp.finfo(self.narrow).bits >= 64:
            return dtype
        is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
        return jnp.complex64 if is_complex else jnp.float32

    def rounded(self, x: Array) -> Array:
        """Rounds an array, and keeps its dtype."""
        if self.narrow is None:
            return x
        if jnp.iscomplexobj(x):
            return jax.lax.complex(self.rounded(x.real), self.rounded(x.imag))
        limits = jnp.finfo(self.narrow)
        # XLA may remove a pair of casts, and does not remove this operation.
        return jax.lax.reduce_precision(x, limits.nexp, limits.nmant)

    def product(self, x: Array, y: Array) -> Array:
        """Multiplies matrices of rounded numbers; the result is not yet rounded."""
        if self.narrow is None or jnp.iscomplexobj(x):
            return x @ y
        # The casts are exact, and let a matrix unit multiply in its fastest dtype.
        return jnp.matmul(
            x.astype(self.narrow), y.astype(self.narrow), preferred_element_type=x.dtype
        )
