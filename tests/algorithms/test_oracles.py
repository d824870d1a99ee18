"""Every rule against its oracle: in float64 to rounding, in float32 over a long run."""

import jax.numpy as jnp
import numpy as np
import pytest

from .. import problem
from ..rules import each_with_oracle


def both(case, dtype, steps):
    """Updates of the package and of the oracle, each stacked, and the parameters' scale."""
    params = problem.arrays(dtype, seed=1)
    grads = {k: jnp.asarray(g, dtype) for k, g in problem.normal(dtype, 0, (steps,)).items()}
    _, _, ours = problem.train(case.make(), params, grads)
    oracle, theirs = case.expected(), []
    moving = {k: np.asarray(p, np.float64) for k, p in params.items()}
    exact = {k: np.asarray(g, np.float64) for k, g in grads.items()}
    for t in range(steps):
        theirs.append(oracle({k: g[t] for k, g in exact.items()}, moving))
        moving = {k: p + theirs[-1][k] for k, p in moving.items()}
    scale = max(np.abs(p).max() for p in moving.values())
    for k in params:
        yield k, np.asarray(ours[k], np.float64), np.stack([u[k] for u in theirs]), scale


@pytest.mark.usefixtures("x64")
@each_with_oracle
def test_float64_agrees_to_rounding(case):
    for k, ours, theirs, _ in both(case, np.float64, 20):
        np.testing.assert_allclose(
            ours, theirs, rtol=1e-12, atol=1e-12 * np.abs(theirs).max(), err_msg=k
        )


@each_with_oracle
def test_float32_stays_with_the_oracle(case):
    # The way that the updates go together is compared, not their sum in float32: adding up
    # costs half an ulp of the parameter at each step, whatever the rule.
    for k, ours, theirs, scale in both(case, np.float32, 1000):
        np.testing.assert_allclose(
            ours.sum(axis=0), theirs.sum(axis=0), rtol=0, atol=5e-7 * scale, err_msg=k
        )
