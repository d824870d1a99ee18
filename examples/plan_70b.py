"""Plans the state of a transformer of 70 billion parameters for 1,024 devices, without a device.

    python examples/plan_70b.py

This program prints plans for five optimizers: AdamW, AdamW whose state is divided further
(`zero1`), AdamW with its first moment in bfloat16, AdamW with both moments in 8 bits, and
Adafactor. A plan lists the arrays of the state for one matrix, their shardings, and the bytes on
each device. No array of the model is allocated, and no accelerator is needed.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, PartitionSpec

import functional_optim as fo
from functional_optim.sharding import zero1

LAYERS, WIDTH, HIDDEN, VOCABULARY = 80, 8192, 28_672, 128_256
KEYS = 8 * 128
"""Eight heads of keys and values."""

MESH = AbstractMesh((16, 64), ("data", "model"))


def model() -> dict[str, object]:
    """Returns the shapes of all parameters, in bfloat16."""

    def layer() -> dict[str, object]:
        return {
            "query": shape(WIDTH, WIDTH),
            "key": shape(WIDTH, KEYS),
            "value": shape(WIDTH, KEYS),
            "out": shape(WIDTH, WIDTH),
            "gate": shape(WIDTH, HIDDEN),
            "up": shape(WIDTH, HIDDEN),
            "down": shape(HIDDEN, WIDTH),
            "norms": shape(2, WIDTH),
        }

    return {
        "embedding": shape(VOCABULARY, WIDTH),
        "layers": [layer() for _ in range(LAYERS)],
        "norm": shape(WIDTH),
        "head": shape(WIDTH, VOCABULARY),
    }


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    """Returns the shape of a parameter, in place of the parameter."""
    return jax.ShapeDtypeStruct(sizes, jnp.bfloat16)


def over_model(params: object) -> object:
    """Divides matrices over 64 devices along their last axis; replicates small parameters."""
    return along(params, PartitionSpec(None, "model"))


def over_both(params: object) -> object:
    """Divides matrices over all devices, as in fully sharded data parallelism."""
    return along(params, PartitionSpec("data", "model"))


def along_blocks(params: object) -> object:
    """Divides the last axis over fewer devices, which then have whole blocks of 256 numbers."""
    return along(params, PartitionSpec("model", "data"))


def along(params: object, matrix: PartitionSpec) -> object:
    """Returns the spec for matrices, and an empty spec for other parameters."""
    large = WIDTH * KEYS
    return jax.tree.map(lambda p: matrix if p.size >= large else PartitionSpec(), params)


def decayed(params: object) -> object:
    """Selects the weights; the scales of norms do not decay."""
    return jax.tree.map(lambda p: p.size >= WIDTH * KEYS, params)


ADAMW = fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(3e-4, b2=0.95, mask=decayed))

PLANS = {
    "AdamW": (ADAMW, over_model),
    "AdamW, zero1": (zero1(ADAMW, MESH, "data", specs=over_model), over_model),
    "AdamW, first moment in bfloat16": (fo.adamw(3e-4, mu_dtype=jnp.bfloat16), over_both),
    "AdamW, moments in 8 bits": (fo.low_bit_state(fo.adamw(3e-4)), along_blocks),
    "Adafactor": (fo.adafactor(1e-2), over_both),
}
"""Name -> a transformation, and how the parameters are sharded."""


def main() -> None:
    """Prints all plans."""
    params = model()
    for name, (tx, specs) in PLANS.items():
        plan = fo.describe(tx, params, specs(params), MESH)
        print(f"{name}\n{plan['layers.0.up']}\n{plan.total}\n")


if __name__ == "__main__":
    main()
