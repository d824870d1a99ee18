"""Saves quantized arrays as their parts, under names of their own, and puts the parts together."""

from collections.abc import Iterator, Mapping
from typing import Any

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
            array = form(**{part: saved.pop(f"{name}.{part}") for part in form.parts})
            saved[name] = decode_state(array) if decode else array
    return saved


def quantized_names(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], form: type[Stored]
) -> list[str]:
    """Returns the names of the arrays that were saved in a quantized form."""
    first_part = f".{next(iter(form.parts))}"

    def has_all_parts(name: str) -> bool:
        names = [f"{name}.{part}" for part in form.parts]
        dtypes = [getattr(saved.get(k), "dtype", None) for k in names]
        return dtypes == list(form.parts.values()) and not any(k in wanted for k in names)

    names = (k.removesuffix(first_part) for k in saved if k.endswith(first_part))
    return [name for name in names if has_all_parts(name)]
