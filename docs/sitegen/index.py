"""The pages of groups, and the page of all groups."""

from .docstrings import parsed
from .groups import GROUPS, Group
from .markdown import cell
from .names import Public
from .objects import docname
from .reading import doc


def group_page(group: Group, names: list[Public]) -> str:
    """Returns the Markdown of a group: one line and the paper of each name."""
    links = [n for n in names if n.name.startswith("scale_by") and "algorithms" in n.home]
    optimizers = [n for n in names if n not in links]
    lines = [f"# {group.title}", "", group.about, "", *_table(optimizers)]
    if links:
        lines += ["## Links of a chain", "", *_table(links)]
    return "\n".join(lines)


def _table(names: list[Public]) -> list[str]:
    papers = {name: parsed(doc(name.module, name.name)).paper() for name in names}
    with_papers = any(short for short, _ in papers.values())
    head = ["| Name | What it is | Paper |", "|---|---|---|"]
    lines = head if with_papers else ["| Name | What it is |", "|---|---|"]
    for name in names:
        about = cell(parsed(doc(name.module, name.name)).summary)
        row = f"| [`{name.short}`](/{docname(name)}.md) | {about} |"
        lines.append(f"{row} {_paper(*papers[name])} |" if with_papers else row)
    return [":::{container} names", *lines, ":::", ""]


def _paper(short: str, address: str) -> str:
    return f"[{cell(short)}]({address})" if address else cell(short)


def index_page(groups: dict[Group, list[Public]]) -> str:
    """Returns the Markdown of the page of all groups."""
    lines = ["# API", "", "All public names, by subject.", ""]
    lines += [":::{container} names", "| Group | Names |", "|---|---|"]
    for group in GROUPS:
        names = ", ".join(f"[`{n.short}`](/{docname(n)}.md)" for n in groups[group])
        lines += [f"| [{group.title}]({group.slug}.md) | {names} |"]
    toctree = [
        ":::",
        "",
        "```{toctree}",
        ":hidden:",
        "",
        *(group.slug for group in GROUPS),
        "```",
        "",
    ]
    return "\n".join([*lines, *toctree])
