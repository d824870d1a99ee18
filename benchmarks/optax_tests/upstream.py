"""Optax's test files at one commit."""

import subprocess
import tarfile
import urllib.request
from pathlib import Path

from ..programs.catalogue import COMMITS

__all__ = ["COMMIT", "REPOSITORY", "write_test_files"]

REPOSITORY = "google-deepmind/optax"
COMMIT = COMMITS[REPOSITORY]


def write_test_files(directory: Path, clones: Path | None) -> list[str]:
    """Writes the test files, and modules that they share, into `directory`/files.

    Returns:
      The paths of the test files in that folder.
    """
    archive = directory / "optax.tar"
    archive.write_bytes(_archive(clones))
    files = directory / "files"
    with tarfile.open(archive) as tar:
        for member in tar:
            path = f"/{member.name}".partition("/optax/")[2] if _is_test(member.name) else ""
            if path and (content := tar.extractfile(member)):
                (files / path).parent.mkdir(parents=True, exist_ok=True)
                (files / path).write_bytes(content.read())
    return sorted(file.relative_to(files).as_posix() for file in files.rglob("*_test.py"))


def _is_test(name: str) -> bool:
    return name.endswith(("_test.py", "/test_utils.py"))


def _archive(clones: Path | None) -> bytes:
    """Returns the repository at the commit, as a tar file: from GitHub, or from a clone."""
    if clones is None:
        with urllib.request.urlopen(
            f"https://github.com/{REPOSITORY}/archive/{COMMIT}.tar.gz"
        ) as response:
            return response.read()
    candidates = (clones / REPOSITORY, clones / REPOSITORY.replace("/", "+") / "repo")
    clone = next(path for path in candidates if path.exists())
    command = ["git", "-C", str(clone), "archive", COMMIT, "optax"]
    return subprocess.run(command, check=True, capture_output=True).stdout
