"""LBFGS here and in torch has the same points and counts, also after exchanging their states."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from functional_optim import optim
from functional_optim.interop.torch import to_torch

from .conftest import SEED

CASES = range(12)
NAMES = ["a", "b", "unused"]


class Problem:
    """Parameters, real or complex, options, and a loss for torch and for JAX."""

    def __init__(self, case):
        rng = np.random.default_rng((SEED, case))
        self.complex = case % 3 == 0
        shapes = {"a": (3,), "b": (2, 2), "unused": (2,)}
        self.start = {k: self._draw(rng, shape) for k, shape in shapes.items()}
        n = 14 if self.complex else 7
        self.mixed = np.eye(n) + 0.3 * rng.standard_normal((n, n))
        self.target = rng.standard_normal(n)
        self.options = {
            "lr": float(rng.choice([1.0, 0.5, 0.1])),
            "max_iter": int(rng.choice([1, 3, 20])),
            "history_size": int(rng.choice([1, 3, 100])),
            "line_search_fn": [None, "strong_wolfe"][case % 2],
        }
        if case % 4 == 0:
            self.options |= {"max_eval": int(rng.choice([1, 3, 7])), "tolerance_grad": 0.1}

    def _draw(self, rng, shape):
        x = rng.standard_normal(shape)
        return x + 1j * rng.standard_normal(shape) if self.complex else x

    def _loss(self, x, array):
        y = array(self.mixed) @ (x - array(self.target))
        return (y**2).sum() + 0.1 * (x**4).sum()

    def in_torch(self, params):
        parts = [torch.view_as_real(p) if self.complex else p for p in (params["a"], params["b"])]
        return self._loss(torch.cat([x.reshape(-1) for x in parts]), torch.from_numpy)

    def in_jax(self, params):
        leaves = params["a"], params["b"]
        parts = [jnp.stack([p.real, p.imag], -1) if self.complex else p for p in leaves]
        return self._loss(jnp.concatenate([x.ravel() for x in parts]), jnp.asarray)


class Torch:
    """torch's optimizer, which counts the calls of its closure."""

    def __init__(self, problem):
        self.problem, self.calls = problem, 0
        self.params = {k: torch.nn.Parameter(torch.tensor(x)) for k, x in problem.start.items()}
        self.optimizer = torch.optim.LBFGS(list(self.params.values()), **problem.options)

    def closure(self):
        self.calls += 1
        self.optimizer.zero_grad()
        loss = self.problem.in_torch(self.params)
        loss.backward()
        return loss

    def step(self):
        loss = float(self.optimizer.step(self.closure).detach())
        entry = self.optimizer.state[self.params["a"]]
        return loss, entry["n_iter"], entry["func_evals"]


@pytest.mark.parametrize("case", CASES)
def test_points_counts_and_losses_are_torchs(case, note):
    with jax.enable_x64(True):
        problem = Problem(case)
        theirs = Torch(problem)
        start = {k: jnp.asarray(x) for k, x in problem.start.items()}
        ours = optim.LBFGS(start, **problem.options)
        for t in range(8):
            if t == 4:
                ours = cross(theirs, ours, problem)
            loss, *counts = theirs.step()
            assert float(ours.step(problem.in_jax)) == pytest.approx(loss, rel=1e-9)
            entry = ours.state_dict()["state"][0]
            assert [entry["n_iter"], entry["func_evals"]] == counts
            for k, p in theirs.params.items():
                p = p.detach().numpy()
                error = np.max(np.abs(ours.params[k] - p) / (np.abs(p) + 1e-3), initial=0.0)
                note("LBFGS", str(p.dtype), error, f"case {case}, step {t}", bound=1e-9)
                assert error <= 1e-9
        saved = theirs.optimizer.state_dict()["state"]
        assert entry.keys() == saved[0].keys()
        assert theirs.calls == counts[1]


def cross(theirs, ours, problem):
    """Continues each from the other's state, saved and loaded."""
    file = io.BytesIO()
    torch.save(to_torch(ours.state_dict(), names=NAMES), file)
    file.seek(0)
    other = optim.LBFGS(ours.params, **problem.options)
    other.load_state_dict(theirs.optimizer.state_dict(), names=NAMES)
    theirs.optimizer = torch.optim.LBFGS(list(theirs.params.values()), **problem.options)
    theirs.optimizer.load_state_dict(torch.load(file, weights_only=True))
    return other
