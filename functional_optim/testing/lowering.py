"""Checks that a step compiles for other hardware."""

import contextlib

from .case import Case
from .failure import error_context
from .registry import conformance

__all__ = ["check_lowering"]

PLATFORMS = ("cpu", "cuda", "tpu")

ADVICE = "Use operations that JAX has on all platforms, or jax.lax.platform_dependent."


@conformance(ADVICE)
def check_lowering(case: Case) -> None:
    """Checks that an update lowers for cpu, cuda and tpu, on any machine."""
    traced = case.jitted_update.trace(case.grads(), case.state, case.params())
    # One program for all platforms takes a third of the time of three. Not every program has one.
    with contextlib.suppress(Exception):
        traced.lower(lowering_platforms=PLATFORMS)
        return
    for platform in PLATFORMS:
        with error_context("lowering", f"for {platform}", ADVICE):
            traced.lower(lowering_platforms=(platform,))
