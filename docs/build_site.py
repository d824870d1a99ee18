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
        strict.append("--fresh-env")  # what Sphinx remembers of the code is then out of date
    options = [*strict, "--jobs", "auto", "-c", str(Path(__file__).parent), *sys.argv[1:]]
    sys.exit(main(["-b", "html", *options, str(out / "source"), str(out / "html")]))
