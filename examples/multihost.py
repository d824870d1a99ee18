"""Trains the demonstration's network on several processes, and compares with a run on one.

    python examples/multihost.py --processes 2 --then 4

This command trains on two processes, saves a checkpoint whose state is divided among them,
continues from it on four, and compares the parameters with a run on one process that is never
interrupted. All runs have four devices in total, so they compute the same sums. On a cluster, start
`train` once on each machine, and omit the arguments that `jax.distributed.initialize` finds itself.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DEVICES = 4


def main() -> None:
    """Runs all processes, and prints how far their parameters are apart."""
    arguments = _arguments()
    if arguments.rank is not None:
        train(arguments)
        return
    import numpy as np

    half = arguments.steps // 2
    with tempfile.TemporaryDirectory() as folder:
        run(folder, 1, "alone", until=arguments.steps)
        run(folder, arguments.processes, "first", until=half)
        run(folder, arguments.then, "second", until=arguments.steps, resume="first")
        alone, after = (np.load(Path(folder, f"{name}.npz")) for name in ("alone", "second"))
        apart = max(float(np.abs(alone[k] - after[k]).max()) for k in alone.files)
    print(
        f"{arguments.steps} steps on 1 process, and {half} on {arguments.processes} and the others "
        f"on {arguments.then}: the parameters are at most {apart:.1e} apart."
    )
    if not apart <= 1e-6:
        sys.exit("They should be the same.")


def run(folder: str, processes: int, name: str, **options: object) -> None:
    """Starts the processes of one run, and waits for them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    more = [f"--{k}={v}" for k, v in options.items()]
    common = [f"--folder={folder}", f"--name={name}", f"--port={port}", f"--processes={processes}"]
    count = f"--xla_force_host_platform_device_count={DEVICES // processes}"
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": count}
    started = [
        subprocess.Popen([sys.executable, __file__, *common, *more, f"--rank={rank}"], env=env)
        for rank in range(processes)
    ]
    codes = [process.wait() for process in started]
    if any(codes):
        sys.exit(f"{name}: a process failed.")


def train(arguments: argparse.Namespace) -> None:
    """Trains in one of the processes."""
    import jax
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    import functional_optim as fo
    from functional_optim.demo import data, model
    from functional_optim.interop import orbax
    from functional_optim.sharding import scattered_value_and_grad, zero1

    if arguments.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        where = f"localhost:{arguments.port}"
        jax.distributed.initialize(where, arguments.processes, arguments.rank)
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    divided = NamedSharding(mesh, PartitionSpec("data"))

    def put(batch: np.ndarray) -> jax.Array:
        """Makes a global batch; each process provides the part of its own devices."""
        return jax.make_array_from_callback(batch.shape, divided, lambda index: batch[index])

    tx = zero1(fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(1e-3)), mesh, "data")
    value_and_grad = scattered_value_and_grad(model.loss_fn, mesh, "data")

    @jax.jit
    def step(params, state, images, labels):  # type: ignore[no-untyped-def]
        loss, grads = value_and_grad(params, images, labels)
        updates, state = tx.update(grads, state, params)
        return fo.apply_updates(params, updates), state, loss

    params = jax.jit(model.init, out_shardings=everywhere)(jax.random.key(0))
    state, start = tx.init(params), 0
    if arguments.resume:
        path = Path(arguments.folder, arguments.resume)
        found = orbax.load(path, params=params, state=state)
        params, state, start = found.params, found.state, found.step or 0
    digits = data.load(seed=0)
    images, labels = np.asarray(digits.train_images), np.asarray(digits.train_labels)
    for i in range(start, arguments.until):
        chosen = np.random.default_rng(i).integers(len(images), size=64)
        params, state, loss = step(params, state, put(images[chosen]), put(labels[chosen]))
        jax.block_until_ready(loss)
    path = Path(arguments.folder, arguments.name)
    orbax.save(path, params=params, state=state, step=arguments.until)
    if arguments.rank == 0:
        share = state.scale_by_adam.mu["hidden_1"]["kernel"].addressable_shards[0].data.shape
        print(
            f"{arguments.name}: step {start} to {arguments.until} on {arguments.processes} "
            f"processes, loss {loss:.4f}; a device has {share} of mu (256, 256).",
            flush=True,
        )
        flat, _ = jax.tree_util.tree_flatten_with_path(params)
        arrays: dict[str, Any] = {jax.tree_util.keystr(k): np.asarray(x) for k, x in flat}
        np.savez(f"{path}.npz", **arrays)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    counts = [n for n in range(1, DEVICES + 1) if DEVICES % n == 0]
    parser.add_argument("--processes", type=int, default=2, choices=counts)
    parser.add_argument("--then", type=int, default=4, choices=counts)
    parser.add_argument("--steps", type=int, default=20)
    for name in ("--folder", "--name", "--resume"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--rank", "--port", "--until"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
