"""Runs authors' implementations on the steps of `problem.py`, and writes their results.

    python -m tests.authors.make_golden FOLDER

FOLDER holds clones of the repositories of `SOURCES`, as `owner+name`; torch is required.
`golden.json` gets the parameters after two steps and after ten, in float64.
"""

import importlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from .problem import KEPT, STEPS, drawn_gradients, gradients, start

SOURCES = {
    "acprop": ("juntang-zhuang+ACProp-Optimizer", "optimizers/ACProp.py"),
    "adabound": ("Luolc+AdaBound", "adabound/adabound.py"),
    "adam_hd": ("gbaydin+hypergradient-descent", "hypergrad/adam_hd.py"),
    "adam_mini": ("zyushun+Adam-mini", "adam_mini/adam_mini.py"),
    "ademamix": ("apple+ml-ademamix", "pytorch/ademamix.py"),
    "adopt": ("iShohei220+adopt", "src/adopt/adopt.py"),
    "came": ("yangluo7+CAME", "came_pytorch/CAME.py"),
    "cautious/c_adamw": ("kyleliang919+C-Optim", "c_adamw.py"),
    "cautious/opt_utils": ("kyleliang919+C-Optim", "opt_utils.py"),
    "grokfast": ("ironjr+grokfast", "grokfast.py"),
    "kl_opt": ("yorkerlin+KL-Methods", "optim/kl_opt.py"),
    "laprop": ("Z-T-WANG+LaProp-Optimizer", "laprop.py"),
    "madgrad": ("facebookresearch+madgrad", "madgrad/madgrad.py"),
    "mars": ("AGI-Arena+MARS", "MARS/optimizers/mars.py"),
    "optimi/optimizer": ("warner-benjamin+optimi", "optimi/optimizer.py"),
    "optimi/stableadamw": ("warner-benjamin+optimi", "optimi/stableadamw.py"),
    "optimi/utils": ("warner-benjamin+optimi", "optimi/utils.py"),
    "sgd_hd": ("gbaydin+hypergradient-descent", "hypergrad/sgd_hd.py"),
    "simplified": ("DepenM+Simplified-AdEMAMix", "simplified_AdEMAMix.py"),
    "soap": ("nikhilvyas+SOAP", "soap.py"),
    "sophia": ("Liuhong99+Sophia", "sophia.py"),
    "spam": ("TianjinYellow+SPAM-Optimizer", "galore_torch/SPAM.py"),
}
"""Module -> repository and file."""

UNUSED = re.compile(r"^from (tabulate|colorama) .*$", re.MULTILINE)
"""Imports that are needed only for printing."""

NARROWED = ("kl_opt", "soap")
"""Modules that cast to float32 before they decompose; here they stay in float64."""


def write_modules(
    folder: Path, to: Path, sources: Mapping[str, tuple[str, str]] = MappingProxyType(SOURCES)
) -> None:
    """Writes the sources as modules of a temporary folder."""
    for name, (repository, path) in sources.items():
        clone = folder / repository
        is_git = (clone / "HEAD").exists() or (clone / ".git").exists()
        clone = clone if is_git else clone / "repo"
        text = subprocess.run(
            ["git", "-C", clone, "show", f"HEAD:{path}"], check=True, capture_output=True, text=True
        ).stdout
        if name in NARROWED:
            text = text.replace(".float()", ".double()")
        target = to / f"{name}.py"
        target.parent.mkdir(exist_ok=True)
        target.write_text(UNUSED.sub("", text), encoding="utf-8")


def run(
    make: Callable[[list[Any]], Any],
    before_step: Callable[..., None] | None = None,
    names: tuple[str, ...] = ("w", "b"),
) -> list[dict[str, Any]]:
    """Returns the parameters after the steps in `KEPT`."""
    params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start().items()}
    optimizer = make([params[k] for k in names])
    kept = []
    for t in range(STEPS):
        for k, g in gradients(t, {k: p.detach().numpy() for k, p in params.items()}).items():
            params[k].grad = torch.tensor(g)
        if before_step is not None:
            before_step(optimizer, params, t)
        optimizer.step()
        if t in KEPT:
            kept.append(
                {k: [float(f"{x:.15g}") for x in params[k].flatten().tolist()] for k in names}
            )
    return kept


class ThreeBetas(tuple):
    """Two betas of Simplified AdEMAMix, whose check reads a third."""

    def __getitem__(self, i: Any) -> Any:
        return 0.5 if i == 2 else tuple.__getitem__(self, i)


def newton_schulz(m: Any, steps: int = 5, eps: float = 1e-7) -> Any:
    """Follows MARS's iteration, without its rounding to bfloat16."""
    x = m / (m.norm() + eps)
    x = x.T if m.size(0) > m.size(1) else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if m.size(0) > m.size(1) else x


def at_last_parameters() -> Callable[..., None]:
    """Gives MARS the gradient of this step at the parameters before the last step."""
    last: dict[str, Any] = {}

    def before_step(optimizer: Any, params: Any, t: int) -> None:
        if t:
            for k, g in gradients(t, last).items():
                if k in params and params[k] in optimizer.state:
                    optimizer.state[params[k]]["last_grad"] = torch.tensor(g)
        last.update({k: p.detach().numpy().copy() for k, p in params.items()})

    return before_step


def estimating(interval: int) -> Callable[..., None]:
    """Gives SophiaG an estimate of the curvature after the steps 0, interval, ..."""

    def before_step(optimizer: Any, params: Any, t: int) -> None:
        if not t or (t - 1) % interval:
            return
        kept = {k: p.grad for k, p in params.items()}
        for k, g in drawn_gradients(t - 1).items():
            params[k].grad = torch.tensor(g)
        optimizer.update_hessian()
        for k, g in kept.items():
            params[k].grad = g

    return before_step


def filtered(function: Callable[..., Any], **options: Any) -> Callable[..., None]:
    """Applies a filter of Grokfast before each step."""
    module, memory = torch.nn.Module(), None

    def before_step(optimizer: Any, params: Any, t: int) -> None:
        nonlocal memory
        if not t:
            for k, p in params.items():
                module.register_parameter(k, p)
        memory = function(module, grads=memory, **options)

    return before_step


def results() -> dict[str, Any]:
    """Returns the parameters of all runs, by the names of `cases.py`."""
    get = importlib.import_module
    ademamix, simplified = get("ademamix").AdEMAMix, get("simplified").SimAdEMAMix
    adopt, laprop, came = get("adopt").ADOPT, get("laprop").LaProp, get("came").CAME
    madgrad, adabound = get("madgrad").MADGRAD, get("adabound").AdaBound
    mars, spam, mini = get("mars"), get("spam").AdamW, get("adam_mini").Adam_mini
    mars.NewtonSchulz = newton_schulz
    stable = get("optimi.stableadamw").StableAdamW
    grokfast, sgd = get("grokfast"), torch.optim.SGD
    cautious = get("cautious.c_adamw").AdamW
    two = ThreeBetas((0.99, 0.95))
    soap, kl = get("soap").SOAP, get("kl_opt").KLOpt

    def kullback_leibler(**options: Any) -> Any:
        # Only a matrix, because their code refuses vectors; by default it computes in bfloat16.
        def make(p: list[Any]) -> Any:
            return kl(p, lr=1e-2, weight_decay=0.0, cast_dtype=torch.float64, **options)

        return run(make, names=("w",))

    def named(*names: str) -> Callable[[list[Any]], Any]:
        def make(params: list[Any]) -> Any:
            pairs = list(zip(names, params, strict=True))
            tx = mini(pairs, lr=1e-2, dim=8, n_heads=2, verbose=False)
            tx.check_block_name = False
            return tx

        return make

    def reset_soon(params: list[Any]) -> Any:
        tx = spam(
            [{"params": params}],
            lr=1e-2,
            no_deprecation_warning=True,
            threshold=2,
            grad_accu_steps=2,
            warmup_steps=3,
            DeltaT=4,
        )
        tx.update_masks = lambda: None  # which prints
        return tx

    return {
        "ademamix": run(lambda p: ademamix(p, lr=1e-2, alpha=5.0, weight_decay=0.1)),
        "ademamix-warmup": run(
            lambda p: ademamix(
                p, lr=1e-2, betas=(0.9, 0.99, 0.999), alpha=5.0, beta3_warmup=8, alpha_warmup=6
            )
        ),
        "simplified_ademamix": run(
            lambda p: simplified(p, lr=1e-3, betas=two, alpha=2.0, weight_decay=0.1)
        ),
        "simplified_ademamix-warmup": run(
            lambda p: simplified(p, lr=1e-3, betas=two, beta1_warmup=7, min_beta1=0.5)
        ),
        "adopt": run(lambda p: adopt(p, lr=1e-2, foreach=False)),
        "adopt-unclipped": run(
            lambda p: adopt(p, lr=1e-2, betas=(0.8, 0.99), clip_lambda=None, foreach=False)
        ),
        "laprop": run(lambda p: laprop(p, lr=1e-2, betas=(0.9, 0.99))),
        "stable_adamw": run(
            lambda p: stable(p, lr=1e-2, weight_decay=0.1, foreach=False, triton=False)
        ),
        "came": run(lambda p: came(p, lr=1e-3, weight_decay=0.1)),
        # Their eps is added to the uncorrected root.
        "cautious_adamw": run(
            lambda p: cautious(
                p, lr=1e-2, eps=0.0, weight_decay=0.1, foreach=False, no_deprecation_warning=True
            )
        ),
        "madgrad": run(lambda p: madgrad(p, lr=1e-2, momentum=0.9, weight_decay=0.1)),
        "madgrad-alone": run(lambda p: madgrad(p, lr=1e-2, momentum=0.0)),
        "adabound": run(lambda p: adabound(p, lr=1e-2, weight_decay=0.1)),
        "adabound-amsbound": run(lambda p: adabound(p, lr=1e-2, gamma=0.3, amsbound=True)),
        "acprop": run(
            lambda p: get("acprop").ACProp(
                p,
                lr=1e-2,
                betas=(0.9, 0.99),
                eps=1e-16,
                weight_decay=0.1,
                weight_decouple=True,
                rectify=False,
            )
        ),
        "spam": run(
            lambda p: spam(
                [{"params": p}],
                lr=1e-2,
                no_deprecation_warning=True,
                threshold=2,
                grad_accu_steps=3,
            )
        ),
        "spam-reset": run(reset_soon),
        "adam_mini": run(named("norm1", "norm2")),
        "adam_mini-labels": run(named("embed", "bias")),
        "mars": run(lambda p: mars.MARS(p, lr=3e-3, weight_decay=0.1)),
        "mars-lion": run(lambda p: mars.MARS(p, lr=3e-3, mars_type="mars-lion")),
        "mars-shampoo": run(lambda p: mars.MARS(p, lr=3e-3, mars_type="mars-shampoo")),
        "mars-all": run(lambda p: mars.MARS(p, lr=3e-3, optimize_1d=True)),
        "mars-exact": run(
            lambda p: mars.MARS(p, lr=3e-3, is_approx=False, optimize_1d=True),
            at_last_parameters(),
        ),
        "sgd_hd": run(lambda p: get("sgd_hd").SGDHD(p, lr=1e-2, hypergrad_lr=1e-3)),
        "sgd_hd-nesterov": run(
            lambda p: get("sgd_hd").SGDHD(
                p, lr=1e-2, hypergrad_lr=1e-3, momentum=0.9, nesterov=True
            )
        ),
        "sophia": run(
            lambda p: get("sophia").SophiaG(p, lr=1e-2, rho=1e-3, weight_decay=0.1), estimating(3)
        ),
        # Only one parameter, because in their code each of several adds to the rate.
        "adam_hd": run(
            lambda p: get("adam_hd").AdamHD(p, lr=1e-2, hypergrad_lr=1e-4, eps=0.0), names=("b",)
        ),
        "grokfast": run(
            lambda p: sgd(p, lr=1e-2), filtered(grokfast.gradfilter_ema, alpha=0.9, lamb=2.0)
        ),
        "grokfast_ma": run(
            lambda p: sgd(p, lr=1e-2), filtered(grokfast.gradfilter_ma, window_size=4, lamb=5.0)
        ),
        "soap": run(lambda p: soap(p, lr=1e-2, weight_decay=0.0, precondition_frequency=2)),
        "soap-every-10": run(lambda p: soap(p, lr=1e-2, weight_decay=0.0)),
        "soap-options": run(
            lambda p: soap(
                p,
                lr=1e-2,
                betas=(0.9, 0.98),
                shampoo_beta=0.8,
                weight_decay=0.0,
                precondition_frequency=3,
                max_precond_dim=3,
                normalize_grads=True,
                correct_bias=False,
            )
        ),
        "kl_shampoo": kullback_leibler(precondition_frequency=2),
        "kl_shampoo-options": kullback_leibler(
            betas=(0.8, 0.9), shampoo_beta=0.7, normalize_grads=True, using_clamping=False
        ),
        "kl_soap": kullback_leibler(precondition_frequency=2, using_klsoap=True),
    }


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.compile = lambda f=None, **_: f if f is not None else lambda g: g
    with tempfile.TemporaryDirectory() as modules:
        write_modules(Path(sys.argv[1]), Path(modules))
        sys.path.insert(0, modules)
        text = json.dumps(results()).replace('], "', '],\n"').replace("}], ", "}],\n")
    Path(__file__).with_name("golden.json").write_text(text + "\n", encoding="utf-8")
