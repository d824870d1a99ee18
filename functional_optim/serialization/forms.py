"""Arrays that are held in fewer bits: under the names of their parts, and back."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.stored import FORMS, Stored, decode_state, is_stored

__all__ = ["gathered", "parts_of"]


def parts_of(name: str, x: Any) -> Iterator[tuple[str, Any]]:
    """What an array is saved as: itself, or in another form its parts, named after it."""
    if is_stored(x):
        yield from ((f"{name}.{part}", getattr(x, part)) for part in x.parts)
    else:
        yield name, x


def gathered(saved: Mapping[str, Any], wanted: Mapping[str, Any], *, plain: bool) -> dict[str, Any]:
    """What was saved, with the parts of an array under its name.

    Args:
      saved: name -> array.
      wanted: the names of arrays of their own, which are parts of none.
      plain: whether to decode them.
    """
    saved = dict(saved)
    for form in FORMS.values():
        for name in _names(saved, wanted, form):
            found = form(**{part: saved.pop(f"{name}.{part}") for part in form.parts})
            saved[name] = decode_state(found) if plain else found
    return saved


def _names(saved: Mapping[str, Any], wanted: Mapping[str, Any], form: type[Stored]) -> list[str]:
    """Names of the arrays that were saved in a form."""
    first = f".{next(iter(form.parts))}"

    def is_one(name: str) -> bool:
        names = [f"{name}.{part}" for part in form.parts]
        dtypes = [getattr(saved.get(k), "dtype", None) for k in names]
        return dtypes == list(form.parts.values()) and not any(k in wanted for k in names)

    ends = (k.removesuffix(first) for k in saved if k.endswith(first))
    return [name for name in ends if is_one(name)]
