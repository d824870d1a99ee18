"""Gradients of 1e30 and of 1e-30 in float32: finite updates, wherever the maths has them.

Squares of 1e30 overflow. A second moment is then infinite, and its element does not move, as in
optax and torch; what may not be is a NaN, which would end the run.
"""

import functools

import jax
import numpy as np

from ..problem import arrays, normal
from ..rules import affordable, cases, cases_with_extra, each_of

WITHOUT_AN_ANSWER = {
    "scale_by_factored_rms-last": "step_offset leaves a decay of 0, of a moment that is infinite",
    "sgd_hd": "the learning rate grows by a product of two gradients, 1e60",
}


AROUND = ("adam_hd", "mechanize", "schedule_free_adamw", "schedule_free_radam", "sgd_hd")
"""Optimizers that are wrappers: neither links nor chains of links."""

CASES = [
    case
    for case in affordable([*cases(), *cases_with_extra()])
    if hasattr(case.factory, "spec") or case.name in AROUND
]


@functools.cache
def program_of(name):
    """Makes a transformation, and one program of its updates for both tests and all sizes.

    Variants that differ in numbers alone have one `update`, and so one program.
    """
    (case,) = (case for case in CASES if case.name == name)
    tx = case.make()
    return tx, jax.jit(tx.update if case.extra is None else functools.partial(case.update, tx))


def in_float32(tree):
    return {k: x.astype(np.float32) for k, x in tree.items()}


@each_of(CASES)
def test_updates_are_finite(case):
    (tx, update), params = program_of(case.name), arrays()
    grads = in_float32(normal(np.float32, 0, (2,)))
    for scale in (1e-30,) if case.name in WITHOUT_AN_ANSWER else (1e-30, 1e30):
        state = tx.init(params)
        for t in range(2):
            of_step = {k: np.float32(scale) * g[t] for k, g in grads.items()}
            updates, state = update(of_step, state, params)
            for k, u in updates.items():
                assert np.isfinite(u).all(), (scale, k, t)


@each_of(case for case in CASES if case.name not in WITHOUT_AN_ANSWER)
def test_a_run_survives_one_of_them(case):
    """Usual gradients follow an outlier, which must leave nothing in the state that makes NaN."""
    (tx, update), params = program_of(case.name), arrays()
    grads = in_float32(normal(np.float32, 0, (3,)))
    for scale in (1e-30, 1e30):
        state = tx.init(params)
        for t in range(3):
            size = np.float32(scale if t == 0 else 1.0)
            of_step = {k: size * g[t] for k, g in grads.items()}
            updates, state = update(of_step, state, params)
            for k, u in updates.items():
                assert not np.isnan(u).any(), (scale, k, t)
