"""Writes api.md, a list of all public names, and the table from which the package imports them.

A name without a docstring or a group is an error, and so is a public module that no page shows.
"""

import importlib
from pathlib import Path

from sitegen.docstrings import parsed
from sitegen.groups import grouped
from sitegen.markdown import cell
from sitegen.reading import doc, origins

import functional_optim

HERE = Path(__file__).parent
ORIGINS = Path(functional_optim.__path__[0], "_origins.py")


def page() -> str:
    """Returns the text of api.md."""
    lines = ["# Public names", "", "Written by `make api` from the docstrings. The site that"]
    lines += ["`make docs-site` builds has a page for each name.", ""]
    for group, names in grouped().items():
        lines += [f"## {group.title}", "", group.about, "", "| name | what it is |", "|---|---|"]
        for name in names:
            file = importlib.import_module(f"functional_optim.{name.home}".rstrip(".")).__file__
            path = Path(file).relative_to(ORIGINS.parents[1]).as_posix()
            about = cell(parsed(doc(name.module, name.name)).summary)
            lines.append(f"| [`{name.short}`](../{path}) | {about} |")
        lines.append("")
    return "\n".join(lines)


def origins_module() -> str:
    """Returns the text of the module that says from where packages import their names."""
    about = '"""Where names are from that are imported late; written by `make api`."""'
    lines = [about, "", "ORIGINS = {"]
    for package in functional_optim.ORIGINS:
        found = origins(importlib.import_module(package))
        lines += [f'    "{package}": {{', *(f'        "{k}": "{v}",' for k, v in found.items())]
        lines += ["    },"]
    return "\n".join([*lines, "}", ""])


def write() -> None:
    """Writes both files."""
    ORIGINS.write_text(origins_module(), encoding="utf-8")
    for package, known in functional_optim.ORIGINS.items():
        known.update(origins(importlib.import_module(package)))
    (HERE / "api.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
