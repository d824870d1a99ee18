"""Checks of what is traced and compiled, and how often."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.hyperparams import set_hyperparams
from .registry import conformance
from .subject import Subject, settable

__all__ = ["check_new_hyperparams", "check_recompilation", "check_traces", "operations"]

MOST_PER_LEAF = 8
"""Operations that a leaf of a known shape may add to the program of an update."""


@conformance("Return the state as init made it, and keep Python values out of it.")
def check_recompilation(subject: Subject) -> None:
    """Checks that a step is traced once for each set of shapes, and compiled once."""
    params, step = subject.params(), subject.jitted_step
    state = subject.init(params)
    params, state = step(params, state, subject.grads())
    traced, compiled = len(subject.traced), step._cache_size()
    for call in (2, 3):
        params, state = step(params, state, subject.grads(seed=call))
        assert len(subject.traced) == traced, f"call {call} of a jitted step traced it again."
    assert step._cache_size() == compiled, "a second call of a jitted step compiled it again."


@conformance("Keep hyperparameters in the state as arrays, whose dtype and shape stay.")
def check_new_hyperparams(subject: Subject) -> None:
    """Checks that other hyperparameters compile nothing.

    A state without hyperparameters of this package passes.
    """
    params, grads = subject.params(), subject.grads()
    state = subject.init(params)
    step = subject.jitted_step
    step(params, state, grads)
    compiled = step._cache_size()
    for name, value in settable(state).items():
        step(params, set_hyperparams(state, {name: 0.5 * float(value)}), grads)
        size = step._cache_size()
        assert size == compiled, f"another {name} compiled the step again."
    other = subject.init(params)
    step(params, other, grads)
    assert step._cache_size() == compiled, "a second init compiled the step again."


@conformance("Put the maths of a leaf into one jax.jit, which is traced once for each shape.")
def check_traces(subject: Subject) -> None:
    """Checks that leaves of one shape share the trace of their maths.

    Each leaf more may add eight operations to the program: those that hand it its arguments.
    Skipped where the caller gives the parameters, since other trees are tried.
    """
    if subject.given is not None:
        return
    few, many = (operations(subject, n) for n in (2, 6))
    more = (many - few) / (4 * len(jax.tree.leaves(subject.params())))
    assert more <= MOST_PER_LEAF, (
        f"a leaf of a shape that was there before adds {more:.0f} operations to the program."
    )


def operations(subject: Subject, leaves: int) -> int:
    """Operations in the program of an update of so many leaves of each shape."""
    params = jax.tree.map(lambda p: [jnp.zeros_like(p)] * leaves, subject.params())
    state = jax.eval_shape(subject.init, params)
    program = jax.make_jaxpr(subject.update)(params, state, params)
    return _count(program.jaxpr, set())


def _count(jaxpr: Any, seen: set[int]) -> int:
    """Operations of a program, those of a function that is called many times once."""
    if id(jaxpr) in seen:
        return 0
    seen.add(id(jaxpr))
    # What a reduction does with two numbers is part of it, and no operation on arrays.
    callers = [eqn for eqn in jaxpr.eqns if eqn.primitive.name != "reduce"]
    inner = [part for eqn in callers for part in _inner(eqn.params)]
    return len(jaxpr.eqns) + sum(_count(part, seen) for part in inner)


def _inner(params: dict[str, Any]) -> list[Any]:
    """Programs among the parameters of an operation."""
    found = jax.tree.leaves(list(params.values()), is_leaf=_is_program)
    return [getattr(x, "jaxpr", x) for x in found if _is_program(x)]


def _is_program(x: Any) -> bool:
    return hasattr(x, "eqns")
