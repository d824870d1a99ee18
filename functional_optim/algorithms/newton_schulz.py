"""Orthogonalizes matrices by polynomials: the Newton-Schulz iteration of Muon."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.decorators import leaf_rule
from ..core.numerics.precision import safe_sqrt
from ..core.rules.arguments import NonNegative, Static
from ..core.rules.context import Slots, StepContext
from ..core.rules.schedule import check_choice
from ..core.trees.norms import scaled_norm, unit_for
from ..core.trees.placement import auto_sharded

__all__ = ["COEFFICIENTS", "STANDARD", "Rounds", "orthogonalize"]

Array = jax.Array
Triple = tuple[float, float, float]
Rounds = Triple | tuple[Triple, ...]
"""The coefficients of all rounds, or of each round."""

STANDARD: Triple = (3.4445, -4.7750, 2.0315)
"""Jordan et al.: the steepest polynomial at 0 that maps [0.7, 1.2] into itself."""

COEFFICIENTS: dict[str, tuple[Triple, ...]] = {
    "standard": (STANDARD,),
    # Ahn et al., Dion's code: one polynomial for each of five rounds.
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    # Amsel et al., Polar Express: the best of each round for singular values from 1e-3.
    "polar_express": (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
}
"""Published polynomials a s + b s^3 + c s^5 of the singular values, by round.

The last polynomial is repeated in all later rounds.
"""

PRECONDITIONINGS = ("frobenius", "spectral", "aol", "schatten")


def _check(options: Mapping[str, object]) -> str | None:
    name, steps = options["ns_coeffs"], options["ns_steps"]
    check_choice(options["preconditioning"], "orthogonalize: preconditioning", PRECONDITIONINGS)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 0 <= steps < 100:
        return f"ns_steps must be an integer from 0, and less than 100, got {steps!r}. Pass 5."
    if isinstance(name, str):
        check_choice(name, "orthogonalize: ns_coeffs", tuple(COEFFICIENTS))
    if not all(isinstance(t, tuple) and len(t) == 3 for t in _triples(name)):
        return (
            f"ns_coeffs must be a tuple of exactly 3 values, or of such tuples, got {name!r}. "
            f"Pass one of {', '.join(map(repr, COEFFICIENTS))}, for example."
        )
    if len(_triples(name)) > max(steps, 1):
        return f"{name!r} has more triples than ns_steps={steps}. Pass {len(_triples(name))} steps."
    return None


def _triples(coefficients: Any) -> tuple[Triple, ...]:
    """Returns the polynomials of the first rounds; the last is repeated in all later rounds."""
    if isinstance(coefficients, str):
        return COEFFICIENTS[coefficients]
    is_tuple = isinstance(coefficients, tuple)
    nested = is_tuple and coefficients and isinstance(coefficients[0], tuple)
    return coefficients if nested else (coefficients,)


@leaf_rule(split_complex=False, stack_leaves=True, check=_check)
def orthogonalize(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    ns_coeffs: Static[Rounds | str] = STANDARD,
    ns_steps: Static[int] = 5,
    eps: NonNegative = 1e-7,
    *,
    adaptive: Static[bool] = False,
    preconditioning: Static[str] = "frobenius",
    ns_dtype: Static[DTypeLike | None] = None,
    eps_as_floor: Static[bool] = False,
) -> tuple[Array, dict[str, Array]]:
    """Replaces matrices by nearly orthogonal ones with the same singular vectors.

    The last two axes of a leaf are a matrix, and all other axes are batch axes; a vector is a
    matrix of one row. For one matrix G with at most as many rows as columns (or transposed):

        X = G / (|G|_F + eps)
        X <- a X + (b A + c A A) X,    A = X X^T, in each of ns_steps rounds
        u  = X, or <G, X> X with adaptive

    If G = U diag(s) V^T, then u = U diag(f(s / |G|_F)) V^T, where f is the polynomial
    a s + b s^3 + c s^5 applied ns_steps times: for s / |G|_F from 0.01 on, it is between 0.68
    and 1.13. `eps` `()` is in units of g; u has no unit, or the unit of g with adaptive.

    Args:
      ns_coeffs: (a, b, c); a tuple of such triples, one for each round, the last of which is
        repeated in all later rounds; or `"standard"`, `"dion"` or `"polar_express"`.
      ns_steps: number of rounds, below 100.
      adaptive: whether to scale by the dual norm <G, X>, so that a small gradient makes a small
        step.
      preconditioning: the divisor of G, which must be at least its largest singular value:
        `"frobenius"`, the Frobenius norm; `"spectral"`, the largest singular value, which needs
        an SVD; `"schatten"`, the fourth root of the sum of s^4; or `"aol"`, a number for each row,
        which changes the singular vectors slightly.
      ns_dtype: dtype to which each product is rounded, bfloat16 in the authors' code and in
        torch; None for the dtype of the computation, at least float32.
      eps_as_floor: whether to divide by max(|G|_F, eps), as in torch.

    Differences: the authors' code rounds to bfloat16. optax has eps 1e-8, does not accept vectors,
    does not add eps for spectral, and computes <G, X> over all matrices of a leaf together.

    Raises:
      ValueError: ns_coeffs does not consist of triples, or has more triples than rounds; ns_steps
        is not an integer from 0 to 99; preconditioning is unknown; eps negative.

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
    2025, arXiv:2512.04632, for aol. Grishina et al., 2025, arXiv:2506.10935, for schatten.
    """
    del slots, p, ctx
    if g.size == 0:
        return g, {}

    def orthogonal(g: Array, eps: Array) -> Array:
        whole = g.reshape((1,) * (2 - g.ndim) + g.shape)
        # The Gram matrix of the shorter side is smaller, and its products cost less.
        tall = whole.shape[-2] > whole.shape[-1]
        rounded, dtype = _rounding(ns_dtype, g.dtype)
        x = rounded((_transposed(whole) if tall else whole).astype(dtype))
        x = _normalized(x, preconditioning, eps.astype(x.real.dtype), eps_as_floor, rounded)
        polynomials = _triples(ns_coeffs)
        for i in range(ns_steps):
            x = _round(x, polynomials[min(i, len(polynomials) - 1)], rounded)
        u = (_transposed(x) if tall else x).astype(g.dtype)
        if adaptive:
            u = jnp.sum(jnp.conj(whole) * u, axis=(-2, -1), keepdims=True) * u
        return u.reshape(g.shape)

    return auto_sharded(orthogonal, lambda shape, spec, mesh: spec, g, eps), {}


def _round(x: Array, polynomial: Triple, rounded: Callable[[Array], Array]) -> Array:
    """Computes one round, and rounds as matrix products in a narrow dtype do."""
    a, b, c = polynomial
    gram = rounded(x @ jnp.conj(_transposed(x)))
    even = rounded(b * gram + c * (gram @ gram))
    return rounded(a * x + even @ x)


def _normalized(
    x: Array, how: str, eps: Array, as_floor: bool, rounded: Callable[[Array], Array]
) -> Array:
    """Divides matrices so that their singular values are at most 1."""
    if how in ("frobenius", "spectral"):
        norm = _norm(x) if how == "frobenius" else jnp.linalg.norm(x, ord=2, axis=(-2, -1))
        size = rounded(norm)[..., None, None]
        size = jnp.maximum(size, rounded(eps)) if as_floor else rounded(size + eps)
    else:
        # Divided by the largest element, so that squares do not overflow.
        unit = unit_for(jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True))
        x = x / unit.astype(x.dtype)
        gram = x @ jnp.conj(_transposed(x))
        if how == "schatten":
            square = _norm(gram)[..., None, None]
        else:
            square = jnp.sum(jnp.abs(gram), axis=-1, keepdims=True)
        size = rounded(jnp.maximum(safe_sqrt(square), eps / unit))
    return rounded(x / jnp.where(size == 0, 1.0, size).astype(x.dtype))


def _norm(x: Array) -> Array:
    """Returns the Frobenius norm of each matrix."""
    function = scaled_norm
    for _ in x.shape[:-2]:
        function = jax.vmap(function)
    return function(x)


def _transposed(x: Array) -> Array:
    return jnp.swapaxes(x, -2, -1)


def _rounding(
    narrow: DTypeLike | None, dtype: DTypeLike
) -> tuple[Callable[[Array], Array], DTypeLike]:
    """Returns a function that rounds to a narrow dtype, and the dtype of the sums.

    This is how matrix units compute: they add products of bfloat16 in float32.
    """
    if narrow is None:
        return (lambda x: x), dtype
    limits = jnp.finfo(narrow)
    single = jnp.complex64 if jnp.issubdtype(dtype, jnp.complexfloating) else jnp.float32

    def rounded(x: Array) -> Array:
        if jnp.iscomplexobj(x):
            return jax.lax.complex(rounded(x.real), rounded(x.imag))
        # XLA may remove a pair of casts, and does not remove this operation.
        return jax.lax.reduce_precision(x, limits.nexp, limits.nmant)

    return rounded, single if limits.bits < 64 else dtype
