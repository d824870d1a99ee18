"""Time and memory of a step on few rows of a large table, sparse and dense.

Both steps are of one rule, one with the gradient as a BCOO of the rows, one with all rows. They
take turns, so that a busy machine slows both.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo

RULES = {
    "sgd": fo.sgd(0.1),
    "adagrad": fo.adagrad(0.1),
    "sparse_adam": fo.sparse_adam(0.1),
}
KINDS = ("sparse", "dense")


def gradients(rows: int, shape: tuple[int, int]) -> dict[str, Any]:
    """Draws a gradient in both forms: random rows, of which some may be the same."""
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.standard_normal((rows, shape[1]), np.float32))
    sparse = fo.row_sparse(values, jnp.asarray(rng.integers(0, shape[0], rows)), shape)
    return {"sparse": sparse, "dense": sparse.todense()}


class Run:
    """A training run: parameters and state that each step donates."""

    def __init__(self, tx: fo.GradientTransformation, shape: tuple[int, int], grads: Any):
        def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
            updates, state = tx.update(grads, state, params)
            return fo.apply_updates(params, updates), state

        params = jnp.zeros(shape)
        self._held = params, tx.init(params)
        self._grads = grads
        jitted = jax.jit(step, donate_argnums=(0, 1))
        self._step: Callable[..., Any] = jitted.lower(*self._held, grads).compile()

    @property
    def temporary(self) -> int:
        """Bytes that a step needs besides its arguments and results."""
        return int(self._step.memory_analysis().temp_size_in_bytes)  # type: ignore[attr-defined]

    def step(self) -> float:
        """Makes a step; returns its seconds."""
        start = time.perf_counter()
        self._held = self._step(*self._held, self._grads)
        jax.block_until_ready(self._held)
        return time.perf_counter() - start


def measure(tx: fo.GradientTransformation, rows: int, shape: tuple[int, int], rounds: int) -> str:
    """Returns the cells of a rule in the table."""
    grads = gradients(rows, shape)
    runs = {kind: Run(tx, shape, grads[kind]) for kind in KINDS}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for i in range(rounds + 1):
        for kind, run in runs.items():
            elapsed = run.step()
            if i > 0:  # the first touches memory for the first time
                seconds[kind].append(elapsed)
    cells = [
        f"{1e3 * statistics.median(s):.2f} ms ({1e3 * min(s):.2f} to {1e3 * max(s):.2f})"
        for s in seconds.values()
    ]
    pairs = zip(seconds["dense"], seconds["sparse"], strict=True)
    cells.append(f"{statistics.median(d / s for d, s in pairs):.0f}")
    cells += [f"{run.temporary / 2**20:.1f} MiB" for run in runs.values()]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--table", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    shape = arguments.table, arguments.width
    print(f"jax {jax.__version__}, functional_optim {fo.__version__},", end=" ")
    print(f"Python {platform.python_version()}, {jax.devices()[0].device_kind};", end=" ")
    print(f"{arguments.rows} rows of {shape[0]} x {shape[1]},", end=" ")
    print(f"median of {arguments.rounds} interleaved rounds (smallest to largest)\n")
    print("| rule | sparse | dense | dense / sparse | memory, sparse | memory, dense |")
    print("|---|---|---|---|---|---|")
    for name, tx in RULES.items():
        print(f"| {name} | {measure(tx, arguments.rows, shape, arguments.rounds)} |")


if __name__ == "__main__":
    main()
