"""Program of one of several processes that share Muon's work: `python -m ... PORT PROCESSES RANK`.

Each process has one device. It checks that each mode of `MatrixSharding` gives the parameters that
it computes without the other processes.
"""

import sys

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.sharding import MatrixSharding, zero1

from .processes import joined_mesh

SHAPES = {"stack": (4, 8, 16), "tall": (24, 8), "wide": (8, 16)}
SPECS = {"stack": PartitionSpec("data"), "tall": PartitionSpec("data"), "wide": PartitionSpec()}
AXES = {"stack": fo.MatrixAxes(1, 2), "tall": fo.MatrixAxes(), "wide": fo.MatrixAxes()}


def two_steps(tx, params, gradients):
    """Returns the parameters after two steps with the same gradients."""

    @jax.jit
    def step(params, state, gradients):
        updates, state = tx.update(gradients, state, params)
        return fo.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(2):
        params, state = step(params, state, gradients)
    return params


def main(port: str, processes: str, rank: str) -> None:
    """Compares the result of every mode with the result on one device."""
    mesh = joined_mesh(port, processes, rank)
    rng = np.random.default_rng(0)
    params, gradients = (
        {k: rng.standard_normal(shape).astype(np.float32) for k, shape in SHAPES.items()}
        for _ in range(2)
    )

    def on_mesh(tree):
        return {
            k: jax.make_array_from_callback(
                x.shape, NamedSharding(mesh, SPECS[k]), lambda index, x=x: x[index]
            )
            for k, x in tree.items()
        }

    def muon(matrix_sharding=None):
        return fo.muon(0.1, muon_weight_dimension_numbers=AXES, matrix_sharding=matrix_sharding)

    expected = two_steps(muon(), *jax.device_put((params, gradients), jax.local_devices()[0]))
    for mode in ("gather", "divide", "tensor_parallel"):
        tx = muon(MatrixSharding(mode, "data", mesh))
        for name, sharded in {mode: tx, f"{mode} with zero1": zero1(tx, mesh, "data")}.items():
            actual = two_steps(sharded, on_mesh(params), on_mesh(gradients))
            for k, x in actual.items():
                whole = process_allgather(x, tiled=True)
                np.testing.assert_allclose(
                    whole, expected[k], rtol=0, atol=2e-6, err_msg=f"{name} {k}"
                )
            print(f"{name}: the numbers of one device", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
