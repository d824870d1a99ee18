"""Runs the authors' Scion, Dion and Dion2, and writes their results.

    python -m tests.authors.make_scion_and_dion FOLDER

FOLDER holds clones of `LIONS-EPFL/scion` and `microsoft/dion`, as `owner+name`; torch is
required. `scion_and_dion.json` gets the parameters after two steps and after ten, in float64.
"""

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .matrix_problem import SHAPES, first_q, gradient, start
from .problem import KEPT, STEPS

SOURCES = {"scion": ("LIONS-EPFL+scion", "scion.py")} | {
    f"dion/{name}": ("microsoft+dion", f"dion/{name}.py")
    for name in (
        "dion",
        "dion2",
        "dion_reference",
        "dion_simple",
        "megabatch_base",
        "newton_schulz_triton",
        "opt_utils",
        "polar_express",
        "scalar_opts",
    )
}
"""Module -> repository and file."""


def write_modules(folder: Path, to: Path) -> None:
    """Writes the sources as modules of a temporary folder, with their narrow dtypes float64."""
    for name, (repository, path) in SOURCES.items():
        clone = folder / repository
        is_git = (clone / "HEAD").exists() or (clone / ".git").exists()
        clone = clone if is_git else clone / "repo"
        text = subprocess.run(
            ["git", "-C", clone, "show", f"HEAD:{path}"], check=True, capture_output=True, text=True
        ).stdout
        for narrow in ("torch.float32", "torch.bfloat16"):
            text = text.replace(narrow, "torch.float64")
        target = to / f"{name}.py"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text.replace(".bfloat16()", ".double()"), encoding="utf-8")


def run(shape: str, make: Callable[[list[Any]], Any]) -> list[list[float]]:
    """Returns the parameter after the steps that are kept."""
    import torch

    p = torch.nn.Parameter(torch.tensor(start(SHAPES[shape])))
    optimizer, kept = make([p]), []
    for t in range(STEPS):
        p.grad = torch.tensor(gradient(t, p.detach().numpy()))
        optimizer.step()
        if t in KEPT:
            kept.append([float(f"{x:.15g}") for x in p.flatten().tolist()])
    return kept


def with_first_q(kind: Any) -> Any:
    """Returns an optimizer class of Dion that starts with the Q of the problem."""
    import torch

    class Started(kind):  # type: ignore[misc]
        def _init_opt_state_dion(self, param: Any, state: Any, *rest: Any, **options: Any) -> None:
            super()._init_opt_state_dion(param, state, *rest, **options)
            state["Q"].copy_(torch.tensor(first_q(tuple(state["Q"].shape))))

    return Started


def results() -> dict[str, Any]:
    """Returns the parameters of all runs, by the names of `scion_and_dion.py`."""
    scion = importlib.import_module("scion").Scion
    dion2 = importlib.import_module("dion.dion2").Dion2
    simple, reference, dion = (
        with_first_q(importlib.import_module(f"dion.{name}").Dion)
        for name in ("dion_simple", "dion_reference", "dion")
    )

    def of_scion(norm: str, kwargs: Any = None, momentum: float = 0.1, free: bool = False) -> Any:
        return lambda p: scion(
            p,
            lr=2**-4,
            momentum=momentum,
            norm=norm,
            norm_kwargs=kwargs,
            scale=2.0,
            unconstrained=free,
        )

    first = {"normalized": False}
    return {
        "scion-spectral": run("tall", of_scion("Spectral")),
        "scion-spectral-wide": run("wide", of_scion("Spectral", {"max": True}, 1.0)),
        "scion-spectral-first": run("wide", of_scion("Spectral", first, free=True)),
        "scion-sign": run("tall", of_scion("Sign")),
        "scion-sign-first": run("wide", of_scion("Sign", first, 0.5, free=True)),
        "scion-col_norm": run("tall", of_scion("ColNorm")),
        "scion-col_norm-normalized": run("wide", of_scion("ColNorm", {"normalized": True})),
        "scion-row_norm": run("tall", of_scion("RowNorm")),
        "scion-row_norm-first": run("wide", of_scion("RowNorm", first)),
        "scion-bias_rms": run("vector", of_scion("BiasRMS")),
        "scion-line": run("line", of_scion("SpectralConv")),
        "scion-image": run("image", of_scion("SpectralConv")),
        "dion_simple": run("tall", lambda p: simple(p, lr=0.01, rank=2)),
        "dion_simple-whole": run("tall", lambda p: simple(p, lr=0.01, mu=0.9, weight_decay=0.1)),
        "dion_reference": run("wide", lambda p: reference(p, rank_fraction=0.5, qr_method="qr")),
        "dion_reference-whole": run("wide", lambda p: reference(p, qr_method="qr")),
        "dion": run("wide", lambda p: dion(p, rank_fraction=0.3, rank_multiple_of=2)),
        "dion2": run("tall", lambda p: dion2(p)),
        "dion2-wide": run("wide", lambda p: dion2(p, ef_decay=0.8, fraction=0.5, weight_decay=0.1)),
        "dion2-rms": run("wide", lambda p: dion2(p, fraction=1.0, adjust_lr="rms_norm")),
    }


def main() -> None:
    """Writes the results of all runs."""
    import torch

    torch.set_default_dtype(torch.float64)
    torch.compile = lambda f=None, **_: f if f is not None else lambda g: g  # type: ignore
    with tempfile.TemporaryDirectory() as modules:
        write_modules(Path(sys.argv[1]), Path(modules))
        sys.path.insert(0, modules)
        text = json.dumps(results()).replace("]], ", "]],\n")
    path = Path(__file__).with_name("scion_and_dion.json")
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
