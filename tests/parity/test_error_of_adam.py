"""How far Adam in float32 is from float64, compared with torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import functional_optim as fo

from .conftest import SEED

B1 = 0.9
CASES = [(steps, b2) for steps in (5, 100, 1_000, 10_000) for b2 in (0.9, 0.99, 0.999, 0.9999)]


def draws(steps: int) -> np.ndarray:
    return np.random.default_rng(SEED).standard_normal((steps, 1000)).astype(np.float32)


def exact(grads: np.ndarray, b2: float) -> np.ndarray:
    """Computes in float64 where Adam without eps ends if it starts at 0."""
    b1, b2 = np.float64(np.float32(B1)), np.float64(np.float32(b2))
    p = m = v = np.zeros(grads.shape[1])
    for t, g in enumerate(grads, 1):
        g = g.astype(np.float64)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        p = p - (m / (1 - b1**t)) / np.sqrt(v / (1 - b2**t))
    return p


def of_torch(grads: np.ndarray, b2: float) -> np.ndarray:
    p = torch.zeros(grads.shape[1])
    opt = torch.optim.Adam([p], lr=1.0, betas=(B1, b2), eps=0.0)
    for g in grads:
        p.grad = torch.from_numpy(g)
        opt.step()
    return p.numpy()


def of_ours(grads: np.ndarray, b2: float) -> np.ndarray:
    tx, start = fo.adam(1.0, B1, b2, eps=0.0), jnp.zeros(grads.shape[1])

    def step(carry, g):
        p, state = carry
        u, state = tx.update(g, state, p)
        return (fo.apply_updates(p, u), state), None

    run = jax.jit(lambda p, grads: jax.lax.scan(step, (p, tx.init(p)), grads)[0][0])
    return np.asarray(run(start, jnp.asarray(grads)))


@pytest.mark.parametrize(("steps", "b2"), CASES)
def test_the_error_of_adam_in_float32_is_at_most_twice_torchs(steps, b2):
    grads = draws(steps)
    truth = exact(grads, b2)
    ours, torchs = (np.sqrt(np.mean((f(grads, b2) - truth) ** 2)) for f in (of_ours, of_torch))
    print(f"{steps} steps, b2 {b2}: ours {ours:.2e}, torch {torchs:.2e}")
    assert ours <= 2 * torchs
