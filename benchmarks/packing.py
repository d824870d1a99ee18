"""A step on very many small parameters, and the time before the first: `packed` beside optax.

All contestants run in one process and take turns, so that a busy machine slows all alike.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

import functional_optim as fo

Times = dict[str, list[float]]
Contestant = tuple[Callable[..., Any], Callable[..., Any]]

PHASES = ("trace", "lower", "compile")


def parameters(leaves: int, shape: tuple[int, ...]) -> list[jax.Array]:
    """As many arrays of one shape as asked for."""
    values = jax.random.normal(jax.random.key(0), (leaves, *shape))
    return [jnp.array(x) for x in values]


def contestants(max_size: int = 4096) -> Mapping[str, Contestant]:
    """Name -> `init`, and a step `(params, state, grads) -> (params, state)` of AdamW."""
    theirs, ours = optax.adamw(1e-3, weight_decay=1e-4), fo.adamw(1e-3, weight_decay=1e-4)

    def optax_step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = theirs.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def of(tx: fo.GradientTransformation) -> Contestant:
        return tx.init, lambda params, state, grads: fo.apply_gradients(tx, grads, state, params)

    return {
        "optax": (theirs.init, optax_step),
        "ours": of(ours),
        "packed": of(fo.packed(ours, max_size)),
    }


def first_step(one: Contestant, params: list[jax.Array]) -> dict[str, float]:
    """Processor seconds of what precedes the first step, from empty caches."""
    init, step = one
    state = init(params)
    jax.clear_caches()
    times = [time.process_time()]
    traced = jax.jit(step, donate_argnums=(0, 1)).trace(params, state, params)
    times.append(time.process_time())
    lowered = traced.lower()
    times.append(time.process_time())
    lowered.compile()
    times.append(time.process_time())
    return {k: b - a for k, a, b in zip(PHASES, times, times[1:], strict=False)}


def step_times(found: Mapping[str, Contestant], params: list[jax.Array], rounds: int) -> Times:
    """Seconds of a donated step, until the results are there; the first rounds do not count."""
    jitted = {name: jax.jit(step, donate_argnums=(0, 1)) for name, (_, step) in found.items()}
    carry = {
        name: ([jnp.array(p) for p in params], init(params)) for name, (init, _) in found.items()
    }
    times: Times = {name: [] for name in found}
    for i in range(rounds + 3):
        for name, step in jitted.items():
            start = time.perf_counter()
            carry[name] = jax.block_until_ready(step(*carry[name], params))
            if i >= 3:
                times[name].append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leaves", type=int, default=1000)
    parser.add_argument("--shape", type=int, nargs="*", default=(32, 32))
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--first", type=int, default=2, help="rounds of what precedes a step")
    arguments = parser.parse_args()

    params, found = parameters(arguments.leaves, tuple(arguments.shape)), contestants()
    with fo.native.enabled(False):
        report(params, found, arguments.first, arguments.rounds)


def report(
    params: list[jax.Array], found: Mapping[str, Contestant], again: int, rounds: int
) -> None:
    """Measures, and prints a table."""
    first: dict[str, list[float]] = {name: [] for name in found}
    for i in range(again + 1):
        for name, one in found.items():
            seconds = sum(first_step(one, params).values())
            if i > 0:  # the first round imports what is imported late
                first[name].append(seconds)
    steps = step_times(found, params, rounds)

    print(f"jax {jax.__version__}, optax {optax.__version__}, functional_optim {fo.__version__},")
    print(f"Python {platform.python_version()}, {jax.default_backend()}; adamw,", end=" ")
    print(f"{len(params)} leaves of shape {params[0].shape}\n")
    print("| | step, median | smallest | / optax | trace + lower + compile | / optax |")
    print("|---|---|---|---|---|---|")
    for name in found:
        ratio = statistics.median(a / b for a, b in zip(steps[name], steps["optax"], strict=True))
        before = statistics.median(first[name])
        print(f"| {name} | {1e3 * statistics.median(steps[name]):.2f} ms", end=" ")
        print(f"| {1e3 * min(steps[name]):.2f} ms | {ratio:.2f} | {before:.1f} s", end=" ")
        print(f"| {before / statistics.median(first['optax']):.2f} |")


if __name__ == "__main__":
    main()
