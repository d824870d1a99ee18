"""Rules whose kernels are compared with XLA, and the leaves that they run on."""

import jax.numpy as jnp
import numpy as np

import functional_optim as fo
from functional_optim import optim
from functional_optim.core.engine import executors, fused
from functional_optim.core.engine.executors import XLA
from functional_optim.native.gate import NATIVE

TRANSFORMATIONS = {
    "momentum": fo.sgd(0.1, momentum=0.9),
    "nesterov": fo.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": fo.adam(0.1),
    "nadam": fo.nadam(0.1),
    "amsgrad": fo.amsgrad(0.1),
    "adamw": fo.adamw(fo.linear_schedule(0.1, 0.01, 10), weight_decay=0.1),
    "clipped": fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(0.1)),
    "lion": fo.lion(0.1, weight_decay=0.1),
    "rmsprop": fo.rmsprop(0.01, momentum=0.9),
    "adagrad": fo.adagrad(0.1),
    "torch": optim.AdamW.transformation(optim.AdamW.default_options()),
    "adamax": fo.adamax(0.1),
    "radam": fo.radam(0.1),
}


def in_both_counts():
    """Yields each with one count for all leaves, and with a count for each leaf."""
    for tx in TRANSFORMATIONS.values():
        yield tx
        yield fo.per_leaf_counts(tx)


# The optimizers that the conformance kit checks; it calls `update`, not `apply_gradients`.
UPDATES = (fo.adamw(1e-3), fo.sgd(0.1, momentum=0.9), fo.lion(1e-3))


def offer_updates(patch):
    """Has kernels compute updates too, which the engine leaves to XLA."""

    def choose(function, call):
        chosen = executors.choose_executor(function, call)
        return NATIVE if chosen is XLA and NATIVE.claims(function, call) else chosen

    patch.setattr(fused, "choose_executor", choose)


SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e-30, -1e30, 1.0)
LARGE = 3 * 2**15 + 5
"""Elements of four blocks, the last one of five."""


def parameters(seed=0):
    """Draws leaves of all sorts.

    They have an odd size, none and several dimensions, several blocks, and bfloat16.
    """
    rng = np.random.default_rng(seed)

    def leaf(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    return {
        "odd": leaf(33),
        "special": leaf(len(SPECIAL)),
        "scalar": leaf(),
        "empty": leaf(0, 3),
        "cube": leaf(2, 3, 5),
        "large": leaf(LARGE),
        "narrow": leaf(7, 9).astype(jnp.bfloat16),
        "none": leaf(4),
    }


def gradients(seed, *, every_leaf=False):
    """Returns gradients: one leaf has special floating-point values, and one has no gradient."""
    grads = {**parameters(seed), "special": jnp.asarray(SPECIAL, jnp.float32)}
    return grads if every_leaf else {**grads, "none": None}


def started(tx, step, *, every_leaf=False):
    """Returns parameters and state after two steps, by a program without kernels."""
    params = parameters()
    # With the counts from the start, both steps are of one program.
    state = (tx if every_leaf else fo.per_leaf_counts(tx)).init(params)
    with fo.native.enabled(False):
        for seed in (1, 2):
            params, state = step(gradients(seed, every_leaf=every_leaf), state, params)
    return params, state
