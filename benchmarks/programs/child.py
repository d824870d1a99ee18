"""Runs one program in this process, with optax or with this library in its place."""

import contextlib
import io
import json
import re
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
import optax  # noqa: F401

import functional_optim


def swap() -> None:
    """Lets every import of optax, also those of other libraries, find functional_optim."""
    for name in [name for name in sys.modules if name.split(".")[0] == "optax"]:
        del sys.modules[name]
    for name, module in list(sys.modules.items()):
        if name == "functional_optim" or name.startswith("functional_optim."):
            sys.modules[name.replace("functional_optim", "optax", 1)] = module
    assert sys.modules["optax"] is functional_optim


def source(file: Path) -> str:
    """The program of a script or a notebook, without the notebook's own commands."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    return "\n".join("" if line.lstrip()[:1] in ("%", "!") else line for line in text.split("\n"))


def run(file: Path, result: str) -> float:
    """What the program leaves as its result."""
    names: dict[str, object] = {"__name__": "__main__"}
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(source(file), str(file), "exec"), names)

    def printed(words: str) -> float:
        found = re.findall(
            re.escape(words) + r"[^\d\n-]*(-?[\d.]+(?:e[+-]?\d+)?)", output.getvalue()
        )
        return float(found[-1])

    return float(np.asarray(eval(result, {**names, "printed": printed})))


def main() -> None:
    """Arguments: the file, the library, and the result's expression."""
    file, library, result = sys.argv[1:]
    if library == "functional_optim":
        swap()
    matplotlib.use("Agg")
    np.random.seed(0)  # after all imports, some of which draw
    start = time.perf_counter()
    value = run(Path(file), result)
    print(json.dumps({"value": value, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
