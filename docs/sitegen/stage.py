"""The sources of the site: the repository's pages, and those that are made of docstrings."""

import fnmatch
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from . import index, objects
from .groups import grouped

ROOT = Path(__file__).resolve().parents[2]

TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "docs/api.md": "api/index.md",
}
"""File of the repository -> page of the site, where the two differ."""

MENU = {
    "Start": (
        "functional",
        "from_torch",
        "examples",
        "notebooks/first_training_loop",
        "notebooks/*",
    ),
    "Guides": (
        "guides/which_optimizer",
        "guides/plain_jax",
        "guides/flax_*",
        "guides/equinox",
        "guides/from_*",
        "guides/fine_tuning",
        "guides/[!nfw]*",
        "guides/*",
    ),
    "Topics": ("checkpoints", "sharding", "speed", "race", "testing"),
    "Reference": ("api/index", "arguments"),
    "Project": ("design", "asked_for", "programs", "optax_tests", "benchmarks", "*"),
}
"""Heading of the menu -> pages and patterns; a page is below the first that matches."""

LINK = re.compile(r"(!?\[(?:[^\]\\]|\\.)*\])\(([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def sources() -> dict[str, str | Path]:
    """Returns page of the site -> its text, or the file to copy."""
    pages = {page: file for file, page in repository_pages().items()}
    made: dict[str, str | Path] = {}
    for page, file in pages.items():
        path = ROOT / file
        made[page] = path if path.suffix == ".ipynb" else _rewritten(file)
    groups = grouped()
    made["api/index.md"] = index.index_page(groups)
    for group, names in groups.items():
        made[f"api/{group.slug}.md"] = index.group_page(group, names)
        shown: set[object] = set()
        for name in names:
            made[f"{objects.docname(name)}.md"] = objects.page(name, group, shown)
    made["index.md"] = f"{made['index.md']}\n{_menu(sorted(pages))}"
    return made | _shown_files(made)


def _shown_files(made: dict[str, str | Path]) -> dict[str, str | Path]:
    """Collects pictures, and pages of the files to which others link."""
    texts = [text for text in made.values() if isinstance(text, str)]
    links = {link for text in texts for link in re.findall(r"\]\(/(source/[^)#]+)\.md", text)}
    pictures = {link for text in texts for link in re.findall(r"!\[[^\]]*\]\(/([^)]+)\)", text)}
    pages = {f"{link}.md": _source_page(link.removeprefix("source/")) for link in links}
    return {**pages, **{picture: ROOT / picture for picture in pictures}}


def _source_page(file: str) -> str:
    path = ROOT / file
    if not path.exists():
        raise ValueError(f"A page links to {file}, which does not exist.")
    head = f"---\norphan: true\nnosearch: true\n---\n\n# {path.name}\n\n`{file}`"
    if path.is_dir():
        files = sorted(inner.name for inner in path.iterdir() if not inner.name.startswith("_"))
        return "\n".join([head, "", *(f"- `{name}`" for name in files), ""])
    text = path.read_text(encoding="utf-8")
    language = {".py": "python", ".sh": "bash"}.get(path.suffix, "text")
    return f"{head}\n\n``````{language}\n{text}\n``````\n"


def repository_pages() -> dict[str, str]:
    """Returns the pages and notebooks of the repository -> pages of the site."""
    patterns = ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*.md", "notebooks/*.ipynb")
    files = [path.relative_to(ROOT).as_posix() for p in patterns for path in ROOT.glob(p)]
    return {file: TOP.get(file, file.removeprefix("docs/")) for file in sorted(files)}


def _rewritten(file: str) -> str:
    """Returns the text of a page, whose links lead to pages of the site."""
    text = (ROOT / file).read_text(encoding="utf-8")
    parts = CODE.split(text)
    return "".join(part if n % 2 else _with_links(part, file) for n, part in enumerate(parts))


def _with_links(text: str, file: str) -> str:
    return LINK.sub(lambda m: f"{m[1]}({_target(m[1], m[2], file)}{m[3] or ''})", text)


def _target(text: str, target: str, file: str) -> str:
    """Returns where a link or a picture of a file leads on the site."""
    if target.startswith(("http:", "https:", "mailto:")):
        return target
    pages = repository_pages()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
    if path in pages or text.startswith("!"):
        return f"/{pages.get(path, path)}"
    repository = os.environ.get("DOCS_REPOSITORY")
    return f"{repository}/blob/main/{path}" if repository else f"/source/{path}.md"


def _menu(pages: list[str]) -> str:
    left = [page.rpartition(".")[0] for page in pages if page != "index.md"]
    lines: list[str] = []
    for heading, patterns in MENU.items():
        found = list(_taken(left, patterns))
        if found:
            lines += ["```{toctree}", ":hidden:", f":caption: {heading}", "", *found, "```", ""]
    return "\n".join(lines)


def _taken(left: list[str], patterns: tuple[str, ...]) -> Iterator[str]:
    for pattern in patterns:
        for page in [page for page in left if fnmatch.fnmatchcase(page, pattern)]:
            left.remove(page)
            yield page


def write(target: Path) -> set[str]:
    """Writes all sources into a folder, and returns the pages that are new or different."""
    made = sources()
    changed = set()
    for page, text in made.items():
        content = text.read_bytes() if isinstance(text, Path) else text.encode()
        path = target / page
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            changed.add(page)
    for path in [p for p in target.rglob("*") if p.is_file()]:
        if path.relative_to(target).as_posix() not in made:
            path.unlink()
    return changed
