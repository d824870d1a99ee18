"""A new process compiles a step once, although modules are imported during its first trace.

A module that adds to JAX's context of traces, as jax.extend does in jax 0.12, must not be imported
by a trace: the context of the next call would be another one, and the step would compile again.
"""

import os
import subprocess
import sys

PROGRAM = """
import sys
import jax, jax.numpy as jnp
import functional_optim as fo

params = {"w": jnp.ones((512, 16)), "b": jnp.ones(3)}
steps = {
    "kernels": fo.adamw(1e-3),
    "low_bit_state": fo.low_bit_state(fo.adam(1e-3), min_size=256),
    "clip and MultiSteps": fo.MultiSteps(fo.chain(fo.clip_by_global_norm(1.0), fo.sgd(1e-3)), 2),
    "muon": fo.muon(1e-3),
    "packed": fo.packed(fo.adam(1e-3)),
}
for name in sys.argv[1:] or steps:
    tx = steps[name]
    step = jax.jit(lambda g, s, p: fo.apply_gradients(tx, g, s, p))
    trained, state = params, tx.init(params)
    for _ in range(2):
        trained, state = step(params, state, trained)
    print(name, step._cache_size())
"""


def compilations(cache, *names):
    """Counts how often a new process compiles each step, or those with these names."""
    env = os.environ | {
        "FUNCTIONAL_OPTIM_CACHE": str(cache),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    command = [sys.executable, "-c", PROGRAM, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines())


def test_a_new_process_compiles_each_step_once(tmp_path):
    counts = compilations(tmp_path)
    assert len(counts) == 5
    assert set(counts.values()) == {"1"}, counts


def test_a_new_process_compiles_a_step_with_kernels_once(built):
    names = ("kernels", "clip and MultiSteps")
    assert compilations(built, *names) == dict.fromkeys(names, "1")
