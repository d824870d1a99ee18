"""Builds the archives for PyPI in out/release: `make release REPOSITORY=https://...`.

In the repository, links are relative, and no address of it is written anywhere. The archives have
links that work everywhere: README.md and the project's addresses then name the repository.
"""

import posixpath
import subprocess
import sys

from sitegen.stage import LINK, ROOT

URLS = """[project.urls]
Repository = "{0}"
Documentation = "{1}"
Changelog = "{0}/blob/main/CHANGELOG.md"
Issues = "{0}/issues"

"""


def with_addresses(text: str, repository: str) -> str:
    """Returns the text of README.md with links that do not depend on where it is shown."""

    def link(match):
        target, place = match[2], match[3] or ""
        if target.startswith(("http:", "https:", "mailto:")):
            return match[0]
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{match[1]}({repository}/{kind}/main/{posixpath.normpath(target)}{place})"

    return LINK.sub(link, text)


def with_urls(pyproject: str, repository: str, documentation: str) -> str:
    """Returns the text of pyproject.toml with the addresses of the project."""
    before = "[project.optional-dependencies]"
    return pyproject.replace(before, URLS.format(repository, documentation) + before, 1)


def build(repository: str, documentation: str) -> None:
    """Writes both archives from a copy of the files that git knows."""
    out = ROOT / "out" / "release"
    source = out / "source"
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for file in listed.stdout.split("\n")[:-1]:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_bytes((ROOT / file).read_bytes())
    for file, text in {
        "README.md": with_addresses((ROOT / "README.md").read_text("utf-8"), repository),
        "pyproject.toml": with_urls(
            (ROOT / "pyproject.toml").read_text("utf-8"), repository, documentation
        ),
    }.items():
        (source / file).write_text(text, encoding="utf-8")
    sdist = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", sdist, str(out)], cwd=source, check=True)
    wheel = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), "."]
    subprocess.run([sys.executable, "-m", *wheel], cwd=source, check=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: make release REPOSITORY=https://host/owner/name [SITE=https://...]")
    build(sys.argv[1].rstrip("/"), (sys.argv[2:] or sys.argv[1:2])[0].rstrip("/"))
