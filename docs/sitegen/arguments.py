"""The arguments of factories, with the entries of their docstrings or of others.

If some arguments are described in other docstrings, the entries end with a sentence that names
these: "See `scale_by_adam` and `scale_by_learning_rate` for the others."
The first of these that has an entry is the place of an argument. It has the entry itself, so that a
reader follows one link.
"""

import functools
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import functional_optim
from functional_optim.core.rules.schedule import NumberedSchedule
from functional_optim.optim import Optimizer
from functional_optim.optim.lr_scheduler import LRScheduler

from .docstrings import parsed
from .meaning import meant
from .names import Public
from .reading import doc

COMMON = "arguments.md"
"""The page of arguments that many factories have, with a heading for each."""

OTHERS = re.compile(r"See ((?:`[\w.]+`(?:, | and )?)+)(?: for the others)?\.")
"""The sentence that names the docstrings with the entries of all other arguments."""

CODE = re.compile(r"`([\w.]+)`")

MADE = (functional_optim.GradientTransformation, NumberedSchedule)
"""Values that factories return."""

CLASSES = (Optimizer, LRScheduler, functional_optim.MultiSteps)
"""Classes whose constructors are factories, and so are those of their subclasses."""


@dataclass(frozen=True)
class Argument:
    """An argument: its description, and the place of this if it is in another docstring."""

    name: str
    default: str
    kind: str
    text: str
    source: str


def is_factory(value: Any) -> bool:
    """Returns whether a value makes transformations, schedules, or stateful optimizers."""
    if inspect.isclass(value):
        return issubclass(value, CLASSES)
    return inspect.isfunction(value) and _returned(value) in MADE


def _returned(function: Any) -> Any:
    return inspect.signature(function, eval_str=True).return_annotation


def arguments(name: Public) -> list[Argument]:
    """Returns the arguments of a factory in their order."""
    places = [name, *others(name)]
    return [_argument(places, p) for p in inspect.signature(name.value).parameters.values()]


def _argument(places: list[Public], parameter: inspect.Parameter) -> Argument:
    default = "" if parameter.default is parameter.empty else _shown(parameter.default)
    # A plain number is a constant of the program, also where the other docstring's is not.
    declaring = places[:1] if parameter.annotation in (int, float) else places
    kind = next(filter(None, (_kind(place.value, parameter.name) for place in declaring)), "")
    having = [place for place in places if parameter.name in entries(place)]
    if not having:
        return Argument(parameter.name, default, kind, "", "")
    source = "" if having[0] is places[0] else having[0].full
    return Argument(parameter.name, default, kind, entries(having[0])[parameter.name], source)


def _shown(default: Any) -> str:
    return getattr(default, "__name__", repr(default))


def entries(name: Public) -> dict[str, str]:
    """Returns the arguments that a docstring itself explains -> their descriptions."""
    section = parsed(doc(name.module, name.name)).section("Args")
    return {
        argument: text
        for names, text in section.entries.items()
        for argument in names.replace("*", "").split(", ")
    }


def others(name: Public) -> list[Public]:
    """Returns the names to which a docstring refers for the arguments without an entry."""
    blocks = parsed(doc(name.module, name.name)).section("Args").blocks
    sentence = OTHERS.search(" ".join(block.text.replace("\n", " ") for block in blocks))
    return [_linked(name, code) for code in CODE.findall(sentence[1])] if sentence else []


def _linked(name: Public, code: str) -> Public:
    other = meant(code)
    if other is None:
        raise ValueError(
            f"The Args of {name.full} refer to `{code}`, which no page shows. "
            "Name a public factory."
        )
    return other


def _kind(factory: Any, argument: str) -> str:
    """Returns which values an argument of a rule may have, by its declaration."""
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
