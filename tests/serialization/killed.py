"""Writes checkpoints until it is killed: `python -m tests.serialization.killed`.

With `safetensors FILE KILLS` it forks such writers, kills each at a random moment, and reads
the file after each. With `orbax DIRECTORY` it is one itself.
"""

import itertools
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from functional_optim.interop import orbax, safetensors


def contents(step):
    """Returns large arrays that all hold one number."""
    return {f"w{i}": np.full(100_000, step, np.float32) for i in range(4)}


def check(saved):
    """Returns the step that all arrays of a checkpoint belong to; raises if they differ."""
    assert all((x == saved.step).all() for x in saved.params.values()), "a mixed checkpoint"
    return saved.step


def kill_often(path, kills):
    rng, last = random.Random(0), 0
    safetensors.save(path, params=contents(0), step=0)
    began = time.perf_counter()
    safetensors.save(path, params=contents(0), step=0)
    longest = 3 * (time.perf_counter() - began)
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            for step in itertools.count(last + 1):
                safetensors.save(path, params=contents(step), step=step)
        time.sleep(rng.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        now = check(safetensors.load(path))
        assert now >= last, "an older checkpoint than was there"
        last = now
    assert last > 0, "no writer came to an end of a file"
    left = [p.name for p in path.parent.iterdir() if p != path]
    assert len(left) <= 1, left
    print(f"{kills} kills, {last} checkpoints, left over: {len(left)}")


def write_forever(directory):
    for step in itertools.count(1):
        orbax.save(directory / str(step), params=contents(step), step=step)


if __name__ == "__main__":
    library, path, *rest = sys.argv[1:]
    # The writers use NumPy alone, and none of the threads of JAX that a fork leaves behind.
    warnings.filterwarnings("ignore", "os.fork")
    if library == "safetensors":
        kill_often(Path(path), int(rest[0]))
    else:
        write_forever(Path(path))
