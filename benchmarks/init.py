"""Time of `adamw(1e-3).init`, of this library and optax in turn, in milliseconds of the processor.

    python benchmarks/init.py [--repeat 15]

Shapes that are new compile a program for their zeros; this is measured for 20 shapes at each turn.
"""

import argparse
import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import functional_optim as fo

LIBRARIES = {"functional_optim": fo, "optax": optax}


def tree(layers: int) -> list[Any]:
    return [{"kernel": jnp.ones((8, 16)), "bias": jnp.ones(16)} for _ in range(layers)]


def new_shapes(sizes: Iterator[int], n: int = 20) -> list[Any]:
    return [jnp.asarray(np.ones((3, size), np.float32)) for size in itertools.islice(sizes, n)]


def cases() -> dict[str, Callable[[Any], Callable[[], Any]]]:
    """Returns, for each case, what makes the function that is measured from a library."""
    sizes, two, hundred = itertools.count(2), tree(1), tree(50)

    def init(tx: Any, params: Any) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(tx.init(params))

    return {
        "2 leaves": lambda library: init(library.adamw(1e-3), two),
        "100 leaves": lambda library: init(library.adamw(1e-3), hundred),
        "20 new shapes": lambda library: init(library.adamw(1e-3), new_shapes(sizes)),
        # A new function each time, because JAX keeps the results of one that it has traced.
        "100 leaves, abstract": lambda library: (
            lambda: jax.eval_shape(lambda p: library.adamw(1e-3).init(p), hundred)
        ),
    }


def measured(function: Callable[[], Any]) -> float:
    gc.collect()
    start = time.process_time()
    function()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=15, help="calls of each")
    repeat = parser.parse_args().repeat
    print(f"{'':24}" + "".join(f"{name:>20}" for name in LIBRARIES) + f"{'ratio':>8}")
    for label, prepare in cases().items():
        times: dict[str, list[float]] = {name: [] for name in LIBRARIES}
        for _ in range(repeat + 1):
            for name, library in LIBRARIES.items():
                times[name].append(measured(prepare(library)))
        ours, theirs = (statistics.median(x[1:]) for x in times.values())  # the first is warm-up
        print(f"{label:24}{ours:20.1f}{theirs:20.1f}{ours / theirs:8.2f}", flush=True)


if __name__ == "__main__":
    main()
