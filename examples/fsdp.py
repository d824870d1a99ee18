"""Trains with fully sharded data parallelism (FSDP) on eight devices, which a CPU can simulate.

    python examples/fsdp.py

Each device has an eighth of the parameters, of the optimizer's state and of the batch. No wrapper
is needed: the arrays have shardings, and the program is the same on eight accelerators. It compares
the losses with a run on one device. The images come with scikit-learn (the extra `demo`). The
program takes half a minute on two cores.
"""

import argparse
import os
from collections.abc import Sequence
from typing import Any

# The flag must be set before JAX makes its devices. It affects only the devices of a CPU.
os.environ["XLA_FLAGS"] = (
    f"--xla_force_host_platform_device_count=8 {os.environ.get('XLA_FLAGS', '')}"
)

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.demo import data, model
from functional_optim.sharding import state_shardings

TX = fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(1e-3))


def divided(shape: jax.ShapeDtypeStruct, mesh: Mesh) -> NamedSharding:
    """Shards the first axis that the devices divide evenly; replicates other arrays."""
    axis = next((i for i, n in enumerate(shape.shape) if n % mesh.size == 0), None)
    spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "data")
    return NamedSharding(mesh, spec)


def train(mesh: Mesh, steps: int) -> list[float]:
    """Trains on the devices of a mesh, and returns the losses."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    places = jax.tree.map(lambda x: divided(x, mesh), shapes)
    specs = jax.tree.map(lambda place: place.spec, places)
    state_places = state_shardings(TX, shapes, specs, mesh)
    print(f"devices: {mesh.size}. {fo.describe(TX, shapes, specs, mesh).total}")

    def step(params: Any, state: Any, images: jax.Array, labels: jax.Array) -> Any:
        loss, grads = jax.value_and_grad(model.loss_fn)(params, images, labels)
        return *fo.apply_gradients(TX, grads, state, params), loss

    # Parameters are made with their shardings, so no device ever has all of them.
    params = jax.jit(model.init, out_shardings=places)(jax.random.key(0))
    state = jax.jit(TX.init, out_shardings=state_places)(params)
    run = jax.jit(step, donate_argnums=(0, 1), out_shardings=(places, state_places, None))

    digits = data.load(seed=0)
    images, labels = np.asarray(digits.train_images), np.asarray(digits.train_labels)
    batch = NamedSharding(mesh, PartitionSpec("data"))
    losses = []
    for i in range(steps):
        chosen = np.random.default_rng(i).integers(len(images), size=64)
        there = jax.device_put((images[chosen], labels[chosen]), batch)
        # Simulated devices share threads, so a step has to end before the next one begins.
        params, state, loss = jax.block_until_ready(run(params, state, *there))
        losses.append(float(loss))
    kernel = params["hidden_1"]["kernel"]
    shard = kernel.addressable_shards[0].data
    print(f"  a device has {shard.shape} of a kernel of shape {kernel.shape}")
    return losses


def main(arguments: Sequence[str] | None = None) -> float:
    """Trains on all devices and on one, and returns the largest difference of the losses."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100)
    steps = parser.parse_args(arguments).steps
    meshes = [
        jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:n])
        for n in (jax.device_count(), 1)
    ]
    losses, alone = (train(mesh, steps) for mesh in meshes)
    apart = max(abs(a - b) for a, b in zip(losses, alone, strict=True))
    print(f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} at the end; it differs by at most")
    print(f"{apart:.1e} from the loss on one device, because sums have another order")
    return apart


if __name__ == "__main__":
    main()
