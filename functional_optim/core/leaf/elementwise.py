"""Elementwise maths, as a function that can be run on any part of an array."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from .inlining import called

__all__ = ["elementwise"]

Array = jax.Array

_ARITHMETIC = frozenset(
    name
    for kind in (
        ("add", "sub", "mul", "div", "rem", "neg", "abs", "sign", "square", "integer_pow", "pow"),
        (
            "sqrt",
            "rsqrt",
            "cbrt",
            "exp",
            "exp2",
            "expm1",
            "log",
            "log1p",
            "logistic",
            "tanh",
            "erf",
        ),
        ("sin", "cos", "atan2", "floor", "ceil", "round", "clamp", "max", "min", "nextafter"),
        ("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "xor", "is_finite", "select_n"),
        ("convert_element_type", "copy"),
    )
    for name in kind
)
"""Operations of which an element of the result depends on that element of the operands alone."""


def elementwise(
    function: Callable[..., Any], shape: tuple[int, ...], arguments: Any
) -> tuple[Callable[..., Any], Any] | None:
    """Returns the function for parts of arrays, if it is elementwise in that shape; else None.

    Beside it stands what the function gives of the whole arrays, as shapes.

    What it computes apart from them, as scalars of a clock, it computes for each part anew. It
    is the function traced for the whole shape: maths that reads its parameter's shape does not
    see that of the part. Given some of its results, it computes the others from these.

    Args:
      function: of one argument, a tree of arrays, that returns a tree of arrays of the shape.
      shape: of more than one element.
      arguments: the tree, of arrays or shapes.
    """
    closed, out = jax.make_jaxpr(function, return_shape=True)(arguments)
    is_whole = [aval.shape == shape for aval in closed.out_avals]
    if not all(is_whole) or not _is_elementwise(closed.jaxpr, shape):
        return None
    treedef: Any = jax.tree.structure(out)

    def on_part(arguments: Any, part: tuple[int, ...], found: Any = None) -> Any:
        given = [None] * len(is_whole) if found is None else treedef.flatten_up_to(found)
        values = _run(closed, jax.tree.leaves(arguments), shape, part, given)
        return treedef.unflatten([jnp.broadcast_to(x, part) for x in values])

    return on_part, out


def _is_elementwise(jaxpr: Jaxpr, shape: tuple[int, ...]) -> bool:
    return all(_fits(eqn, shape) for eqn in jaxpr.eqns)


def _fits(eqn: Any, shape: tuple[int, ...]) -> bool:
    """Tells whether an equation computes nothing of the shape, or each element of it by itself."""
    inner = called(eqn)
    if inner is not None:
        return _is_elementwise(inner.jaxpr, shape)
    found = {v.aval.shape for v in (*eqn.invars, *eqn.outvars)}
    if shape not in found:
        return not any(hasattr(x, "eqns") or hasattr(x, "jaxpr") for x in eqn.params.values())
    if eqn.primitive.name == "broadcast_in_dim":
        return eqn.invars[0].aval.shape == ()
    return eqn.primitive.name in _ARITHMETIC and found <= {shape, ()}


def _run(
    closed: ClosedJaxpr,
    arguments: Sequence[Any],
    shape: tuple[int, ...],
    part: tuple[int, ...],
    found: Sequence[Any] = (),
) -> list[Any]:
    """Runs a function on parts of its arguments; some of its results are returned unchanged."""
    jaxpr = closed.jaxpr
    results = {
        v: x
        for v, x in zip(jaxpr.outvars, found, strict=False)
        if x is not None and not isinstance(v, Literal)
    }
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)

    def read(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else known[v]

    for eqn in jaxpr.eqns:
        values = [read(v) for v in eqn.invars]
        inner = called(eqn)
        if inner is not None:
            made = _run(inner, values, shape, part)
        elif eqn.primitive.name == "broadcast_in_dim" and eqn.outvars[0].aval.shape == shape:
            made = [jnp.broadcast_to(values[0], part)]
        else:
            made = eqn.primitive.bind(*values, **eqn.params)
            made = made if eqn.primitive.multiple_results else [made]
        known |= zip(eqn.outvars, made, strict=True)
        known |= {v: results[v] for v in eqn.outvars if v in results}
    return [read(v) for v in jaxpr.outvars]
