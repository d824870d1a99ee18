"""Names in code font become links to their pages, on every page of the site."""

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from .meaning import meant


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
