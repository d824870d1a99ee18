"""Time and bytes of Adam whose moments are held in float32, in bfloat16 and in 8 bits.

The runs take turns, so that a busy machine slows all. Bytes are those of the state between two
steps; the temporary ones are those that the compiled step needs beside what it is given.
"""

import argparse
import platform
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

import functional_optim as fo

FORMS: dict[str, dict[str, Any] | None] = {
    "float32": None,
    "bfloat16": {"form": "bfloat16"},
    "bfloat16, at random": {"form": "bfloat16", "key": 0},
    "8bit": {"form": "8bit"},
    "8bit, at random": {"form": "8bit", "key": 0},
}


def transformation(name: str) -> fo.GradientTransformation:
    """AdamW with its moments in a form of `FORMS`."""
    form, tx = FORMS[name], fo.adamw(1e-3)
    return tx if form is None else fo.low_bit_state(tx, **form)


class Run:
    """A training run: parameters and state that each step donates."""

    def __init__(self, tx: fo.GradientTransformation, shapes: list[tuple[int, ...]]):
        params = [jnp.ones(shape) for shape in shapes]
        self._grads = [
            jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)
        ]
        self._held = params, tx.init(params)
        step = jax.jit(
            lambda params, state, grads: fo.apply_gradients(tx, grads, state, params),
            donate_argnums=(0, 1),
        )
        self._step: Any = step.lower(*self._held, self._grads).compile()

    @property
    def held(self) -> int:
        """Bytes of the state."""
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(self._held[1]))

    @property
    def temporary(self) -> int:
        """Bytes that a step needs beside what it is given and what it gives."""
        return int(self._step.memory_analysis().temp_size_in_bytes)

    def step(self) -> float:
        """Makes a step; returns its seconds."""
        start = time.perf_counter()
        self._held = jax.block_until_ready(self._step(*self._held, self._grads))
        return time.perf_counter() - start


def measure(
    shapes: list[tuple[int, ...]], repeats: int, names: tuple[str, ...] = tuple(FORMS)
) -> dict[str, tuple[float, int, int]]:
    """For each form the median of a step's seconds, bytes held, and temporary bytes."""
    runs = {name: Run(transformation(name), shapes) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for i in range(repeats + 1):
        for name, run in runs.items():
            seconds = run.step()
            if i:  # the first step touches memory that no step has touched
                times[name].append(seconds)
    return {k: (statistics.median(times[k]), run.held, run.temporary) for k, run in runs.items()}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2560, help="of each leaf; columns are 4096")
    parser.add_argument("--leaves", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    found = measure([(arguments.rows, 4096)] * arguments.leaves, arguments.repeats)
    size = arguments.rows * 4096 * arguments.leaves
    print(f"{platform.machine()}, jax {jax.__version__}, {jax.default_backend()}; {size:,} numbers")
    print(f"{'moments':22}{'ms a step':>12}{'bytes each':>12}{'temporary MB':>14}")
    for name, (seconds, held, temporary) in found.items():
        print(f"{name:22}{1e3 * seconds:12.1f}{held / size:12.2f}{temporary / 1e6:14.1f}")


if __name__ == "__main__":
    main()
