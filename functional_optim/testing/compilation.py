"""Checks how often a step is traced and compiled, and the size of its trace."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr

from ..core.hyperparams import set_hyperparams
from .case import Case, settable
from .registry import conformance

__all__ = ["check_new_hyperparams", "check_recompilation", "check_traces", "operations"]

MOST_PER_LEAF = 8
"""Number of operations that a further leaf of the same shape may add to an update's program."""


@conformance("Return the state in the structure that init made, without Python values.")
def check_recompilation(case: Case) -> None:
    """Checks that a step is traced and compiled once for each set of shapes."""
    step = case.jitted_step
    params, state = step(case.params(), case.state, case.grads())
    traced, compiled = len(case.traced), step._cache_size()
    for call in (2, 3):
        params, state = step(params, state, case.grads(seed=call))
        assert len(case.traced) == traced, f"call {call} of a jitted step traced it again."
    assert step._cache_size() == compiled, "a second call of a jitted step compiled it again."


@conformance("Keep hyperparameters in the state, as arrays whose dtype and shape stay.")
def check_new_hyperparams(case: Case) -> None:
    """Checks that a step with other hyperparameters is not compiled again.

    A state without hyperparameters of this package passes.
    """
    params, grads, state = case.params(), case.grads(), case.state
    step = case.jitted_step
    step(params, state, grads)
    compiled = step._cache_size()
    for name, value in settable(state).items():
        step(params, set_hyperparams(state, {name: 0.5 * float(value)}), grads)
        size = step._cache_size()
        assert size == compiled, f"another {name} compiled the step again."
    other = case.init(params)
    step(params, other, grads)
    assert step._cache_size() == compiled, "a second init compiled the step again."


@conformance("Put the maths of a leaf into one jax.jit, which is traced once for each shape.")
def check_traces(case: Case) -> None:
    """Checks that leaves of one shape share the trace of their maths.

    A further leaf may add eight operations to the program, which prepare its arguments. The check
    is skipped if the caller passes parameters, because it uses other trees.
    """
    if case.user_params is not None:
        return
    # The difference of two counts excludes the operations that all leaves share.
    few, many = (operations(case, n) for n in (4, 5))
    more = (many - few) / len(jax.tree.leaves(case.params()))
    assert more <= MOST_PER_LEAF, (
        f"another leaf of the same shape adds {more:.0f} operations to the program."
    )


def operations(case: Case, leaves: int) -> int:
    """Counts the operations of an update with this number of leaves of each shape."""
    params = jax.tree.map(lambda p: [jnp.zeros_like(p)] * leaves, case.params())
    state = jax.eval_shape(case.init, params)
    program = jax.make_jaxpr(case.update)(params, state, params)
    return _count(program.jaxpr, set())


def _count(jaxpr: Jaxpr, seen: set[int]) -> int:
    """Counts the operations of a program; a function that is called several times counts once."""
    if id(jaxpr) in seen:
        return 0
    seen.add(id(jaxpr))
    # The program of a reduction combines two numbers, not arrays.
    callers = [eqn for eqn in jaxpr.eqns if eqn.primitive.name != "reduce"]
    inner = [part for eqn in callers for part in _inner_programs(eqn.params)]
    return len(jaxpr.eqns) + sum(_count(part, seen) for part in inner)


def _inner_programs(params: Mapping[str, object]) -> list[Jaxpr]:
    """Returns the programs among the parameters of an operation."""
    leaves = jax.tree.leaves(list(params.values()), is_leaf=_is_program)
    programs: list[Any] = list(filter(_is_program, leaves))
    return [getattr(x, "jaxpr", x) for x in programs]


def _is_program(x: object) -> bool:
    return hasattr(x, "eqns")
