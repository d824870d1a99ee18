"""Runs the authors' implementations on the steps of `problem.py`, and writes their results.

    python -m tests.authors.make_learning_rate_free FOLDER

FOLDER holds clones of the repositories of `SOURCES`, as `owner+name`; torch is required.
`learning_rate_free.json` gets the parameters after two steps and after ten, in float64.
"""

import functools
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .problem import KEPT, STEPS, gradients, start

META = "facebookresearch"
SOURCES = {
    "cocob": ("bremen79+parameterfree", "parameterfree/cocob.py"),
    "dadapt_adam": (f"{META}+dadaptation", "dadaptation/dadapt_adam.py"),
    "dadapt_sgd": (f"{META}+dadaptation", "dadaptation/dadapt_sgd.py"),
    "dog": ("formll+dog", "src/dog/dog.py"),
    "dowg": ("rka97+dowg", "dowg/dowg.py"),
    "gpa/gpa_adamw": (f"{META}+optimizers", "gpa/gpa_adamw.py"),
    "gpa/gpa_types": (f"{META}+optimizers", "gpa/gpa_types.py"),
    "momo/momo": ("fabian-sp+MoMo", "momo/momo.py"),
    "momo/momo_adam": ("fabian-sp+MoMo", "momo/momo_adam.py"),
    "momo/types": ("fabian-sp+MoMo", "momo/types.py"),
    "prodigy": ("konstmish+prodigy", "prodigyopt/prodigy.py"),
    "sf_adamw": (f"{META}+schedule_free", "schedulefree/adamw_schedulefree.py"),
    "sf_radam": (f"{META}+schedule_free", "schedulefree/radam_schedulefree.py"),
    "sf_sgd": (f"{META}+schedule_free", "schedulefree/sgd_schedulefree_reference.py"),
    "sf_wrap": (f"{META}+schedule_free", "schedulefree/wrap_schedulefree_reference.py"),
}
"""Module -> repository and file."""


def write_modules(folder: Path, to: Path) -> None:
    """Writes the sources as modules of a temporary folder, with their float32 made float64."""
    for name, (repository, path) in SOURCES.items():
        clone = folder / repository
        is_git = (clone / "HEAD").exists() or (clone / ".git").exists()
        clone = clone if is_git else clone / "repo"
        text = subprocess.run(
            ["git", "-C", clone, "show", f"HEAD:{path}"], check=True, capture_output=True, text=True
        ).stdout
        target = to / f"{name}.py"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text.replace("torch.float32", "torch.float64"), encoding="utf-8")


def run(
    make: Callable[[list[Any]], Any], step: Callable[[Any, int], Any] | None = None
) -> list[dict[str, Any]]:
    """Returns the parameters after the steps in `KEPT`."""
    import torch

    params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start().items()}
    optimizer, kept = make(list(params.values())), []
    if hasattr(optimizer, "train"):
        optimizer.train()
    for t in range(STEPS):
        here = {k: p.detach().numpy() for k, p in params.items()}
        for k, g in gradients(t, here).items():
            params[k].grad = torch.tensor(g)
        step(optimizer, t) if step is not None else optimizer.step()
        if t in KEPT:
            kept.append(
                {k: [float(f"{x:.15g}") for x in p.flatten().tolist()] for k, p in params.items()}
            )
    return kept


def with_loss(optimizer: Any, t: int) -> None:
    """Makes a step that is given the loss."""
    import torch

    from .learning_rate_free import loss

    optimizer.step(loss=torch.tensor(loss(t)))


def results() -> dict[str, Any]:
    """Returns the parameters of all runs, by the names of `learning_rate_free.py`."""
    import torch

    def of(module: str, name: str, step: Any = None, **options: Any) -> list[dict[str, Any]]:
        kind = getattr(importlib.import_module(module), name)
        return run(functools.partial(kind, **options), step)

    wrapper = importlib.import_module("sf_wrap").ScheduleFreeWrapperReference
    adamw = functools.partial(of, "sf_adamw", "AdamWScheduleFree", lr=0.01, foreach=False)
    radam = functools.partial(
        of, "sf_radam", "RAdamScheduleFree", lr=0.01, foreach=False, weight_decay=0.1
    )
    gpa = functools.partial(
        of, "gpa.gpa_adamw", "GPAAdamW", lr=0.1, beta2=0.99, eval_interp_coeff=0.9
    )
    d0, bold = {"d0": 1e-3}, {"lr": 0.5, "betas": (0.8, 0.99), "use_bias_correction": True}
    dadapt = functools.partial(of, "dadapt_adam", "DAdaptAdam", decouple=True, **d0)
    return {
        "schedule_free_sgd": of("sf_sgd", "SGDScheduleFreeReference", lr=0.1),
        "schedule_free_sgd-warmup": of(
            "sf_sgd",
            "SGDScheduleFreeReference",
            lr=0.1,
            momentum=0.8,
            weight_decay=0.1,
            warmup_steps=4,
            weight_lr_power=1.0,
            r=0.5,
        ),
        "schedule_free_adamw": adamw(),
        "schedule_free_adamw-warmup": adamw(
            betas=(0.8, 0.99), weight_decay=0.1, warmup_steps=4, r=0.5
        ),
        "schedule_free_adamw-inner": adamw(betas=(0.9, 0.99), weight_decay=0.1, inner_momentum=0.9),
        "schedule_free_radam": radam(betas=(0.9, 0.99)),
        "schedule_free_radam-sgd": radam(betas=(0.9, 0.99), silent_sgd_phase=False),
        "schedule_free": run(
            lambda p: wrapper(torch.optim.SGD(p, lr=0.1, momentum=0.5, foreach=False), r=1)
        ),
        "gpa": gpa(),
        "gpa-decay": gpa(weight_decay=0.1),
        "gpa-decay-of-y": gpa(weight_decay=0.1, use_wd_on_y=True),
        "prodigy": of("prodigy", "Prodigy", **d0),
        "prodigy-corrected": of(
            "prodigy", "Prodigy", beta3=0.9, weight_decay=0.1, d_coef=2.0, **bold, **d0
        ),
        "prodigy-guarded": of("prodigy", "Prodigy", safeguard_warmup=True, growth_rate=1.02, **d0),
        "dadapt_adamw": dadapt(),
        "dadapt_adamw-corrected": dadapt(weight_decay=0.1, growth_rate=1.02, **bold),
        "dadapt_sgd": of("dadapt_sgd", "DAdaptSGD", **d0),
        "dadapt_sgd-momentum": of(
            "dadapt_sgd", "DAdaptSGD", lr=0.5, momentum=0.9, growth_rate=1.02, **d0
        ),
        "dog": of("dog", "DoG", reps_rel=1e-3, weight_decay=0.1),
        "dog-eta": of("dog", "DoG", reps_rel=1e-3, init_eta=0.01),
        "ldog": of("dog", "LDoG", reps_rel=1e-3, weight_decay=0.1),
        "dowg": of("dowg", "DoWG"),
        "momo": of("momo.momo", "Momo", with_loss),
        "momo-adapted": of(
            "momo.momo",
            "Momo",
            with_loss,
            lr=0.5,
            weight_decay=0.1,
            beta=0.8,
            lb=-1.0,
            bias_correction=True,
            use_fstar=True,
        ),
        "momo_adam": of("momo.momo_adam", "MomoAdam", with_loss, weight_decay=0.1),
        "momo_adam-adapted": of(
            "momo.momo_adam",
            "MomoAdam",
            with_loss,
            lr=0.1,
            betas=(0.8, 0.99),
            weight_decay=0.1,
            lb=-1.0,
            divide=False,
            use_fstar=True,
        ),
        "cocob": of("cocob", "COCOB"),
        "cocob-decay": of("cocob", "_HalfRate"),
    }


def half_rate(params: list[Any]) -> Any:
    """Makes COCOB with a learning rate of 0.5, which its options have and its arguments lack."""
    optimizer = importlib.import_module("cocob").COCOB(params, alpha=4.0, weight_decay=0.1)
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    return optimizer


def main() -> None:
    """Writes the results of all runs."""
    import torch

    torch.set_default_dtype(torch.float64)
    with tempfile.TemporaryDirectory() as modules:
        write_modules(Path(sys.argv[1]), Path(modules))
        sys.path.insert(0, modules)
        importlib.import_module("cocob")._HalfRate = half_rate  # type: ignore[attr-defined]
        text = json.dumps(results()).replace('], "', '],\n"').replace("}], ", "}],\n")
    path = Path(__file__).with_name("learning_rate_free.json")
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
