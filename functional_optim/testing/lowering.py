"""Checks that a step compiles for other hardware."""

import jax

from .case import Case
from .failure import error_context
from .registry import conformance

__all__ = ["check_lowering"]

PLATFORMS = ("cpu", "cuda", "tpu")

ADVICE = "Use operations that JAX has on all platforms, or jax.lax.platform_dependent."


@conformance(ADVICE)
def check_lowering(case: Case) -> None:
    """Checks that a step lowers for cpu, cuda and tpu, on any machine."""
    params, grads = case.params(), case.grads()
    state = case.init(params)
    traced = jax.jit(case.step).trace(params, state, grads)
    for platform in PLATFORMS:
        with error_context("lowering", f"for {platform}", ADVICE):
            traced.lower(lowering_platforms=(platform,))
