"""Runs the authors' implementations of Muon and its variants, and writes their results.

    python -m tests.authors.make_muon FOLDER

FOLDER holds clones of the repositories of `SOURCES`, as `owner+name`; torch is required.
`muon.json` gets the parameters after two steps and after ten. The runs are in float64 throughout,
also where the authors round to bfloat16.
"""

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .problem import KEPT, STEPS, gradients, start

DION = ("megabatch_base", "muon", "newton_schulz_triton", "normuon", "opt_utils", "polar_express")
SOURCES = {
    "adamuon": ("Chongjie-Si+AdaMuon", "gpt2/models/optimizers/adamuon.py"),
    "keller_jordan": ("KellerJordan+Muon", "muon.py"),
    "moonlight": ("MoonshotAI+Moonlight", "examples/toy_train.py"),
    "normuon": ("zichongli5+NorMuon", "normuon.py"),
    **{f"dion/{name}": ("microsoft+dion", f"dion/{name}.py") for name in (*DION, "scalar_opts")},
}
"""Module -> repository and file."""

EDITS = {
    'device="cuda"': 'device="cpu"',
    # Dion's learning rate is a tensor of float32.
    "tensor = torch.empty((), dtype=torch.float32": "tensor = torch.empty((), dtype=torch.float64",
}


def write_modules(folder: Path, to: Path) -> None:
    """Writes the sources as modules of a temporary folder, for the CPU."""
    for name, (repository, path) in SOURCES.items():
        clone = folder / repository
        is_git = (clone / "HEAD").exists() or (clone / ".git").exists()
        clone = clone if is_git else clone / "repo"
        text = subprocess.run(
            ["git", "-C", clone, "show", f"HEAD:{path}"], check=True, capture_output=True, text=True
        ).stdout
        if name == "moonlight":  # the optimizer alone, without the model and its data
            begin, end = text.index("@torch.compile"), text.index("def get_model_and_dataloader")
            text = "import math\nimport torch\n" + text[begin:end]
        target = to / f"{name}.py"
        target.parent.mkdir(exist_ok=True)
        for before, after in EDITS.items():
            text = text.replace(before, after)
        target.write_text(text, encoding="utf-8")


def run(make: Any, names: tuple[str, ...] = ("w", "b")) -> list[dict[str, Any]]:
    """Returns the parameters after the steps in `KEPT`."""
    import torch

    params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start().items()}
    optimizer = make(*(params[k] for k in names))
    kept = []
    for t in range(STEPS):
        for k, g in gradients(t, {k: p.detach().numpy() for k, p in params.items()}).items():
            params[k].grad = torch.tensor(g)
        optimizer.step()
        if t in KEPT:
            kept.append(
                {k: [float(f"{x:.15g}") for x in params[k].flatten().tolist()] for k in names}
            )
    return kept


def run_groups(optimizer: Any, muon: dict[str, Any], adam: dict[str, Any]) -> Any:
    """Runs an optimizer with a group for Muon and another for Adam, and their options."""

    def make(w: Any, b: Any) -> Any:
        return optimizer(
            [
                {"params": [w], "use_muon": True, **muon},
                {"params": [b], "use_muon": False, **adam},
            ]
        )

    return run(make)


def gather(out: Any, x: Any, async_op: bool) -> Any:
    """Replaces `all_gather_into_tensor`, for a single process."""
    out.copy_(x.view_as(out))
    return SimpleNamespace(wait=lambda: None)


def results() -> dict[str, Any]:
    """Returns the parameters of all runs, by the names of `muon.py`."""
    import torch

    get = importlib.import_module
    keller_jordan = get("keller_jordan").SingleDeviceMuonWithAuxAdam
    moonlight, normuon = get("moonlight").Muon, get("normuon").SingleDeviceNorMuonWithAuxAdam
    dion, dion_normuon = get("dion.muon").Muon, get("dion.normuon").NorMuon
    adamuon = get("adamuon")
    adamuon.dist = SimpleNamespace(all_gather_into_tensor=gather)
    muon_options = {"momentum": 0.9, "weight_decay": 0.1, "lr": 0.05}
    adam_options = {"lr": 0.01, "weight_decay": 0.1}

    def grouped(w: Any, b: Any) -> list[dict[str, Any]]:
        return [{"params": [w]}, {"params": [b], "algorithm": "adamw"}]

    def run_torch(**options: Any) -> Any:
        return run(lambda w: torch.optim.Muon([w], **options), ("w",))

    def run_adamuon(**options: Any) -> Any:
        return run(lambda w: adamuon.AdaMuon([w], rank=0, world_size=1, **options), ("w",))

    return {
        "keller_jordan": run_groups(keller_jordan, {}, {}),
        "keller_jordan-decay": run_groups(keller_jordan, muon_options, adam_options),
        # Moonlight's Adam adds eps before the bias correction, so eps is 0.
        "moonlight": run(lambda w, b: moonlight(muon_params=[w], adamw_params=[b], adamw_eps=0.0)),
        "moonlight-plain": run(
            lambda w: moonlight(0.01, 0.0, [w], momentum=0.8, nesterov=False), ("w",)
        ),
        "torch": run_torch(),
        "torch-rms": run_torch(lr=0.01, adjust_lr_fn="match_rms_adamw", nesterov=False, ns_steps=7),
        "dion": run(lambda w, b: dion(grouped(w, b))),
        "dion-quintic": run(
            lambda w: dion(
                [w], lr=0.05, nesterov=True, use_polar_express=False, adjust_lr="rms_norm"
            ),
            ("w",),
        ),
        "normuon": run_groups(normuon, {}, {}),
        "normuon-decay": run_groups(normuon, {**muon_options, "beta2": 0.8}, {"lr": 0.01}),
        "normuon-dion": run(lambda w, b: dion_normuon(grouped(w, b))),
        "adamuon": run_adamuon(),
        "adamuon-plain": run_adamuon(lr=0.01, momentum=0.8, nesterov=False, weight_decay=0.0),
    }


def main() -> None:
    """Writes the results of all runs."""
    import torch

    torch.set_default_dtype(torch.float64)
    torch.compile = lambda f=None, **_: f if f is not None else lambda g: g
    torch.bfloat16 = torch.float64  # type: ignore[misc]
    # A copy, because torch divides the result in place.
    torch.Tensor.bfloat16 = lambda self: self.clone()  # type: ignore[method-assign,assignment]
    with tempfile.TemporaryDirectory() as modules:
        write_modules(Path(sys.argv[1]), Path(modules))
        sys.path.insert(0, modules)
        text = json.dumps(results()).replace('], "', '],\n"').replace("}], ", "}],\n")
    path = Path(__file__).with_name("muon.json")
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
