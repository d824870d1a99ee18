"""Equations of a program that do nothing but call a function."""

from jax.extend.core import ClosedJaxpr, JaxprEqn

__all__ = ["called_function"]

_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Operation -> name of the parameter that has the function."""


def called_function(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """Returns the function that an equation calls; None where it is not a mere call."""
    parameter = _CALLS.get(eqn.primitive.name)
    if parameter is None:
        return None
    function = eqn.params[parameter]
    return function if isinstance(function, ClosedJaxpr) else ClosedJaxpr(function, ())
