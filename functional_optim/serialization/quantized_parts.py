"""Saves quantized arrays as their parts, under names of their own, and puts the parts together."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..core.leaf.quantized import FORMS, Stored, decode_state, is_stored

__all__ = ["join_parts", "quantized_names", "split_parts"]


def split_parts(name: str, x: Any) -> Iterator[tuple[str, Any]]:
    """Yields the names and arrays under which x is saved: one, or one for each quantized part."""
    if is_stored(x):
        yield from ((f"{name}.{part}", getattr(x, part)) for part in x.parts)
    else:
        yield name, x


def join_parts(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], *, decode: bool
) -> dict[str, Any]:
    """Puts the parts of quantized arrays together, under the name of the array.

    Args:
      saved: name -> array.
      wanted: names of whole arrays, which are not parts whatever they end with.
      decode: whether to decode the arrays.
    """
    saved = dict(saved)
    for form in FORMS.values():
        for name in quantized_names(saved, wanted, form):
            parts = {k: (saved.pop(f"{name}.{k}"), dtype) for k, dtype in form.parts.items()}
            array = form(
                **{k: x if x.dtype == dtype else x.astype(dtype) for k, (x, dtype) in parts.items()}
            )
            saved[name] = decode_state(array) if decode else array
    return saved


def quantized_names(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], form: type[Stored]
) -> list[str]:
    """Returns the names of the arrays that were saved in a quantized form."""
    first_part = f".{next(iter(form.parts))}"

    def has_all_parts(name: str) -> bool:
        saved_parts = [(saved.get(f"{name}.{k}"), dtype) for k, dtype in form.parts.items()]
        is_wanted = any(f"{name}.{k}" in wanted for k in form.parts)
        return not is_wanted and all(_is_part(x, dtype) for x, dtype in saved_parts)

    names = (k.removesuffix(first_part) for k in saved if k.endswith(first_part))
    return [name for name in names if has_all_parts(name)]


def _is_part(x: Any, dtype: Any) -> bool:
    """Tells whether x has the dtype of a part, or that which numbers have after JSON."""
    found = getattr(x, "dtype", None)
    from_json = np.int64 if np.issubdtype(dtype, np.integer) else np.float64
    return found is not None and found in (dtype, from_json)
