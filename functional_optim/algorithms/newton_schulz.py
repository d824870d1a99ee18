"""Orthogonalizes matrices by polynomials: the Newton-Schulz iteration of Muon."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from ..core.decorators import leaf_rule
from ..core.numerics.precision import compute_dtype, safe_sqrt
from ..core.rules.arguments import NonNegative, Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import scaled_norm, unit_for
from ..core.trees.placement import auto_sharded

__all__ = [
    "COEFFICIENTS",
    "STANDARD",
    "Rounds",
    "check_rounds",
    "newton_schulz",
    "orthogonalize",
]

Array = jax.Array
Triple = tuple[float, float, float]
Rounds = Triple | tuple[Triple, ...]
"""The coefficients of all rounds, or of each round."""

STANDARD: Triple = (3.4445, -4.7750, 2.0315)
"""Jordan et al.: the steepest polynomial at 0 that maps [0.7, 1.2] into itself."""

_QUINTIC = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""Cesista, Muon and a selective survey on steepest descent, 2025; also in the code of Dion."""

COEFFICIENTS: dict[str, tuple[Triple, ...]] = {
    "standard": (STANDARD,) * 5,
    "dion": _QUINTIC,
    "quintic": _QUINTIC,
    # Amsel et al., Polar Express: the best of each round for singular values from 1e-3, with their
    # division by 1.02 in all rounds but the last.
    "polar_express": (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
    # The same with a division by 1.01, and rounds until they converge, from Emerging-Optimizers.
    "polar_express_8": (
        (8.2051, -22.9019, 16.4607),
        (4.0664, -2.8612, 0.5184),
        (3.9096, -2.8234, 0.5250),
        (3.2856, -2.4153, 0.4853),
        (2.2779, -1.6198, 0.3985),
        (1.8726, -1.2307, 0.3585),
        (1.8564, -1.2132, 0.3568),
        (1.8750, -1.2500, 0.3750),
    ),
    # Grishina et al., by Remez's algorithm on an interval that follows the singular values; the
    # numbers are those of Emerging-Optimizers.
    "cans": (
        (8.4703, -25.1081, 18.6293),
        (4.1828, -3.1087, 0.5806),
        (3.9619, -2.9541, 0.5630),
        (3.2866, -2.4647, 0.5074),
        (2.2737, -1.6447, 0.4162),
    ),
    # DeepSeek-V4: eight rounds to come near 1, and two that converge.
    "deepseek_v4": (STANDARD,) * 8 + ((2.0, -1.5, 0.5),) * 2,
    # arXiv:2606.00371, from Emerging-Optimizers: cubic, so that a round has two products, and
    # not three.
    "cubic": (
        (3.3656576, -3.3420992, 0.0),
        (2.5744352, -1.4957376, 0.0),
        (2.5368962, -1.4312570, 0.0),
        (2.4418906, -1.2764040, 0.0),
        (2.2230472, -0.9630650, 0.0),
    ),
}
"""Published polynomials a s + b s^3 + c s^5 of the singular values, by round.

The last polynomial is repeated in all later rounds.
"""

_SAFETY_FACTORS: dict[Any, float] = {"polar_express": 1.02}
"""What the authors multiply the norm by, where they do."""

METHODS = ("newton_schulz", "svd", "qdwh")
PRECONDITIONINGS = ("frobenius", "spectral", "aol", "schatten")


def check_rounds(options: Mapping[str, Any]) -> str | None:
    """Returns what is wrong with the options of `newton_schulz`, as far as they are given.

    A rule that has them as arguments calls it in its `check`.
    """
    choices = {"method": METHODS, "preconditioning": PRECONDITIONINGS}
    if isinstance(options["ns_coeffs"], str):
        choices["ns_coeffs"] = tuple(COEFFICIENTS)
    for name, known in choices.items():
        if name in options and options[name] not in known:
            return f"{name} must be one of {', '.join(map(repr, known))}, got {options[name]!r}."
    name, steps = options["ns_coeffs"], options["ns_steps"]
    is_number = isinstance(steps, int) and not isinstance(steps, bool) and 0 <= steps < 100
    if steps is not None and not is_number:
        return (
            f"ns_steps must be an integer from 0, and less than 100, got {steps!r}. Pass 5, or "
            "None for the number of rounds that ns_coeffs has."
        )
    if not all(isinstance(t, tuple) and len(t) == 3 for t in _triples(name)):
        return (
            f"ns_coeffs must be a tuple of exactly 3 values, or of such tuples, got {name!r}. "
            f"Pass one of {', '.join(map(repr, COEFFICIENTS))}, for example."
        )
    if steps is not None and len(set(_triples(name)[max(steps, 1) - 1 :])) > 1:
        return (
            f"{name!r} has more triples than ns_steps={steps}. Pass {len(_triples(name))} steps, "
            "or None."
        )
    return None


def _triples(coefficients: Any) -> tuple[Triple, ...]:
    """Returns the polynomials of the rounds; the last is repeated in all later rounds."""
    if isinstance(coefficients, str):
        return COEFFICIENTS[coefficients]
    is_tuple = isinstance(coefficients, tuple)
    nested = is_tuple and coefficients and isinstance(coefficients[0], tuple)
    # One polynomial is for five rounds, as in optax.
    return coefficients if nested else (coefficients,) * 5


def _rounds(coefficients: Any, steps: int | None) -> tuple[Triple, ...]:
    """Returns the polynomial of each round."""
    given = _triples(coefficients)
    steps = len(given) if steps is None else steps
    return (given + given[-1:] * steps)[:steps]


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
    }
    message = check_rounds(options)
    if message is not None:
        raise ValueError(f"newton_schulz: {message}")
    if x.size == 0:
        return x
    given = x.dtype
    x = x.astype(compute_dtype(given))
    if method != "newton_schulz":
        return _polar_factor(x, method).astype(given)
    # The Gram matrix of the shorter side is smaller, and its products cost less.
    tall = x.shape[-2] > x.shape[-1]
    rounded, dtype = _rounding(ns_dtype, x.dtype)
    x = rounded((_transposed(x) if tall else x).astype(dtype))
    eps = jnp.asarray(eps).astype(x.real.dtype)
    if safety_factor is None:
        safety_factor = _SAFETY_FACTORS.get(ns_coeffs, 1.0)
    x = _normalized(x, preconditioning, safety_factor, eps, eps_as_floor, rounded)
    for polynomial in _rounds(ns_coeffs, ns_steps):
        x = _round(x, polynomial, rounded)
    return (_transposed(x) if tall else x).astype(given)


def _polar_factor(x: Array, method: str) -> Array:
    """Computes the polar factor: all singular values that are not 0 become 1."""
    # Divided by the largest element, so that squares do not overflow.
    unit = unit_for(jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True))
    x = x / unit.astype(x.dtype)
    if method == "svd":
        u, s, v = jnp.linalg.svd(x, full_matrices=False)
        # Values of rounding errors alone have arbitrary vectors.
        least = s[..., :1] * max(x.shape[-2:]) * jnp.finfo(s.dtype).eps
        return (u * (s > least)[..., None, :].astype(u.dtype)) @ v
    tall = x.shape[-2] >= x.shape[-1]
    y = x if tall else _transposed(x)
    empty = jnp.all(y == 0, axis=(-2, -1), keepdims=True)
    # Of zeros there is no polar decomposition, and this would return NaN.
    y = jnp.where(empty, jnp.eye(y.shape[-2], y.shape[-1], dtype=y.dtype), y)
    function = _qdwh
    for _ in y.shape[:-2]:
        function = jax.vmap(function)
    u = jnp.where(empty, 0.0, function(y))
    return u if tall else _transposed(u)


def _qdwh(x: Array) -> Array:
    return jax.lax.linalg.qdwh(x)[0]


@leaf_rule(split_complex=False, check=check_rounds)
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
        repeated in all later rounds; or the name of a published schedule: `"standard"`, `"dion"`
        (also `"quintic"`), `"polar_express"`, `"polar_express_8"`, `"cans"`, `"deepseek_v4"` or
        `"cubic"`.
      ns_steps: number of rounds, below 100; None for as many as ns_coeffs has, which is 5 for a
        single triple, 8 for polar_express_8, and 10 for deepseek_v4.
      adaptive: whether to scale by the dual norm <G, X>, so that a small gradient makes a small
        step.
      preconditioning: the divisor of G, which must be at least its largest singular value:
        `"frobenius"`, the Frobenius norm; `"spectral"`, the largest singular value, which needs
        an SVD; `"schatten"`, the fourth root of the sum of s^4; or `"aol"`, a number for each row,
        which changes the singular vectors slightly.
      method: `"newton_schulz"`, the rounds above; or the polar factor U V^T itself, from `"svd"` or
        from `"qdwh"`, which ignore all arguments of the rounds. With `"svd"`, singular values of
        rounding errors alone become 0; `"qdwh"` is for matrices of full rank.
      safety_factor: the divisor of G is this number times the norm, plus eps. None for the
        authors' number: 1.02 for `"polar_express"`, and 1 otherwise.
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
        u = newton_schulz(
            whole,
            ns_coeffs,
            ns_steps,
            eps,
            method=method,
            preconditioning=preconditioning,
            safety_factor=safety_factor,
            ns_dtype=ns_dtype,
            eps_as_floor=eps_as_floor,
        )
        if adaptive:
            u = jnp.sum(jnp.conj(whole) * u, axis=(-2, -1), keepdims=True) * u
        return u.reshape(g.shape)

    return auto_sharded(orthogonal, lambda shape, spec, mesh: spec, g, eps), {}


def _round(x: Array, polynomial: Triple, rounded: Callable[[Array], Array]) -> Array:
    """Computes one round, and rounds as matrix products in a narrow dtype do."""
    a, b, c = polynomial
    gram = rounded(x @ jnp.conj(_transposed(x)))
    even = rounded(b * gram + c * (gram @ gram) if c else b * gram)
    return rounded(a * x + even @ x)


def _normalized(
    x: Array,
    how: str,
    safety_factor: float,
    eps: Array,
    as_floor: bool,
    rounded: Callable[[Array], Array],
) -> Array:
    """Divides matrices so that their singular values are at most 1 / safety_factor."""
    if how in ("frobenius", "spectral"):
        norm = _norm(x) if how == "frobenius" else jnp.linalg.norm(x, ord=2, axis=(-2, -1))
        size = rounded(safety_factor * rounded(norm))[..., None, None]
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
        size = rounded(jnp.maximum(safety_factor * safe_sqrt(square), eps / unit))
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
