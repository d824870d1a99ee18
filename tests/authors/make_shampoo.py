"""Runs Meta's Distributed Shampoo on the steps of `problem.py`, and writes its results.

    python -m tests.authors.make_shampoo FOLDER

FOLDER holds a clone of facebookresearch/optimizers, as `facebookresearch+optimizers`; torch is
required. `shampoo.json` gets the parameters after two steps and after ten, in float64.
"""

import functools
import io
import json
import logging
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

RATE = 2.0**-7
"""Meta's code keeps the learning rate in float32, which has this number."""

REPOSITORY, PACKAGE = "facebookresearch+optimizers", "distributed_shampoo"


def write_modules(folder: Path, to: Path) -> None:
    """Writes the package into a temporary folder."""
    clone = folder / REPOSITORY
    is_git = (clone / "HEAD").exists() or (clone / ".git").exists()
    clone = clone if is_git else clone / "repo"
    command = ["git", "-C", str(clone), "archive", "HEAD", PACKAGE]
    content = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(to, filter="data")


def in_descending_order(run: Callable[[], Any]) -> Any:
    """Runs code with sorts in descending order.

    Meta's code puts the smallest eigenvalue first, and then one iteration per step does not
    converge.
    """
    import torch

    ascending = torch.Tensor.sort
    torch.Tensor.sort = lambda self, **options: ascending(self, descending=True, **options)
    try:
        return run()
    finally:
        torch.Tensor.sort = ascending


def results() -> dict[str, Any]:
    """Returns the parameters of all runs, by the names of `shampoo.py`."""
    import distributed_shampoo as meta
    import torch
    from distributed_shampoo.shampoo_types import ClassicMomentumConfig as classic

    from .make_golden import run

    dtypes = {"factor_matrix_dtype": torch.float64}

    def roots(config: Any = meta.DefaultEigenConfig, **options: Any) -> Any:
        return meta.RootInvShampooPreconditionerConfig(
            amortized_computation_config=config,
            inv_factor_matrix_dtype=torch.float64,
            **dtypes,
            **options,
        )

    def shampoo(names: tuple[str, ...] = ("w", "b"), **options: Any) -> list[dict[str, Any]]:
        # Otherwise it would make vectors of small matrices.
        axes = meta.SingleDeviceDistributedConfig(target_parameter_dimensionality=2)
        preconditioner_config = options.pop("preconditioner_config", roots())
        return run(
            functools.partial(
                meta.DistributedShampoo,
                lr=RATE,
                preconditioner_config=preconditioner_config,
                distributed_config=axes,
                **options,
            ),
            names=names,
        )

    # Here, the optimizer has Adam for vectors.
    matrix = functools.partial(shampoo, ("w",), epsilon=1e-6, weight_decay=0.1)
    momentum = functools.partial(
        matrix, betas=(0.9, 0.9), grafting_config=meta.SGDPreconditionerConfig()
    )
    graft = meta.AdamPreconditionerConfig(beta2=0.97, epsilon=1e-8)
    adam = {
        "betas": (0.9, 0.99),
        "weight_decay": 0.1,
        "grafting_config": graft,
    }
    pseudo = meta.EigenConfig(
        rank_deficient_stability_config=meta.PseudoInverseConfig(rank_rtol=None)
    )
    qr = meta.EigendecomposedShampooPreconditionerConfig(
        amortized_computation_config=meta.QREigendecompositionConfig(),
        factor_matrix_eigenvectors_dtype=torch.float64,
        factor_matrix_eigenvalues_dtype=torch.float64,
        **dtypes,
    )
    return {
        "shampoo": shampoo(),
        "shampoo-frequency": shampoo(epsilon=1e-6, precondition_frequency=2),
        "shampoo-adam": shampoo(epsilon=1e-9, **adam),
        "shampoo-adam-frequency": shampoo(epsilon=1e-6, precondition_frequency=2, **adam),
        "shampoo-late": shampoo(
            betas=(0.0, 0.9),
            precondition_frequency=2,
            start_preconditioning_step=5,
            use_bias_correction=False,
        ),
        "shampoo-late-adagrad": shampoo(
            betas=(0.5, 0.9),
            start_preconditioning_step=4,
            grafting_config=meta.AdaGradPreconditionerConfig(),
        ),
        "shampoo-rmsprop": shampoo(
            betas=(0.9, 0.9),
            grafting_config=meta.RMSpropPreconditionerConfig(beta2=0.9, epsilon=1e-10),
        ),
        "shampoo-sgd": shampoo(
            start_preconditioning_step=3, grafting_config=meta.SGDPreconditionerConfig()
        ),
        "shampoo-exponent": shampoo(
            epsilon=1e-3,
            preconditioner_config=roots(inverse_exponent_override={1: 0.3, 2: 0.3}),
        ),
        "shampoo-newton": shampoo(
            betas=(0.9, 0.9),
            epsilon=1e-2,
            precondition_frequency=3,
            preconditioner_config=roots(meta.CoupledNewtonConfig()),
        ),
        "shampoo-qr": in_descending_order(
            lambda: shampoo(epsilon=1e-2, precondition_frequency=2, preconditioner_config=qr)
        ),
        "shampoo-pseudo": shampoo(epsilon=0.0, preconditioner_config=roots(pseudo)),
        "shampoo-momentum": momentum(iterate_averaging_config=classic(momentum=0.75)),
        "shampoo-nesterov": momentum(
            iterate_averaging_config=classic(momentum=0.75, use_nesterov=True)
        ),
        "shampoo-blocks": matrix(
            max_preconditioner_dim=2, precondition_frequency=2, grafting_config=graft
        ),
    }


def main() -> None:
    """Writes the results of all runs."""
    import torch

    torch.set_default_dtype(torch.float64)
    logging.disable()
    with tempfile.TemporaryDirectory() as modules:
        write_modules(Path(sys.argv[1]), Path(modules))
        sys.path.insert(0, modules)
        text = json.dumps(results()).replace('], "', '],\n"').replace("}], ", "}],\n")
    Path(__file__).with_name("shampoo.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
