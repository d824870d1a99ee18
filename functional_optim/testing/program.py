"""Checks of the function transformations: jit, scan, vmap."""

import jax
import jax.numpy as jnp

from ..core.hyperparams import set_hyperparams
from ..core.protocol import PyTree
from .comparing import close, same_law
from .registry import conformance
from .subject import Subject, settable

__all__ = ["check_jit", "check_scan", "check_vmap", "check_vmap_hyperparams"]

ROUNDING = 1e-4
"""What a fused program may differ by: a fraction of a leaf's largest element."""


@conformance("Decide by jnp.where or lax.cond, not by if, and keep nothing outside the state.")
def check_jit(subject: Subject) -> None:
    """Checks that two steps in one program do what the operations one by one do."""
    params = subject.params()
    compiled = subject.run(params)
    with jax.disable_jit():
        state = subject.init(params)
        for seed in (1, 2):
            params, state = subject.step(params, state, subject.grads(seed=seed))
    close(compiled, (params, state), "the result of jit", "from that without", ROUNDING)


@conformance("Return the state as init made it, and decide by lax.cond, not by if.")
def check_scan(subject: Subject) -> None:
    """Checks that the state is a legal carry of `lax.scan`."""
    params = subject.params()
    grads = jax.tree.map(lambda *xs: jnp.stack(xs), *(subject.grads(seed=s) for s in (1, 2)))

    def run(params: PyTree, grads: PyTree) -> PyTree:
        def body(state: PyTree, g: PyTree) -> tuple[PyTree, PyTree]:
            updates, state = subject.update(g, state, params)
            return state, updates

        return jax.lax.scan(body, subject.init(params), grads)[0]

    after = jax.eval_shape(run, params, grads)
    same_law(subject.init(params), after, "the state", "after init", "after a scan")


@conformance("Write no rule that asks for a leaf's number of dimensions within update.")
def check_vmap(subject: Subject) -> None:
    """Checks that runs mapped over seeds do what each does alone."""
    params, grads = (
        [part(seed=seed) for seed in (3, 4)] for part in (subject.params, subject.grads)
    )
    both = jax.vmap(subject.init)(_stack(params))
    together = subject.mapped_step(_stack(params), both, _stack(grads))
    apart = [subject.jitted_step(p, subject.init(p), g) for p, g in zip(params, grads, strict=True)]
    close(together, _stack(apart), "the result of vmap over seeds", "from runs alone", ROUNDING)


@conformance("Read hyperparameters from the state, as arrays, and never as Python numbers.")
def check_vmap_hyperparams(subject: Subject) -> None:
    """Checks that runs mapped over all hyperparameters at once do what each does alone.

    A state without hyperparameters of this package passes.
    """
    params, grads = subject.params(), subject.grads()
    state = subject.init(params)
    known = settable(state)
    if not known:
        return
    # Nine tenths of a number stay within the range that the number lies in.
    states = [state, set_hyperparams(state, {k: 0.9 * v for k, v in known.items()})]
    together = subject.mapped_step(_stack([params] * 2), _stack(states), _stack([grads] * 2))
    apart = _stack([subject.jitted_step(params, s, grads) for s in states])
    close(together, apart, "the result of vmap over hyperparameters", "from runs alone", ROUNDING)


def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *xs: jnp.stack(xs), *trees)
