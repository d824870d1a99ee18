"""Elementwise maths, as a function that can be run on any part of an array."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.tree_util import PyTreeDef

from ..protocol import PyTree

__all__ = ["called_function", "elementwise"]

Array = jax.Array
Shape = tuple[int, ...]
T = TypeVar("T")

_ARITHMETIC = {
    *("add", "sub", "mul", "div", "rem", "neg", "abs", "sign", "square", "integer_pow", "pow"),
    *("sqrt", "rsqrt", "cbrt", "exp", "exp2", "expm1", "log", "log1p"),
    *("logistic", "tanh", "erf", "sin", "cos", "atan2"),
    *("floor", "ceil", "round", "clamp", "max", "min", "nextafter"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "xor", "is_finite", "select_n"),
    *("convert_element_type", "copy"),
}
"""Operations that compute an element of the result from that element of the operands alone."""

_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Operation -> name of the parameter that has the function."""


def elementwise(
    function: Callable[[T], PyTree], shape: Shape, arguments: T
) -> tuple[Callable[..., PyTree], PyTree] | None:
    """Returns a function that computes any part of an elementwise function's results.

    The function is traced for the whole arrays. So maths that reads the shape of its parameter
    reads the shape of the whole, and not the shape of the part. Scalars that the function computes
    itself are computed again for each part.

    Args:
      function: takes a tree of arrays, and returns a tree of arrays of the given shape.
      shape: a shape of more than one element.
      arguments: the tree of arguments, of arrays or shapes.

    Returns:
      `(arguments, part_shape, results=None) -> results`, and the shapes of the whole results; None
      if the function is not elementwise in this shape. Arrays in the tree `results` are known
      results, from which the other results are computed.
    """
    closed, out = jax.make_jaxpr(function, return_shape=True)(arguments)
    # A result of another shape, such as a sum, cannot be computed from a part.
    is_whole = [aval.shape == shape for aval in closed.out_avals]
    if not all(is_whole) or not _is_elementwise(closed.jaxpr, shape):
        return None
    treedef: PyTreeDef = jax.tree.structure(out)

    def on_part(arguments: T, part: Shape, results: PyTree = None) -> PyTree:
        leaves = [None] * len(is_whole) if results is None else treedef.flatten_up_to(results)
        values = _run(closed, jax.tree.leaves(arguments), shape, part, leaves)
        return treedef.unflatten([jnp.broadcast_to(x, part) for x in values])

    return on_part, out


def _is_elementwise(jaxpr: Jaxpr, shape: Shape) -> bool:
    return all(_is_elementwise_equation(eqn, shape) for eqn in jaxpr.eqns)


def _is_elementwise_equation(eqn: JaxprEqn, shape: Shape) -> bool:
    """Tells whether an equation has no array of the shape, or computes each element separately."""
    inner = called_function(eqn)
    if inner is not None:
        return _is_elementwise(inner.jaxpr, shape)
    shapes = {_shape(v) for v in (*eqn.invars, *eqn.outvars)}
    # Maths on scalars alone may be anything, because each part computes it again in full.
    if shape not in shapes:
        # A loop or a condition may have arrays of the shape within it.
        return not any(hasattr(x, "eqns") or hasattr(x, "jaxpr") for x in eqn.params.values())
    if eqn.primitive.name == "broadcast_in_dim":
        # Other broadcasts repeat elements, and a part would need some that are not in it.
        return _shape(eqn.invars[0]) == ()
    return eqn.primitive.name in _ARITHMETIC and shapes <= {shape, ()}


def called_function(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """Returns the function that an equation calls; None if it does not only call a function."""
    parameter = _CALLS.get(eqn.primitive.name)
    if parameter is None:
        return None
    function = eqn.params[parameter]
    return function if isinstance(function, ClosedJaxpr) else ClosedJaxpr(function, ())


def _shape(v: Var | Literal) -> Shape:
    return tuple(getattr(v.aval, "shape", ()))


def _run(
    closed: ClosedJaxpr,
    arguments: Sequence[Array],
    shape: Shape,
    part: Shape,
    results: Sequence[Array | None] = (),
) -> list[Array]:
    """Runs a function on parts of its arguments.

    Known results replace the computed ones, also in the equations that read them.
    """
    jaxpr = closed.jaxpr
    # An output may also be read by other equations, and then both must see the known array.
    known_results = {
        v: x
        for v, x in zip(jaxpr.outvars, results, strict=False)
        if x is not None and not isinstance(v, Literal)
    }
    values: dict[Var, Array] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values |= zip(jaxpr.invars, arguments, strict=True)

    def read(v: Var | Literal) -> Array:
        return v.val if isinstance(v, Literal) else values[v]

    for eqn in jaxpr.eqns:
        operands = [read(v) for v in eqn.invars]
        # The function within is traced for the whole shape as well, so it is run on parts too.
        inner = called_function(eqn)
        if inner is not None:
            new = _run(inner, operands, shape, part)
        elif eqn.primitive.name == "broadcast_in_dim" and _shape(eqn.outvars[0]) == shape:
            # The equation has the shape of the whole as a parameter.
            new = [jnp.broadcast_to(operands[0], part)]
        else:
            new = eqn.primitive.bind(*operands, **eqn.params)
            new = new if eqn.primitive.multiple_results else [new]
        values |= zip(eqn.outvars, new, strict=True)
        values |= {v: known_results[v] for v in eqn.outvars if v in known_results}
    return [read(v) for v in jaxpr.outvars]
