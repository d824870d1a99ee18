"""The time before the first step, of optax and ours in turn in one process.

`python benchmarks/first_step.py AdamW "256 leaves of 16" 9` prints medians of nine rounds, of the
processor's time and of the time on a clock, which `run.py` measures. Other work on the machine
changes the former less. With AdamW, a program written by hand takes part.
"""

import gc
import statistics
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
from suite.contestants import Pure, contestants
from suite.rules import RULES
from suite.trees import TREES


class AdamWByHand:
    """The smallest program with the meaning of AdamW, and six hyperparameters as arguments."""

    @staticmethod
    def init(params: Any) -> dict[str, Any]:
        """Makes the moments, the count and the hyperparameters."""
        numbers = {"lr": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "decay": 1e-4}
        zeros = jax.tree.map(jnp.zeros_like, params)
        state = {"mu": zeros, "nu": jax.tree.map(jnp.copy, zeros), "count": jnp.zeros((), int)}
        return state | {k: jnp.float32(x) for k, x in numbers.items()}

    @staticmethod
    def step(params: Any, state: dict[str, Any], grads: Any) -> Any:
        """Computes the new parameters and state; the function of a leaf is traced once a shape."""
        count = state["count"] + 1
        b1, b2 = state["b1"], state["b2"]
        c1, c2 = 1 - b1**count, jnp.sqrt(1 - b2**count)

        @jax.jit
        def leaf(p: Any, m: Any, v: Any, g: Any) -> Any:
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * (g * g)
            u = m / c1 / (jnp.sqrt(v) / c2 + state["eps"])
            return p - state["lr"] * (u + state["decay"] * p), m, v

        results = jax.tree.map(leaf, params, state["mu"], state["nu"], grads)
        new, mu, nu = (jax.tree.map(lambda _, x, i=i: x[i], params, results) for i in range(3))
        return new, state | {"mu": mu, "nu": nu, "count": count}


def main() -> None:
    """Measures the rule, tree and number of rounds of the command line, after one warm-up."""
    rule, tree, rounds = sys.argv[1], TREES[sys.argv[2]], int(sys.argv[3])
    found = dict(contestants(RULES[rule], tree, ["optax", "ours"]))
    if rule == "AdamW":
        found["by hand"] = Pure(AdamWByHand, AdamWByHand.step, tree)
    clocks = {"processor": time.process_time, "clock": time.perf_counter}
    times: dict[tuple[str, str], list[float]] = {(c, n): [] for c in clocks for n in found}
    for i in range(rounds + 1):
        for name, one in found.items():
            gc.collect()
            start = {c: clock() for c, clock in clocks.items()}
            one.first()
            if i > 0:
                for c, clock in clocks.items():
                    times[c, name].append(clock() - start[c])
    for (c, name), seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, times[c, "optax"], strict=True))
        print(f"{c}, {name}: {statistics.median(seconds):.2f} s, {ratio:.2f} of optax")


if __name__ == "__main__":
    main()
