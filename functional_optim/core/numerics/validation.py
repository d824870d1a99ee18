"""Numbers that users pass: checks them, makes them hashable, and converts them for the state."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .precision import hyper_dtype

__all__ = [
    "Interval",
    "as_count",
    "as_float_dtype",
    "as_number",
    "as_start",
    "as_state",
    "check_loss",
    "check_number",
]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A range of the real line, written as in mathematics: `[0, 1)`, `(0, inf)`.

    Example:
      >>> 1.0 in Interval("[0, 1)"), 0 in Interval("[0, inf)"), float("nan") in Interval("[0, 1]")
      (False, True, False)
    """

    text: str  # kept as written, so that messages show what the rule declares

    def __post_init__(self) -> None:
        if re.fullmatch(r"[\[(]\s*[^,\s]+\s*,\s*[^,\s]+\s*[\])]", self.text) is None:
            raise ValueError(
                f"Within: {self.text!r} is not an interval. Write it as '[0, 1)' or '(0, inf)'."
            )
        _ = 0.0 in self  # raises ValueError if an end is not a number

    def __contains__(self, value: float) -> bool:
        low, high = (float(x) for x in self.text[1:-1].split(","))
        # NaN is in no interval, because its comparisons are false.
        above = value >= low if self.text[0] == "[" else value > low
        below = value <= high if self.text[-1] == "]" else value < high
        return above and below

    def __str__(self) -> str:
        return self.text


def as_count(value: object, where: str, least: int = 1) -> int:
    """Checks an integer that shapes a program or counts its steps, and returns it.

    Raises:
      TypeError: not an integer.
      ValueError: less than the least.
    """
    # To Python a boolean is an integer, but it does not count anything.
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{where} must be an integer, got {value!r}. Pass {max(least, 1)}.")
    if value < least:
        raise ValueError(f"{where} must be at least {least}, got {value}.")
    return value


def as_number(value: Any, where: str, interval: Interval | None = None) -> Any:
    """Converts a scalar to a Python number, so that a transformation with it can be hashed.

    A traced scalar is returned unchanged, because it has no value to check yet.

    Args:
      value: a Python or NumPy number, or an array of one element without dimensions.
      where: link and argument, for the error: `scale_by_adam: b1`.
      interval: where a concrete value must lie.

    Raises:
      TypeError: not a real number.
      ValueError: not a scalar, not a number (NaN), or outside the interval.
    """
    # A boolean is an integer to Python, but most likely a misplaced switch.
    if isinstance(value, (bool, np.bool_, str)) or not _is_real(value):
        raise TypeError(
            f"{where} must be a real number, got {value!r} of type {type(value).__name__}. "
            "Pass a float, an int, or an array without dimensions."
        )
    if np.shape(value):
        raise ValueError(_not_scalar(where, np.shape(value)))
    if isinstance(value, jax.core.Tracer):
        return value
    # An int stays an int, because a float may round it.
    number = value if isinstance(value, (int, float)) else np.asarray(value).item()
    if interval is not None and number not in interval:
        raise ValueError(
            f"{where} must be in {interval}, got {number!r}. Pass a number in that range."
        )
    # The state rounds it: 0.99999999 becomes 1.
    with np.errstate(over="ignore"):
        rounded = np.asarray(float(number), hyper_dtype()).item()
    if interval is not None and rounded not in interval:
        raise ValueError(
            f"{where} must be in {interval}, got {number!r}, which is {rounded} in "
            f"{jnp.dtype(hyper_dtype())}. Pass a number that stays in that range, or enable x64."
        )
    if number != number:  # NaN alone
        raise ValueError(f"{where} must be a number, got nan.")
    return number


def check_number(value: object, where: str, interval: str) -> None:
    """Checks a number of Python that a function of arrays takes in place of an array.

    Arrays are not checked, because that would wait for their values.

    Raises:
      ValueError: outside the interval.
    """
    if isinstance(value, (int, float)):
        as_number(value, where, Interval(interval))


def as_float_dtype(value: Any, where: str) -> np.dtype[Any]:
    """Returns the dtype of a slot, checked; `where` names the argument."""
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
        got = repr(value) if dtype is None else dtype
        raise TypeError(
            f"{where} must be a floating-point dtype, got {got}. Pass jnp.bfloat16, for example."
        )
    return dtype


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) or (
        hasattr(value, "dtype")
        and (jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer))
    )


def _not_scalar(where: str, shape: tuple[int, ...]) -> str:
    return (
        f"{where} must be a scalar, got an array of shape {shape}. To train several values at "
        "once, vmap over states: "
        "jax.vmap(lambda v: set_hyperparams(tx.init(params), name=v))(values)."
    )


def as_state(value: ArrayLike) -> jax.Array:
    """Puts a number, traced or not, into an array of the hyperparameters' dtype.

    Integers beyond the exact range of float32 are rounded, and large ones become infinite.
    """
    if isinstance(value, (int, float)):
        # By NumPy in one step, where JAX would make an array of another dtype and cast it. An
        # integer becomes a float first, because a large one fits into no integer of either.
        with np.errstate(over="ignore"):
            return jnp.asarray(np.asarray(float(value), hyper_dtype()))
    return jnp.asarray(value).astype(hyper_dtype())


def check_loss(where: str, value: Any) -> None:
    """Checks that the value of a loss is one real number, traced or not.

    Raises:
      TypeError: the value is complex, or not a number.
      ValueError: the value has more than one element.
    """
    is_number = isinstance(value, (int, float, complex)) or hasattr(value, "dtype")
    kind = value.dtype if hasattr(value, "dtype") else type(value).__name__
    if not is_number or np.iscomplexobj(value):
        raise TypeError(
            f"{where}: value must be the loss, a real number, got {kind}. Pass a scalar array, "
            "such as the one that jax.value_and_grad returns."
        )
    if np.ndim(value):
        raise ValueError(
            f"{where}: value must be the loss, one number, got shape {np.shape(value)}. "
            "Pass its mean."
        )


def as_start(value: ArrayLike) -> jax.Array:
    """Converts the first value of a scalar that a rule keeps; a NumPy integer stays an integer."""
    return jnp.asarray(value, np.int32) if isinstance(value, np.integer) else as_state(value)
