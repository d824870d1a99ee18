"""Docstrings as data: a summary, blocks of text, and sections with entries."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from textwrap import dedent

SECTION = re.compile(
    r"(Args|Attributes|Differences|Example|Examples|Raises|Reference|Returns|Yields):(?:\s+|$)"
)
ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*):(?:\s+|$)")
ARXIV = re.compile(r"arXiv:\s?(\d{4}\.\d{4,5}|[a-z-]+/\d{7})")
AUTHORS = re.compile(r"([A-Z][\w-]+)(?:, [A-Z][\w-]+)+ & ")
NEXT_PAPER = re.compile(r"\. (?=[A-Z][^.,]{1,30}(?:,| &| et al))")
YEAR = re.compile(r"\b(?:19|20)\d\d\b")


@dataclass(frozen=True)
class Block:
    """A paragraph, a list, an indented text or an example for doctest."""

    kind: str
    text: str


@dataclass
class Section:
    """A part of a docstring below its heading: entries by name, and other blocks."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    entries: dict[str, str] = field(default_factory=dict)


@dataclass
class Docstring:
    """A docstring; the first of its sections has no title."""

    summary: str
    sections: list[Section]

    def section(self, title: str) -> Section:
        """Returns the section of a title, an empty one if there is none."""
        return next((s for s in self.sections if s.title == title), Section(title))

    def paper(self) -> tuple[str, str]:
        """Returns the first reference in short, `Kingma & Ba 2015`, and its address or nothing."""
        text = " ".join(block.text.replace("\n", " ") for block in self.section("Reference").blocks)
        first = NEXT_PAPER.split(text)[0]
        if not first or first.startswith("see "):
            return "", ""
        many, year, found = AUTHORS.match(first), YEAR.search(first), ARXIV.search(first)
        authors = f"{many[1]} et al." if many else first.split(",")[0]
        short = f"{authors} {year[0]}" if year else authors
        if len(short) > 40:  # a title or a place in code, and no authors
            short = found[0] if found else ""
        return short, f"https://arxiv.org/abs/{found[1]}" if found else ""


def parsed(text: str) -> Docstring:
    """Returns the parts of a docstring that `inspect.getdoc` has dedented."""
    sections = [Section("")]
    for title, lines in _parts(text.split("\n")):
        section = sections[0] if not title else Section(title)
        if title:
            sections.append(section)
        if title in ("Args", "Attributes", "Raises"):
            section.entries, lines = _entries(dedent("\n".join(lines)).split("\n"))
        section.blocks += _blocks(lines if not title else _dedented(lines))
    first = sections[0].blocks
    summary = first.pop(0).text if first else ""
    return Docstring(summary, sections)


def _parts(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields sections, which end where the next begins, or where unindented text follows a gap."""
    title, part = "", []
    for line in lines:
        heading = SECTION.match(line)
        after_gap = bool(part) and not part[-1] and line and not line.startswith(" ")
        if heading or (title and after_gap):
            yield title, part
            title, part = (heading[1], [line[heading.end() :]]) if heading else ("", [line])
        else:
            part.append(line)
    yield title, part


def _dedented(lines: list[str]) -> list[str]:
    """Removes the indentation of lines after the heading, whose own line is not indented."""
    if lines and not lines[0].strip():
        return dedent("\n".join(lines[1:])).split("\n")
    return lines


def _entries(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    entries: dict[str, str] = {}
    name, others = "", []
    for line in lines:
        heading = ENTRY.match(line)
        if heading:
            name = heading[1]
            entries[name] = line[heading.end() :]
        elif name and (line.startswith(" ") or not line):
            entries[name] += f"\n{line.strip()}"
        else:
            others.append(line)
    return {name: text.strip() for name, text in entries.items()}, others


def _blocks(lines: list[str]) -> Iterator[Block]:
    groups: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
    last: Block | None = None
    for group in filter(None, groups):
        kind = _kind(group)
        text = dedent("\n".join(group)) if kind in ("indented", "doctest") else "\n".join(group)
        if last and last.kind == kind == "doctest":
            last = Block(kind, f"{last.text}\n\n{text}")
            continue
        if last:
            yield last
        last = Block(kind, text)
    if last:
        yield last


def _kind(group: list[str]) -> str:
    if group[0].lstrip().startswith(">>>"):
        return "doctest"
    if group[0].startswith("- "):
        return "list"
    return "indented" if all(line.startswith("  ") for line in group) else "paragraph"
