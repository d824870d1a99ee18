"""Published schedules of the Newton-Schulz iteration: one polynomial for each round."""

from collections.abc import Mapping
from typing import Any

__all__ = [
    "COEFFICIENTS",
    "METHODS",
    "PRECONDITIONINGS",
    "SAFETY_FACTORS",
    "STANDARD",
    "Rounds",
    "Triple",
    "check_rounds",
    "polynomials_of",
]

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

SAFETY_FACTORS: dict[Any, float] = {"polar_express": 1.02}
"""Factors by which authors multiply the norm."""

METHODS = ("newton_schulz", "svd", "qdwh")
PRECONDITIONINGS = ("frobenius", "spectral", "aol", "schatten")


def check_rounds(options: Mapping[str, Any]) -> str | None:
    """Returns an error message if options of `newton_schulz` do not fit together, or None.

    A rule that has them as arguments calls it in its `check`.
    """
    choices = {"method": METHODS, "preconditioning": PRECONDITIONINGS}
    if isinstance(options["ns_coeffs"], str):
        choices["ns_coeffs"] = tuple(COEFFICIENTS)
    for name, known in choices.items():
        if name in options and options[name] not in known:
            return f"{name} must be one of {', '.join(map(repr, known))}, got {options[name]!r}."
    if options["ns_coeffs"] == "cans" and options.get("ns_dtype") is not None:
        return (
            f"ns_coeffs='cans' needs ns_dtype=None, got {options['ns_dtype']!r}: its polynomials "
            "diverge as soon as rounding makes a singular value a thousandth too large. Pass "
            "'polar_express', which has a margin for that."
        )
    name, steps = options["ns_coeffs"], options["ns_steps"]
    is_number = isinstance(steps, int) and not isinstance(steps, bool) and 0 <= steps < 100
    if steps is not None and not is_number:
        return (
            f"ns_steps must be an integer from 0, and less than 100, got {steps!r}. Pass 5, or "
            "None for the number of rounds that ns_coeffs has."
        )
    factor = options.get("safety_factor")
    is_factor = isinstance(factor, (int, float)) and not isinstance(factor, bool) and factor > 0
    if factor is not None and not is_factor:
        return f"safety_factor must be a positive number or None, got {factor!r}. Pass 1.02."
    if not all(isinstance(t, tuple) and len(t) == 3 for t in _triples(name)):
        return (
            f"ns_coeffs must be a tuple of exactly 3 values, or of such tuples, got {name!r}. "
            f"Pass one of {', '.join(map(repr, COEFFICIENTS))}, for example."
        )
    if steps is not None and len(set(_triples(name)[max(steps, 1) - 1 :])) > 1:
        return (
            f"ns_coeffs={name!r} has more triples than ns_steps={steps}. Pass "
            f"{len(_triples(name))} steps, or None."
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


def polynomials_of(coefficients: Any, steps: int | None) -> tuple[Triple, ...]:
    """Returns the polynomial of each round."""
    given = _triples(coefficients)
    steps = len(given) if steps is None else steps
    return (given + given[-1:] * steps)[:steps]
