"""The public name that a piece of code means, in docstrings and on pages."""

import functools
import re

from .names import PACKAGE, Public, public_names

NAME = re.compile(r"([A-Za-z_][\w.]*)(?:\(.*\))?", re.DOTALL)

NOT_BY_ITSELF = {"State", "metrics", "scale", "schedule", "trace"}
"""Names that mean an argument or a field, too, and so are links only with their module."""


@functools.cache
def _by_text() -> dict[str, Public]:
    """Returns text of code -> the name that it means."""
    found: dict[str, Public] = {}
    for name in reversed(public_names()):
        for full in (name.full, *name.aliases):
            below = full.removeprefix(f"{PACKAGE}.")
            found |= {full: name, below: name, f"fo.{below}": name}
            found |= {below.partition(".")[2] or below: name} if "." in below else {}
    by_last: dict[str, set[Public]] = {}
    for name in public_names():
        by_last.setdefault(name.name, set()).add(name)
    for last, names in by_last.items():
        if len(names) == 1 and ("_" in last or last != last.lower()):
            found.setdefault(last, *names)
    for last in NOT_BY_ITSELF | {name.name for name in public_names() if _is_plain(name)}:
        found.pop(last, None)
    return found


def _is_plain(name: Public) -> bool:
    """Tells whether a word such as `add` means a function of a module only below that module."""
    return "." in name.short and "_" not in name.name and name.name == name.name.lower()


def meant(code: str) -> Public | None:
    """Returns the public name that a piece of code is, or calls."""
    match = NAME.fullmatch(code)
    return _by_text().get(match[1]) if match else None
