"""Writes docstrings as Markdown: escapes all text that is not code, and links papers."""

import re

from .docstrings import ARXIV, Block
from .maths import NotMaths, mathml

CODE = re.compile(r"(`[^`]+`)")
SPECIAL = re.compile(r"([\\*\[\]<$`]|\b_(?!\w)|(?<!\w)_|&(?=#?\w+;)|~(?=~))")
FIRST = re.compile(r"^([-+=:>#]|\d+(?=[.)]))")
URL = re.compile(r"(?<![\w/])((?:github\.com|kellerjordan\.github\.io)/[\w./-]*[\w/-])")


def inline(text: str) -> str:
    """Returns a paragraph as one line of Markdown."""
    parts = CODE.split(" ".join(text.split()))
    return FIRST.sub(r"\\\1", "".join(p if p.startswith("`") else _plain(p) for p in parts))


def _plain(text: str) -> str:
    escaped = SPECIAL.sub(r"\\\1", text)
    escaped = ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", escaped)
    return URL.sub(lambda m: f"[{m[1]}](https://{m[1]})".replace("\\", ""), escaped)


def cell(text: str) -> str:
    """Returns text for the cell of a table."""
    return inline(text).replace("|", "\\|")


def fenced(language: str, text: str) -> list[str]:
    """Returns the lines of a block of code."""
    return [f"```{language}", *text.split("\n"), "```", ""]


def blocks(of: list[Block], known: frozenset[str] = frozenset()) -> list[str]:
    """Returns the lines of paragraphs, lists, examples, formulas, and texts that keep lines.

    `known` has the names that are variables in formulas.
    """
    lines: list[str] = []
    for block in of:
        if block.kind == "doctest":
            lines += fenced("pycon", block.text)
        elif block.kind == "indented":
            lines += _formulas(block.text, known)
        elif block.kind == "list":
            lines += [f"- {inline(item)}" for item in re.split(r"^- ", block.text, flags=re.M)[1:]]
            lines += [""]
        else:
            lines += [inline(block.text), ""]
    return lines


def _formulas(text: str, known: frozenset[str]) -> list[str]:
    try:
        html = mathml(text, known)
    except NotMaths:
        return fenced("text", text)
    return fenced("{raw} html", f'<div class="formulas">{html}</div>')
