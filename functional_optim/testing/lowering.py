"""The check of programs for other hardware."""

import jax

from .failure import blaming
from .registry import conformance
from .subject import Subject

__all__ = ["check_lowering"]

PLATFORMS = ("cpu", "cuda", "tpu")

ADVICE = "Use operations that JAX has everywhere, or choose by jax.lax.platform_dependent."


@conformance(ADVICE)
def check_lowering(subject: Subject) -> None:
    """Checks that a step lowers for cpu, cuda and tpu; none of them needs to be there."""
    params, grads = subject.params(), subject.grads()
    state = subject.init(params)
    traced = jax.jit(subject.step).trace(params, state, grads)
    for platform in PLATFORMS:
        with blaming("lowering", f"for {platform}", ADVICE):
            traced.lower(lowering_platforms=(platform,))
