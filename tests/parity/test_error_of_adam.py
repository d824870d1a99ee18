"""How far Adam in float32 is from float64, beside torch."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import functional_optim as fo

from .conftest import SEED

BETAS = (0.9, 0.999)


def draws(steps: int) -> np.ndarray:
    return np.random.default_rng(SEED).standard_normal((steps, 1000)).astype(np.float32)


def exact(grads: np.ndarray) -> np.ndarray:
    """Where Adam without eps ends that starts at 0, in float64."""
    b1, b2 = (np.float64(np.float32(b)) for b in BETAS)
    p = m = v = np.zeros(grads.shape[1])
    for t, g in enumerate(grads.astype(np.float64), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        p = p - (m / (1 - b1**t)) / np.sqrt(v / (1 - b2**t))
    return p


def of_torch(grads: np.ndarray) -> np.ndarray:
    p = torch.zeros(grads.shape[1])
    opt = torch.optim.Adam([p], lr=1.0, betas=BETAS, eps=0.0)
    for g in grads:
        p.grad = torch.from_numpy(g)
        opt.step()
    return p.numpy()


def of_ours(grads: np.ndarray) -> np.ndarray:
    tx, p = fo.adam(1.0, *BETAS, eps=0.0), jnp.zeros(grads.shape[1])
    state = tx.init(p)
    for g in grads:
        u, state = tx.update(jnp.asarray(g), state, p)
        p = fo.apply_updates(p, u)
    return np.asarray(p)


@pytest.mark.parametrize("steps", [5, 100])
def test_the_error_of_adam_in_float32_is_at_most_twice_torchs(steps):
    grads = draws(steps)
    truth = exact(grads)
    ours, torchs = (np.sqrt(np.mean((f(grads) - truth) ** 2)) for f in (of_ours, of_torch))
    print(f"{steps} steps: ours {ours:.2e}, torch {torchs:.2e}")
    assert ours <= 2 * torchs
