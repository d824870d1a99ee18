"""Runs one program in this process, with optax or with this library in its place."""

import argparse
import contextlib
import io
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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


def nudge(seed: int) -> None:
    """Lets every uniform or normal number that JAX draws be off by one ulp, up or down."""
    signs = np.random.default_rng(seed)

    def nudged(draw: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        def call(*args: Any, **kwargs: Any) -> jax.Array:
            x = draw(*args, **kwargs)
            return jnp.nextafter(x, signs.choice([-np.inf, np.inf], x.shape).astype(x.dtype))

        return call

    for name in ("normal", "uniform"):
        setattr(jax.random, name, nudged(getattr(jax.random, name)))


def source(file: Path) -> str:
    """Returns the program of a script or a notebook, without the notebook's own commands."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    return "\n".join("" if line.lstrip()[:1] in ("%", "!") else line for line in text.split("\n"))


def run(file: Path, result: str) -> float:
    """Runs the program, and returns the value of its result."""
    names: dict[str, object] = {"__name__": "__main__"}
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(source(file), str(file), "exec"), names)

    def printed(words: str, which: int = -1) -> float:
        found = re.findall(
            re.escape(words) + r"[^\d\n-]*(-?[\d.]+(?:e[+-]?\d+)?)", output.getvalue()
        )
        return float(found[which])

    return float(np.asarray(eval(result, {**names, "printed": printed})))


def main() -> None:
    """Prints, as JSON, the result and how many seconds it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("library", choices=("optax", "functional_optim"))
    parser.add_argument("result", help="an expression in the names that the program leaves")
    parser.add_argument("--nudge", type=int, help="seed of changes of draws by an ulp")
    arguments = parser.parse_args()
    if arguments.library == "functional_optim":
        swap()
    if arguments.nudge is not None:
        nudge(arguments.nudge)
    matplotlib.use("Agg")
    np.random.seed(0)  # after all imports, some of which draw
    start = time.perf_counter()
    value = run(arguments.file, arguments.result)
    print(json.dumps({"value": value, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
