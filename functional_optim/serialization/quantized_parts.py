"""Splits quantized arrays into parts, each saved under a name, and joins the parts again."""

from collections.abc import Container, Iterator, Mapping
from typing import TypeVar

import numpy as np

from ..core.leaf.quantized import FORMATS, QuantizedArray, decode_state
from .placing import SavedArray, dtype_of

__all__ = ["join_parts", "quantized_names", "split_parts"]

T = TypeVar("T")


def split_parts(name: str, x: T) -> Iterator[tuple[str, T]]:
    """Yields the names and arrays that x is saved as: x itself, or each part of a quantized x."""
    if isinstance(x, QuantizedArray):
        yield from ((f"{name}.{part}", getattr(x, part)) for part in x.parts)
    else:
        yield name, x


def join_parts(
    saved: Mapping[str, SavedArray], wanted: Container[str], *, decode: bool
) -> dict[str, SavedArray]:
    """Joins the parts of quantized arrays, under the name of the array.

    Args:
      saved: name -> array.
      wanted: names of the target's arrays, which are not parts, however they end.
      decode: whether to decode the arrays.
    """
    joined = dict(saved)
    for kind in FORMATS.values():
        for name in quantized_names(joined, wanted, kind):
            parts = {k: (joined.pop(f"{name}.{k}"), dtype) for k, dtype in kind.parts.items()}
            array = kind(**{k: _with_dtype(x, np.dtype(dtype)) for k, (x, dtype) in parts.items()})
            joined[name] = decode_state(array) if decode else array
    return joined


def quantized_names(
    saved: Mapping[str, SavedArray], wanted: Container[str], kind: type[QuantizedArray]
) -> list[str]:
    """Returns the names of the arrays that were saved as the parts of one format."""
    first_part = f".{next(iter(kind.parts))}"

    def has_all_parts(name: str) -> bool:
        saved_parts = [(saved.get(f"{name}.{k}"), dtype) for k, dtype in kind.parts.items()]
        is_wanted = any(f"{name}.{k}" in wanted for k in kind.parts)
        return not is_wanted and all(_is_part(x, np.dtype(dtype)) for x, dtype in saved_parts)

    names = (k.removesuffix(first_part) for k in saved if k.endswith(first_part))
    return [name for name in names if has_all_parts(name)]


def _is_part(x: SavedArray | None, dtype: np.dtype) -> bool:
    """Tells whether x has the dtype of a part, or the dtype that JSON gives the part's numbers."""
    from_json = np.int64 if np.issubdtype(dtype, np.integer) else np.float64
    return x is not None and dtype_of(x) in (dtype, from_json)


def _with_dtype(x: SavedArray, dtype: np.dtype) -> SavedArray:
    """Casts a part that was read from JSON; other parts are not copied."""
    assert not isinstance(x, QuantizedArray)  # because parts are plain arrays
    return x if x.dtype == dtype else x.astype(dtype)
