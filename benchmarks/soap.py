"""Time of a step of SOAP and of Muon, in turns: `python benchmarks/soap.py`.

QR factorizations of OpenBLAS wait for each other where other programs use the cores; with
`OPENBLAS_NUM_THREADS=1` they do not.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo

SHAPES = [(256, 256), (256, 768), (768, 256), (768, 768)] * 2


def main() -> None:
    """Prints the mean seconds of a step, and the ratios to Muon."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="steps, half of them in each turn")
    steps = parser.parse_args().steps
    rng = np.random.default_rng(0)
    params = {
        f"w{i}": jnp.asarray(rng.standard_normal(s), jnp.float32) for i, s in enumerate(SHAPES)
    }
    rules = {
        "muon": fo.muon(1e-3),
        "soap, refresh 10": fo.soap(1e-3, precondition_frequency=10),
        "soap, refresh 10, staggered": fo.soap(1e-3, precondition_frequency=10, stagger=True),
    }
    updates, states, seconds = {}, {}, dict.fromkeys(rules, 0.0)
    for name, tx in rules.items():
        updates[name] = jax.jit(tx.update, donate_argnums=1)
        states[name] = tx.init(params)
    for turn in range(3):
        for name, update in updates.items():
            start = time.perf_counter()
            for _ in range(10 if turn == 0 else steps // 2):
                u, states[name] = update(params, states[name], params)
            jax.block_until_ready(u)
            seconds[name] += 0.0 if turn == 0 else time.perf_counter() - start
    for name, total in seconds.items():
        ratio = total / seconds["muon"]
        print(f"{name}: {1e3 * total / (steps // 2 * 2):.1f} ms a step, {ratio:.2f} of Muon")


if __name__ == "__main__":
    main()
