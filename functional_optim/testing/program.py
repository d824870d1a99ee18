"""Checks a transformation under jit, scan and vmap."""

import jax
import jax.numpy as jnp

from ..core.hyperparams import set_hyperparams
from ..core.protocol import PyTree
from ..core.trees.apply import apply_updates
from .case import Case, settable
from .comparison import assert_close, assert_same_structure
from .registry import conformance

__all__ = ["check_jit", "check_scan", "check_vmap", "check_vmap_hyperparams"]

ROUNDING = 1e-4
"""Error that a fused program may have, as a fraction of a leaf's largest element."""


@conformance("Use jnp.where or lax.cond, not if, and keep nothing outside the state.")
def check_jit(case: Case) -> None:
    """Checks that two compiled steps give the same result as without compilation."""
    compiled = case.run()
    updates, state = case.first_update[1]
    with jax.disable_jit():
        params = apply_updates(case.params(), updates)
        params, state = case.step(params, state, case.grads(seed=2))
    assert_close(
        compiled, (params, state), "the result of jit", "from the result without jit", ROUNDING
    )


@conformance("Return the state in the structure that init made, and use lax.cond, not if.")
def check_scan(case: Case) -> None:
    """Checks that the state can be a carry of `lax.scan`."""
    params = case.params()
    grads = jax.tree.map(lambda *xs: jnp.stack(xs), *(case.grads(seed=s) for s in (1, 2)))

    def run(params: PyTree, grads: PyTree) -> PyTree:
        def body(state: PyTree, g: PyTree) -> tuple[PyTree, PyTree]:
            updates, state = case.update(g, state, params)
            return state, updates

        return jax.lax.scan(body, case.init(params), grads)[0]

    after = jax.eval_shape(run, params, grads)
    assert_same_structure(case.state, after, "the state", "after init", "after a scan")


@conformance("Do not let update depend on a leaf's number of dimensions.")
def check_vmap(case: Case) -> None:
    """Checks that runs mapped over seeds give the results of separate runs."""
    params, grads = ([part(seed=seed) for seed in (3, 4)] for part in (case.params, case.grads))
    states = jax.vmap(case.init)(_stack(params))
    mapped = case.mapped_step(_stack(params), states, _stack(grads))
    single = [case.jitted_step(p, case.init(p), g) for p, g in zip(params, grads, strict=True)]
    assert_close(
        mapped, _stack(single), "the result of vmap over seeds", "from runs alone", ROUNDING
    )


@conformance("Read hyperparameters from the state, as arrays, and never as Python numbers.")
def check_vmap_hyperparams(case: Case) -> None:
    """Checks that runs mapped over all hyperparameters give the results of separate runs.

    A state without hyperparameters of this package passes.
    """
    params, grads, state = case.params(), case.grads(), case.state
    hyperparams = settable(state)
    if not hyperparams:
        return
    # 0.9 times a hyperparameter is still in its interval.
    states = [state, set_hyperparams(state, {k: 0.9 * v for k, v in hyperparams.items()})]
    mapped = case.mapped_step(_stack([params] * 2), _stack(states), _stack([grads] * 2))
    single = _stack([case.jitted_step(params, s, grads) for s in states])
    assert_close(
        mapped, single, "the result of vmap over hyperparameters", "from runs alone", ROUNDING
    )


def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *xs: jnp.stack(xs), *trees)
