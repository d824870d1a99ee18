"""Translates operations of JAX to expressions of C++."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jax.typing import ArrayLike

__all__ = ["C_TYPES", "Ineligible", "expression", "literal"]

C_TYPES = {
    "bool": "bool",
    "int32": "int32_t",
    "bfloat16": "bfloat16",
    "float32": "float",
    "float64": "double",
}
"""Dtype of an array or of an intermediate value -> its type in C++."""

_REAL = ("float32", "float64")

_PLAIN = {
    "abs": "std::abs({0})",
    "add": "{0} + {1}",
    "add_any": "{0} + {1}",
    "and": "{0} & {1}",
    "clamp": "minimum(maximum({1}, {0}), {2})",
    "copy": "{0}",
    "div": "{0} / {1}",
    "eq": "{0} == {1}",
    "ge": "{0} >= {1}",
    "gt": "{0} > {1}",
    "is_finite": "{0} - {0} == 0",
    "le": "{0} <= {1}",
    "lt": "{0} < {1}",
    "max": "maximum({0}, {1})",
    "min": "minimum({0}, {1})",
    "mul": "{0} * {1}",
    "ne": "{0} != {1}",
    "neg": "-{0}",
    "not": "!{0}",
    "or": "{0} | {1}",
    "rsqrt": "1 / std::sqrt({0})",
    "select_n": "{0} ? {2} : {1}",
    "sign": "sign({0})",
    "sqrt": "std::sqrt({0})",
    "square": "{0} * {0}",
    "sub": "{0} - {1}",
}
_LOGICAL = ("and", "not", "or")

_OF_SCALARS = {
    "cos": "std::cos({0})",
    "exp": "std::exp({0})",
    "exp2": "std::exp2({0})",
    "expm1": "std::expm1({0})",
    "log": "std::log({0})",
    "log1p": "std::log1p({0})",
    "logistic": "1 / (1 + std::exp(-{0}))",
    "pow": "std::pow({0}, {1})",
    "sin": "std::sin({0})",
    "tanh": "std::tanh({0})",
}
"""Operations that C++ compilers do not vectorize, and so are translated for scalars only.

For arrays, XLA is faster.
"""


class Ineligible(Exception):
    """Raised for a computation that a loop over elements cannot express."""


def expression(
    name: str,
    parameters: Mapping[str, Any],
    operands: list[str],
    dtypes: list[str],
    *,
    in_loop: bool,
) -> str:
    """Returns the C++ expression of an operation.

    Args:
      name: name of the primitive.
      parameters: parameters of the primitive.
      operands: names of the variables that are its operands.
      dtypes: dtypes of the operands.
      in_loop: whether the operation is in the loop over elements, and not on scalars.

    Raises:
      Ineligible: the operation has no such expression.
    """
    if name == "convert_element_type":
        return _convert(operands[0], dtypes[0], parameters["new_dtype"].name)
    if name == "integer_pow":
        return _power(operands[0], dtypes[0], parameters["y"])
    text = _PLAIN.get(name) or (None if in_loop else _OF_SCALARS.get(name))
    if text is None or (name == "select_n" and (dtypes[0] != "bool" or len(operands) != 3)):
        raise Ineligible(name)
    # Arithmetic on integers is left to XLA: division and overflow differ in C++.
    computed = dtypes[1:] if name == "select_n" else dtypes
    if not set(computed) <= set(_allowed(name)):
        raise Ineligible(f"{name} of {dtypes}")
    return text.format(*operands)


def _allowed(name: str) -> Iterable[str]:
    """Returns the dtypes that an operation is translated for."""
    if name in ("select_n", "copy"):
        return C_TYPES
    return ("bool",) if name in _LOGICAL else _REAL


def _convert(operand: str, old: str, new: str) -> str:
    if old == new:
        return operand
    if old not in C_TYPES or new not in C_TYPES or new in ("bool", "int32"):
        raise Ineligible(f"{old} as {new}")
    wide = f"widen({operand})" if old == "bfloat16" else operand
    if new == "bfloat16":
        return f"narrow(static_cast<float>({wide}))"
    return f"static_cast<{C_TYPES[new]}>({wide})"


def _power(operand: str, dtype: str, exponent: int) -> str:
    """Writes an integer power as XLA computes it: by squaring."""
    if dtype not in _REAL or not 1 <= abs(exponent) <= 4:
        raise Ineligible(f"power {exponent} of {dtype}")
    square = f"({operand} * {operand})"
    powers = [operand, square, f"({square} * {operand})", f"({square} * {square})"]
    text = powers[abs(exponent) - 1]
    return text if exponent > 0 else f"1 / {text}"


def literal(value: ArrayLike) -> str:
    """Returns a number as a literal of C++, without rounding."""
    number = np.asarray(value)
    name = number.dtype.name
    if number.shape or name not in C_TYPES or name == "bfloat16":
        raise Ineligible(f"a constant of {name}{number.shape}")
    if name == "bool":
        return "true" if number else "false"
    if name == "int32":
        return str(int(number))
    kind = C_TYPES[name]
    if np.isnan(number):
        return f"std::numeric_limits<{kind}>::quiet_NaN()"
    if np.isinf(number):
        return f"{'-' if number < 0 else ''}std::numeric_limits<{kind}>::infinity()"
    return f"{float(number).hex()}{'f' if name == 'float32' else ''}"
