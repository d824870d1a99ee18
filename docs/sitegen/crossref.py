"""Names in code font become links to their pages, on every page of the site."""

import functools
import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

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
    """A word such as `add` means a function of a module only below that module."""
    return "." in name.short and "_" not in name.name and name.name == name.name.lower()


def meant(code: str) -> Public | None:
    """Returns the public name that a piece of code is, or calls."""
    match = NAME.fullmatch(code)
    return _by_text().get(match[1]) if match else None


class Links(SphinxTransform):
    """Makes links of code that is a public name, but not of headings and of links."""

    default_priority = 500

    def apply(self, **_: object) -> None:
        """Replaces the nodes of one page."""
        around = (nodes.reference, nodes.title, nodes.term, pending_xref)
        own = self.env.docname.rpartition("/")[2].removesuffix("-type")
        for literal in list(self.document.findall(nodes.literal)):
            name = meant(literal.astext())
            if name is None or name.full == own or _below(literal, around):
                continue
            link = pending_xref(
                "", refdomain="py", reftype="obj", reftarget=name.full, refwarn=True
            )
            literal.replace_self(link)
            link += literal


def _below(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def setup(app: Sphinx) -> dict[str, object]:
    """Registers the transform."""
    app.add_transform(Links)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
