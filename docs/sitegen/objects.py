"""The page of one public name."""

import functools
import inspect

from .docstrings import Docstring, parsed
from .groups import Group
from .markdown import blocks, inline
from .names import PACKAGE, Public, public_names
from .reading import doc, methods, signature

TITLES = {"Args": "Arguments", "Example": "Example", "Reference": "References"}


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
    lines += [f"::::{{py:{_kind(name)}}} {name.full}{_called(name)}", ""]
    if name.aliases:
        lines += [f"Also `{'`, `'.join(name.aliases)}`.", ""]
    lines += [inline(text.summary), "", *_sections(text)]
    lines += _methods(name, shown)
    return "\n".join([*lines, "::::", ""])


def _kind(name: Public) -> str:
    if inspect.isclass(name.value) and name.value.__module__.startswith(PACKAGE):
        return "class"
    return "function" if inspect.isfunction(name.value) else "data"


def _called(name: Public) -> str:
    return "" if _kind(name) == "data" else signature(name.value)


def _sections(text: Docstring) -> list[str]:
    lines: list[str] = []
    for section in text.sections:
        if section.title:
            lines += [f"**{TITLES.get(section.title, section.title)}**", ""]
        for entry, about in section.entries.items():
            lines += [f"`{entry}`", f": {inline(about)}", ""]
        lines += blocks(section.blocks)
    return lines


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
        lines += [inline(about.summary), "", *_sections(about), ":::", ""]
    return lines
