"""One sweep: all settings and seeds of an optimizer on a task, in one compiled program."""

import math
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo

from .entrants import Entrant
from .tasks import Task

__all__ = ["sweep"]


def sweep(task: Task, entrant: Entrant, steps: int, seeds: int, every: int) -> dict[str, Any]:
    """Trains every setting with every seed, and returns the results for the page.

    Args:
      steps: steps of each run.
      seeds: number of seeds; a seed determines the first parameters and the batches.
      every: steps between two measurements of the held-out loss.
    """
    settings = {k: jnp.asarray(v, jnp.float32) for k, v in entrant.settings.items()}
    params = jax.vmap(lambda seed: task.init(jax.random.key(seed)))(jnp.arange(seeds))
    size = len(task.data()[0])
    shape = (steps // every, every, task.batch)
    batches = jnp.stack([np.random.default_rng(n).integers(size, size=shape) for n in range(seeds)])
    began = time.perf_counter()
    over_settings = jax.vmap(_run(task, entrant), in_axes=(dict.fromkeys(settings, 0), None, None))
    over_seeds = jax.vmap(over_settings, in_axes=(None, 0, 0), out_axes=1)
    compiled = jax.jit(over_seeds).lower(settings, params, batches).compile()
    ready = time.perf_counter()
    held_out, train = (np.asarray(x) for x in compiled(settings, params, batches))
    done = time.perf_counter()
    return {
        **_outcome(task, held_out, train, every),
        "settings": {k: [float(f"{x:.4g}") for x in v] for k, v in entrant.settings.items()},
        "compile_seconds": round(ready - began, 2),
        "sweep_seconds": round(done - ready, 2),
        **_one_run(task, entrant),
    }


def _step(task: Task, tx: fo.GradientTransformation, params: Any, state: Any, x: Any, y: Any):
    """Makes a step; every optimizer receives the extra arguments that any of them needs."""

    def loss_fn(params: Any) -> jax.Array:
        return task.loss_fn(params, x, y)

    value, grads = jax.value_and_grad(loss_fn)(params)
    params, state = fo.apply_gradients(
        tx, grads, state, params, value=value, grad=grads, value_fn=loss_fn
    )
    return params, state, value


def _run(task: Task, entrant: Entrant):
    """Returns a run as a function of hyperparameters, first parameters, and batches.

    The count is not mapped over settings and seeds, so that a rule with work at every k-th step
    skips this work at the other steps, as in a single run.
    """
    train_x, train_y, test_x, test_y = map(jnp.asarray, task.data())
    tx = entrant.tx

    def run(hyperparams: Mapping[str, jax.Array], params: Any, batches: jax.Array):
        state = fo.set_hyperparams(tx.init(params), hyperparams)

        def step(carry: Any, batch: jax.Array):
            params, state, value = _step(task, tx, *carry, train_x[batch], train_y[batch])
            return (params, state), value

        def measured(carry: Any, batches: jax.Array):
            (params, state), values = jax.lax.scan(step, carry, batches)
            averaged = fo.eval_params(state, params, default=params)
            return (params, state), (task.loss_fn(averaged, test_x, test_y), values.mean())

        return jax.lax.scan(measured, (params, state), batches)[1]

    return run


def _outcome(task: Task, held_out: np.ndarray, train: np.ndarray, every: int) -> dict[str, Any]:
    """Summarizes losses of shape `(settings, seeds, measurements)`."""
    below = held_out <= task.target
    first = np.where(below.any(2), every * (1 + below.argmax(2)), math.inf)
    # The median over seeds is inf if most of them do not arrive.
    arrival = np.sort(first, axis=1)[:, first.shape[1] // 2]
    final = np.where(np.isfinite(held_out[..., -1]), held_out[..., -1], math.inf).mean(1)
    best, fastest = int(final.argmin()), int(arrival.argmin())
    return {
        "best": best,
        "fastest": fastest,
        "final": _finite(final[best]),
        "final_of_seeds": [_finite(x) for x in held_out[best, :, -1]],
        "final_train": _finite(train[best, :, -1].mean()),
        "steps_to_target": _finite(arrival[fastest]),
        "reached": int(np.isfinite(arrival).sum()),
        "diverged": int((~np.isfinite(final)).sum()),
        "final_of_settings": [_finite(x) for x in final],
        "steps_of_settings": [_finite(x) for x in arrival],
        "curve": [_finite(x) for x in held_out[best].mean(0)],
    }


def _finite(x: float) -> float | None:
    """Returns four digits of a number, and None in place of one that is not finite."""
    return float(f"{x:.4g}") if math.isfinite(x) else None


def _one_run(task: Task, entrant: Entrant, steps: int = 40) -> dict[str, Any]:
    """Measures the state of one run, and the mean time of its step, the smallest of three."""
    tx = entrant.tx
    train_x, train_y = (jnp.asarray(part[: task.batch]) for part in task.data()[:2])
    step = jax.jit(lambda params, state: _step(task, tx, params, state, train_x, train_y)[:2])
    params = task.init(jax.random.key(0))
    state = fo.set_hyperparams(tx.init(params), {k: v[0] for k, v in entrant.settings.items()})
    size = sum(x.nbytes for x in jax.tree.leaves(state))
    params, state = jax.block_until_ready(step(params, state))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(steps):
            params, state = step(params, state)
        jax.block_until_ready((params, state))
        times.append((time.perf_counter() - began) / steps)
    numbers = sum(p.size for p in jax.tree.leaves(params))
    return {
        "state_bytes": size,
        "parameters": numbers,
        "step_microseconds": round(1e6 * min(times), 1),
    }
