"""Every rule against its oracle: in float64 to rounding, in float32 over a long run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem
from ..rules import affordable, cases, each_of, each_with_oracle, muon, plain, unchained


def in_float64(tree, at=...):
    return {k: np.asarray(x[at], np.float64) for k, x in tree.items()}


def expected(case, params, grads, steps):
    """Returns the updates of the oracle, stacked, and its parameters at the end."""
    oracle, moving, updates = case.expected(), in_float64(params), []
    for t in range(steps):
        updates.append(oracle(in_float64(grads, t), moving))
        moving = {k: p + updates[-1][k] for k, p in moving.items()}
    return {k: np.stack([u[k] for u in updates]) for k in params}, moving


@pytest.mark.usefixtures("x64")
@each_with_oracle
def test_float64_agrees_to_rounding(case):
    params = problem.arrays(np.float64, seed=1)
    grads = problem.normal(np.float64, 0, (20,))
    theirs, _ = expected(case, params, grads, 20)
    tx = case.make()
    state, update = tx.init(params), jax.jit(tx.update)
    for t in range(20):
        updates, state = update({k: g[t] for k, g in grads.items()}, state, params)
        params = {k: p + updates[k] for k, p in params.items()}
        for k, u in updates.items():
            scale = np.abs(theirs[k]).max()
            np.testing.assert_allclose(u, theirs[k][t], rtol=1e-12, atol=1e-12 * scale)


LINKS = ("scale_by_", "orthogonalize")
PARTED = (fo.muon, fo.normuon, fo.adamuon, fo.soap)
"""Give matrices to a link and other leaves to Adam's, both of which are tested by themselves."""

SAME_ROUNDING = {f"scale_by_{k}-plain" for k in ("normuon", "adamuon", "muon-corrected")}
"""Variants that differ from others in momentum and coefficients as those of `scale_by_muon` do."""

OWN = {c.name for c in unchained(plain(cases()), also=()) if c.factory not in PARTED}
LONG = [
    case
    for case in affordable(cases())
    if case.oracle
    and case.name not in SAME_ROUNDING
    and (case.name in OWN or hasattr(case.factory, "spec") or case.name.startswith(LINKS))
]
"""All variants of the links, whose rounding adds up, and each rule with maths of its own once.

Optimizers that are made of links round as their links do, and the test in float64 has them all.
"""

OF_PRODUCTS = {entry.factory for entry in muon.RULES}
"""Rules of products of matrices, whose errors depend on how XLA adds up the products."""

DECIDE_THE_PARAMETER = (fo.madgrad, fo.scale_by_madgrad, fo.norm_constraint)


@each_of(LONG)
def test_float32_stays_with_the_oracle(case):
    steps = 1000
    params = problem.arrays(np.float32, seed=1)
    grads = jax.tree.map(jnp.float32, problem.normal(np.float32, 0, (steps,)))
    ended, _, ours = problem.train(case.make(), params, grads, case.factory in OF_PRODUCTS)
    theirs, moved = expected(case, params, jax.device_get(grads), steps)
    scale = max(np.abs(p).max() for p in moved.values())
    for k, u in in_float64(ours).items():
        # The sum of the updates is compared, and not the parameter: adding to it in float32 costs
        # half an ulp at each step, whatever the rule. A rule that decides the parameter makes up
        # for that in its updates, so that there the parameter is compared.
        error = np.abs(u.sum(axis=0) - theirs[k].sum(axis=0)).max()
        if case.factory in DECIDE_THE_PARAMETER:
            error = np.abs(np.asarray(ended[k], np.float64) - moved[k]).max()
        assert error < case.drift * scale, k
