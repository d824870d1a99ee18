"""Time to trace and to lower one AdamW step, here and in optax.

A training script pays this before its first step, and again for each new shape. The two
libraries take turns, so that a busy machine slows both; every round starts from empty caches.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import functional_optim as fo

SHAPES = ((64, 64), (64, 256), (256, 64), (64,), (256,), (64, 192))
PHASES = ("trace", "lower", "trace + lower")
LIBRARIES = {"functional_optim": fo, "optax": optax}


def parameters(leaves: int, shapes: int) -> list[jax.Array]:
    """As many arrays as a model of a few dozen layers has, of as many shapes as asked for."""
    return [jnp.zeros(shape_of(i % shapes)) for i in range(leaves)]


def shape_of(number: int) -> tuple[int, ...]:
    """A shape of its own for each number: beyond the usual ones, some with a longer first axis."""
    longer, usual = divmod(number, len(SHAPES))
    first, *rest = SHAPES[usual]
    return (first + longer, *rest)


def step_of(library: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """AdamW as users write it, its defaults given, and the step around it."""
    tx = library.adamw(1e-3, weight_decay=1e-4)

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params)
        return library.apply_updates(params, updates), state

    return tx.init, step


def measure(library: Any, params: list[jax.Array]) -> dict[str, float]:
    """Seconds of processor time of each phase, from empty caches."""
    init, step = step_of(library)
    state = init(params)
    jax.clear_caches()
    start = time.process_time()
    traced = jax.jit(step).trace(params, state, params)
    middle = time.process_time()
    traced.lower()
    end = time.process_time()
    return dict(zip(PHASES, (middle - start, end - middle, end - start), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leaves", type=int, default=300)
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many distinct ones")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    params = parameters(arguments.leaves, arguments.shapes)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in LIBRARIES}
    for i in range(arguments.rounds + 1):
        for name, library in LIBRARIES.items():
            seconds = measure(library, params)
            if i > 0:  # the first round imports what is imported late
                rounds[name].append(seconds)

    print(f"jax {jax.__version__}, optax {optax.__version__}, functional_optim {fo.__version__},")
    print(f"Python {platform.python_version()}, {jax.default_backend()};", end=" ")
    print(f"adamw, {arguments.leaves} leaves of {arguments.shapes} shapes,", end=" ")
    print(f"median of {arguments.rounds} interleaved rounds (smallest to largest)\n")
    print(f"| phase | {' | '.join(LIBRARIES)} | optax / functional_optim |")
    print("|---|---|---|---|")
    for phase in PHASES:
        columns = {name: [seconds[phase] for seconds in rounds[name]] for name in LIBRARIES}
        shown = [
            f"{1e3 * statistics.median(c):.0f} ms ({1e3 * min(c):.0f} to {1e3 * max(c):.0f})"
            for c in columns.values()
        ]
        ours, theirs = columns.values()
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        print(f"| {phase} | {' | '.join(shown)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
