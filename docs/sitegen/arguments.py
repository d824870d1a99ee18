"""What a page says about each argument of a factory: its entry, or the place that has it."""

import functools
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import functional_optim

from .docstrings import parsed
from .names import Public, public_names
from .reading import doc

COMMON = "arguments.md"
"""The page of arguments that many factories have, with a heading for each."""

TEXT = "the text"
"""Where an argument is explained that has no entry."""

CODE = re.compile(r"`(?:[\w.]+\.)?(\w+)`")


@dataclass(frozen=True)
class Argument:
    """An argument: what is written of it, and where if that is on another page."""

    name: str
    default: str
    kind: str
    text: str
    source: str


def is_factory(value: Any) -> bool:
    """Returns whether a value makes transformations."""
    if not inspect.isfunction(value):
        return False
    made = inspect.signature(value, eval_str=True).return_annotation
    return made is functional_optim.GradientTransformation


def arguments(name: Public) -> list[Argument]:
    """Returns the arguments of a factory in their order."""
    return [_argument(name, p) for p in inspect.signature(name.value).parameters.values()]


def _argument(name: Public, parameter: inspect.Parameter) -> Argument:
    default = "" if parameter.default is parameter.empty else _shown(parameter.default)
    places = [name, *_named(name)]
    kind = next(filter(None, (_kind(place.value, parameter.name) for place in places)), "")
    text, source = _entry(places, parameter.name)
    return Argument(parameter.name, default, kind, text, source)


def _shown(default: Any) -> str:
    return getattr(default, "__name__", repr(default))


def _entry(places: list[Public], argument: str) -> tuple[str, str]:
    """What is written of an argument, and who writes it: the first of some names, or a page."""
    for place in places:
        entries = parsed(doc(place.module, place.name)).section("Args").entries
        for names, text in entries.items():
            if argument in names.replace("*", "").split(", "):
                return text, "" if place is places[0] else place.full
    if _mentions(places[0], argument):
        return "", TEXT
    if argument in common_arguments():
        return "", COMMON
    takers = [p for p in places[1:] if argument in inspect.signature(p.value).parameters]
    return "", next((place.full for place in takers if _mentions(place, argument)), "")


def _mentions(name: Public, argument: str) -> bool:
    """Whether the formulas or the text of a docstring explain an argument."""
    text = re.split(r"\n(?:Raises|Example):", doc(name.module, name.name))[0]
    return re.search(rf"(?<![\w.]){argument}(?!\w)", text) is not None


@functools.cache
def _by_name() -> dict[str, Public]:
    return {name.name: name for name in reversed(public_names())}


def _named(name: Public) -> list[Public]:
    """The other factories that a docstring names, and those that they name."""
    found: dict[str, Public] = {}
    left = [name]
    for place in left:
        for word in CODE.findall(doc(place.module, place.name)):
            other = _by_name().get(word)
            if other and other.full not in found and inspect.isfunction(other.value):
                found[other.full] = other
                if place is name:
                    left.append(other)
    found.pop(name.full, None)
    return list(found.values())


def _kind(factory: Any, argument: str) -> str:
    """What an argument of a rule may be, as its declaration says."""
    spec = getattr(factory, "spec", None)
    declared = getattr(spec, "arguments", {}).get(argument)
    if declared is None:
        return ""
    interval = f" in {declared.interval.text}" if declared.interval else ""
    if declared.kind.name == "HYPERPARAMETER":
        return f"number{interval}, array or schedule{', or None' if declared.optional else ''}"
    return {"INIT_ONLY": f"number{interval}", "SLOT_DTYPE": "dtype"}.get(declared.kind.name, "")


@functools.cache
def common_arguments() -> dict[str, str]:
    """Returns the arguments that the page of common arguments has -> anchors of their headings."""
    page = Path(__file__).parents[1] / COMMON
    headings = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        word: re.sub(r"[^\w-]", "", heading.replace(" ", "-"))
        for heading in headings
        for word in re.findall(r"`(\w+)`", heading)
    }
