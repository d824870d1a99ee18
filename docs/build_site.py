"""Builds the site into out/docs/html: `make docs-site`."""

import sys
from pathlib import Path

from sitegen.stage import ROOT, write
from sphinx.cmd.build import main

if __name__ == "__main__":
    out = ROOT / "out" / "docs"
    changed = write(out / "source")
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky"]
    if any(page.startswith("api/") for page in changed):
        # The cache of Sphinx is out of date if the code has changed.
        strict.append("--fresh-env")
    options = [*strict, "--jobs", "auto", "-c", str(Path(__file__).parent), *sys.argv[1:]]
    sys.exit(main(["-b", "html", *options, str(out / "source"), str(out / "html")]))
