"""Counts which names of optax public repositories use, and which of them are not here.

`python benchmarks/programs/names.py CLONE...`
"""

import collections
import subprocess
import sys
from typing import Any

import optax

import functional_optim

NAME = r"\boptax\.[A-Za-z_]\w*(\.[A-Za-z_]\w*)?"
FILES = ("*.py", "*.ipynb", "*.md", ":!optax/")


def uses(clone: str) -> list[str]:
    """Finds every use of a name of optax in a clone's files; optax's own package does not count."""
    command = ["git", "-C", clone, "grep", "-ohE", NAME, "HEAD", "--", *FILES]
    found = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return [name for use in found if (name := known(use.removeprefix("optax.")))]


def known(name: str) -> str:
    """Returns the part of a name that optax has: `adam` of `adam.init`."""
    parts = (name, name.split(".")[0])
    return next((part for part in parts if has(optax, part)), "")


def has(library: Any, name: str) -> bool:
    """Tells whether a library has a dotted name."""
    for part in name.split("."):
        if not hasattr(library, part):
            return False
        library = getattr(library, part)
    return True


def main() -> None:
    """Prints how many uses there are of how many names, and those that are not here."""
    counts = collections.Counter(name for clone in sys.argv[1:] for name in uses(clone))
    missing = {name: n for name, n in counts.most_common() if not has(functional_optim, name)}
    print(f"{counts.total()} uses of {len(counts)} names, of which not here:")
    for name, n in missing.items():
        print(f"{n:4} optax.{name}")


if __name__ == "__main__":
    main()
