"""Equations of a program that do nothing but call a function."""

from typing import Any

from jax.extend.core import ClosedJaxpr

__all__ = ["called"]

_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Operation -> where it holds the function."""


def called(eqn: Any) -> ClosedJaxpr | None:
    """Returns the function that an equation calls, where that is all it does."""
    place = _CALLS.get(eqn.primitive.name)
    if place is None:
        return None
    found = eqn.params[place]
    return found if isinstance(found, ClosedJaxpr) else ClosedJaxpr(found, ())
