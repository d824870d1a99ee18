"""Runs authors' implementations with our random numbers and signs, and writes their results.

    python -m tests.authors.make_sampled FOLDER

FOLDER holds clones of the repositories of `SOURCES`, as `owner+name`; torch is required.
`sampled.json` gets the parameters after two steps and after ten, in float64.
"""

import importlib
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch

from .make_golden import run, write_modules

SOURCES = {
    "apollo_torch/apollo": ("zhuhanqing+APOLLO", "apollo_torch/apollo.py"),
    "apollo_torch/random_projector": ("zhuhanqing+APOLLO", "apollo_torch/random_projector.py"),
    "apollo_torch/svd_projector": ("zhuhanqing+APOLLO", "apollo_torch/svd_projector.py"),
    "galore_torch/adamw": ("jiaweizzhao+GaLore", "galore_torch/adamw.py"),
    "galore_torch/galore_projector": ("jiaweizzhao+GaLore", "galore_torch/galore_projector.py"),
    "kron": ("evanatyourservice+kron_torch", "kron_torch/kron.py"),
    "psgd": ("lixilinx+psgd_torch", "psgd.py"),
}
"""Module -> repository and file."""

STAND_INS = {
    "transformers/utils/versions": "def require_version(_): pass\n",
    "galore_torch/galore_projector_tensor": "GaLoreProjectorTensor = None\n",
}
"""Modules that are imported, and not used."""

W, B = (1, (4, 3)), (0, (1, 3))
"""Index and shape of the leaves, in the order of the authors' parameters."""


def key_of(step: int, index: int) -> Any:
    """Returns the key that a rule gives to a leaf at a step, from 0."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(0), step), index)


def normal(key: Any, shape: tuple[int, ...]) -> Any:
    return torch.tensor(np.asarray(jax.random.normal(key, shape)))


def triangular() -> Iterator[Any]:
    """Yields the numbers of the geometry `EQ`, at each step that fits the factors."""
    for t in itertools.count():
        yield from (normal(key_of(t, index), shape) for index, shape in (W, B))


def rarely() -> Iterator[Any]:
    """Yields the same numbers, if the factors are fitted at every fourth step."""
    for t in itertools.count(3, 4):
        yield from (normal(key_of(t, index), shape) for index, shape in (W, B))


def symmetric(leaves: tuple[Any, ...], *dense: tuple[int, int]) -> Iterator[Any]:
    """Yields the numbers of `Q0.5EQ1.5`.

    They are the noise, and two subspaces of each axis with a dense factor.
    """
    for t in itertools.count():
        for index, shape in leaves:
            keys = jax.random.split(key_of(t, index), 5)
            yield normal(keys[0], shape)
            for i, n in dense if index else ():
                yield normal(keys[i], (32, n))
                yield normal(keys[i + 1], (32, n))


def projections(rank: int) -> Iterator[Any]:
    """Yields the projections of the weight, which change every fourth step."""
    for t in itertools.count(0, 4):
        words = jax.random.bits(key_of(t, 1), (2,), np.uint32)
        key = jax.random.wrap_key_data(words, impl="threefry2x32")
        yield normal(key, (3, rank)).T


def with_numbers(
    numbers: Iterator[Any], make: Callable[[list[Any]], Any], names: tuple[str, ...] = ("w", "b")
) -> Any:
    """Runs an optimizer while torch draws these numbers."""

    def draw(*args: Any, **_: Any) -> Any:
        shape = args[0] if len(args) == 1 else args
        return next(numbers).reshape(getattr(shape, "shape", shape)).clone()

    theirs = torch.randn, torch.randn_like, torch.rand
    # A random number of 1/2 neither balances factors nor leaves them as they are.
    torch.randn = torch.randn_like = draw
    torch.rand = lambda *_: torch.tensor(0.5)
    try:
        return run(make, names=names)
    finally:
        torch.randn, torch.randn_like, torch.rand = theirs


def signed_svd(matrix: Any, full_matrices: bool = True) -> Any:
    """Decomposes a matrix by singular values, with our signs of the left or the right vectors."""
    u, s, vh = SVD(matrix, full_matrices=full_matrices)

    def signs(x: Any) -> Any:
        return torch.sign(torch.gather(x, 0, x.abs().argmax(dim=0, keepdim=True)))

    return u * signs(u), s, vh * signs(vh.T).T


SVD = torch.linalg.svd


class WithClosure:
    """`step()` of an optimizer that differentiates the loss itself."""

    def __init__(self, optimizer: Any, params: list[Any]) -> None:
        self.optimizer, self.params = optimizer, params

    def step(self) -> None:
        self.optimizer.step(lambda: sum((p * p.grad).sum() for p in self.params))


def results() -> dict[str, Any]:
    """Returns the parameters of all runs, by the names of `sampled.py`."""
    get = importlib.import_module
    kron, psgd = get("kron").Kron, get("psgd").KronWhiten
    update_factors = get("kron")._update_precond

    def update_precond(factors: Any, exprs: Any, g: Any, *rest: Any) -> None:
        # Theirs adds noise to g in place, which is the momentum that is then preconditioned.
        update_factors(factors, exprs, g.clone(), *rest)

    get("kron")._update_precond = update_precond
    galore, apollo = get("galore_torch.adamw").AdamW, get("apollo_torch.apollo").AdamW

    def whiten(**options: Any) -> Callable[[list[Any]], Any]:
        return lambda p: WithClosure(psgd(p, lr_params=1e-2, **options), p)

    def low_rank(make: Any, **options: Any) -> Callable[[list[Any]], Any]:
        def groups(params: list[Any]) -> Any:
            w, b = params
            plain = {"params": [b], "eps": 0.0}
            group = {"params": [w], "update_proj_gap": 4, "proj_type": "std", **options}
            rate = group.pop("lr", 1e-2)
            return make([group, plain], lr=rate, no_deprecation_warning=True)

        return groups

    random = {"proj": "random"}
    return {
        "psgd_kron": with_numbers(
            triangular(),
            lambda p: kron(p, lr=1e-2, weight_decay=0.1, precond_dtype=torch.float64),
        ),
        "psgd_kron-rare": with_numbers(
            rarely(),
            lambda p: kron(
                p,
                lr=1e-2,
                b1=0.5,
                preconditioner_update_probability=0.3,
                momentum_into_precond_update=False,
                precond_init_scale=0.5,
                memory_save_mode="one_diag",
                precond_dtype=torch.float64,
            ),
        ),
        "psgd_kron-symmetric": with_numbers(
            symmetric((W, B), (3, 3)), whiten(preconditioner_init_scale=1.0)
        ),
        "psgd_kron-dense": with_numbers(
            symmetric((W,), (1, 4), (3, 3)),
            whiten(
                preconditioner_max_skew=float("inf"),
                preconditioner_init_scale=3.0,
                lr_preconditioner=0.5,
                damping=0.01,
                grad_clip_max_amps=(2.0, 1.5),
            ),
            names=("w",),  # a vector would have a dense factor too
        ),
        "galore": run(low_rank(galore, rank=2, scale=0.25, eps=0.0)),
        "galore-longer": run(low_rank(galore, rank=1, scale=1.0, eps=0.0, proj_type="reverse_std")),
        "apollo": with_numbers(
            projections(2),
            low_rank(apollo, rank=2, scale=2.0, scale_type="channel", eps=0.1, **random),
        ),
        "apollo_mini": with_numbers(
            projections(1),
            low_rank(apollo, rank=1, scale=128.0, scale_type="tensor", lr=1e-3, **random),
        ),
    }


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    jax.config.update("jax_enable_x64", True)
    torch.compile = lambda f=None, **_: f if f is not None else lambda g: g
    # They solve triangular systems and decompose matrices in float32.
    torch.Tensor.float = torch.Tensor.double
    torch.linalg.svd = signed_svd
    with tempfile.TemporaryDirectory() as modules:
        write_modules(Path(sys.argv[1]), Path(modules), SOURCES)
        for name, text in STAND_INS.items():
            target = Path(modules, f"{name}.py")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        sys.path.insert(0, modules)
        text = json.dumps(results()).replace('], "', '],\n"').replace("}], ", "}],\n")
    Path(__file__).with_name("sampled.json").write_text(text + "\n", encoding="utf-8")
