"""The page of one public name."""

import functools
import inspect
import re

from .arguments import COMMON, Argument, arguments, common_arguments, is_factory
from .docstrings import Section, parsed
from .groups import Group
from .markdown import blocks, inline
from .names import PACKAGE, Public, public_names
from .reading import doc, methods, signature

TITLES = {"Args": "Arguments", "Reference": "References"}


def docname(name: Public) -> str:
    """Returns the page of a name; names that differ in case only are different files."""
    return f"api/{name.full}{'-type' if name.full in _twins() else ''}"


@functools.cache
def _twins() -> set[str]:
    names = [name.full for name in public_names()]
    return {name for name in names if name.lower() in names and name != name.lower()}


def page(name: Public, group: Group, shown: set[object]) -> str:
    """Returns the Markdown of a page."""
    text = parsed(doc(name.module, name.name))
    lines = ["---", "orphan: true", "---", "", f"# {name.name}", ""]
    lines += [f"[API](index.md) / [{group.title}]({group.slug}.md)", ""]
    lines += [f"::::{{py:{_kind(name)}}} {name.name}{_called(name)}"]
    lines += [f":module: {name.module.__name__}", ""]
    if name.aliases:
        lines += [f"Also `{'`, `'.join(name.aliases)}`.", ""]
    known = frozenset(_parameters(name.value))
    formulas, *others = text.sections
    lines += [inline(text.summary), "", *blocks(formulas.blocks, known)]
    if is_factory(name.value):
        lines += ["**Arguments**", "", *_arguments(name)]
        others = [section for section in others if section.title != "Args"]
    for section in others:
        lines += _section(section, known)
    lines += _methods(name, shown)
    return "\n".join([*lines, "::::", ""])


def _parameters(value: object) -> list[str]:
    try:
        return list(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return []


def _arguments(name: Public) -> list[str]:
    """Writes one item for arguments with one entry, such as the decays of two moments."""
    together: dict[tuple[str, str, str], list[Argument]] = {}
    for argument in arguments(name):
        together.setdefault((argument.kind, argument.text, argument.source), []).append(argument)
    lines: list[str] = []
    for group in together.values():
        lines += [", ".join(map(_term, group)), f": {_about(group[0])}", ""]
    return lines


def _term(argument: Argument) -> str:
    return f"`{argument.name}{f' = {argument.default}' if argument.default else ''}`"


def _about(argument: Argument) -> str:
    """Describes an argument: its values, its effect, and where its full description is."""
    parts = [f"*{inline(argument.kind)}*."] if argument.kind not in ("", "dtype") else []
    parts.append(_sentence(argument.text))
    if argument.source:
        parts.append(f"From `{argument.source.removeprefix(f'{PACKAGE}.')}`.")
        if argument.name in common_arguments():
            anchor = common_arguments()[argument.name]
            parts.append(f"See [common arguments](/{COMMON}#{anchor}).")
    return " ".join(parts)


def _sentence(text: str) -> str:
    """Gives text that begins with a word the case of a sentence."""
    begins_with_word = re.match(r"[a-z]{2,} |a [a-z]{2,}", text)
    return inline(text[0].upper() + text[1:] if begins_with_word else text)


def _kind(name: Public) -> str:
    if inspect.isclass(name.value) and name.value.__module__.startswith(PACKAGE):
        return "class"
    return "function" if inspect.isfunction(name.value) else "data"


def _called(name: Public) -> str:
    return "" if _kind(name) == "data" else signature(name.value)


def _section(section: Section, known: frozenset[str]) -> list[str]:
    lines = [f"**{TITLES.get(section.title, section.title)}**", ""]
    for entry, about in section.entries.items():
        lines += [f"`{entry}`", f": {_sentence(about)}", ""]
    return lines + blocks(section.blocks, known)


def _methods(name: Public, shown: set[object]) -> list[str]:
    lines: list[str] = []
    for method, of in methods(name.module, name.value):
        text = inspect.getdoc(getattr(name.value, method))
        if not text:
            raise ValueError(f"{name.full}.{method} has no docstring.")
        if of in shown:
            continue
        shown.add(of)
        kind = "property" if isinstance(of, property) else "method"
        about = parsed(text)
        lines += [f":::{{py:{kind}}} {method}{signature(of)}", ""]
        lines += [inline(about.summary), "", *blocks(about.sections[0].blocks)]
        for section in about.sections[1:]:
            lines += _section(section, frozenset())
        lines += [":::", ""]
    return lines
