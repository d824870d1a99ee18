"""The plan of a kernel: how fused rules run on leaves of one number of dimensions."""

import dataclasses
import functools
from typing import Any

import jax
from jax.export import symbolic_shape

from ..core.engine.executors import LeafArrays, LeafCall, LeafFunction, LeafSignature
from ..core.numerics.precision import hyper_dtype
from .expressions import Ineligible
from .translate import Body, Kind, translate

__all__ = ["Plan", "plan_of"]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Fused rules on leaves of one number of dimensions.

    Attributes:
      fused: the rules.
      signature: the static arguments of the leaf's function.
      arrays: structure of the arguments.
      own: which arguments belong to the leaf; the others are shared by all leaves.
      results: structure of the results.
      dtypes: of the results, each of the leaf's shape.
      body: the function in C++.
    """

    fused: LeafFunction
    signature: LeafSignature
    arrays: Any
    own: tuple[int, ...]
    results: Any
    dtypes: tuple[Any, ...]
    body: Body

    @functools.cached_property
    def shared(self) -> tuple[int, ...]:
        """Which of the arrays are shared."""
        return tuple(i for i in range(self.arrays.num_leaves) if i not in self.own)

    def __repr__(self) -> str:
        return self.fused.name


def plan_of(fused: LeafFunction, call: LeafCall) -> tuple[Plan | None, list[Any]]:
    """Returns the plan of a leaf, or None if there is none, and the leaf's arguments as a list.

    A plan is for all shapes of as many dimensions, so that 1,000 shapes are not traced 1,000
    times. That this is sound is not assumed: the function is traced with dimensions that have
    names and no size, so that Python can branch only on what is true for all sizes. A rule that
    reads a size has no plan.
    """
    arrays, signature = call.arrays_with_matrix(), call.signature
    flat, structure = jax.tree.flatten(arrays)
    kinds = _kinds(arrays)
    shape = arrays.update.shape
    if any(k == "element" and x.shape != shape for k, x in zip(kinds, flat, strict=True)):
        return None, []
    own = tuple(
        (x.dtype, len(shape) if k == "element" else x.shape[-1:])
        for k, x in zip(kinds, flat, strict=True)
    )
    key = ("native", structure, own, signature, hyper_dtype())
    if key not in fused.programs:
        fused.programs[key] = _make(fused, signature, flat, structure, kinds, len(shape))
    return fused.programs[key], flat


def _kinds(arrays: LeafArrays) -> list[Kind]:
    """Returns the kind of each argument, in the order of the tree."""

    def all_of(kind: Kind, tree: Any) -> Any:
        return jax.tree.map(lambda _: kind, tree)

    scalars = tuple(
        jax.tree.map(lambda x: "vector" if x.ndim else "scalar", own)._replace(
            row=all_of("row", own.row), trees=all_of("element", own.trees)
        )
        for own in arrays.scalars
    )
    return jax.tree.leaves(all_of("element", arrays)._replace(scalars=scalars))


@functools.cache
def _dimensions(n: int) -> tuple[Any, ...]:
    return tuple(symbolic_shape(", ".join(f"d{k}" for k in range(n)))) if n else ()


def _make(
    fused: LeafFunction,
    signature: LeafSignature,
    flat: list[Any],
    structure: Any,
    kinds: list[Kind],
    ndim: int,
) -> Plan | None:
    shape = _dimensions(ndim)

    def of(x: Any, kind: Kind) -> jax.ShapeDtypeStruct:
        shapes = {"element": shape, "row": x.shape[1:]}
        return jax.ShapeDtypeStruct(shapes.get(kind, x.shape), x.dtype)

    def on_leaf(given: list[Any], number: Any) -> Any:
        return fused.on_leaf(jax.tree.unflatten(structure, given), number, signature)

    number = jax.ShapeDtypeStruct((), jax.numpy.int32)
    given = [of(x, kind) for x, kind in zip(flat, kinds, strict=True)]
    try:
        closed, made = jax.make_jaxpr(on_leaf, return_shape=True)(given, number)
    except Exception:
        # Without sizes, tracing fails in as many ways as there are to ask for one. What is wrong
        # with the rule itself, the trace for the compiler will say.
        return None
    results: Any
    shapes, results = jax.tree.flatten(made)
    aliases = _aliases(jax.tree.unflatten(structure, range(len(given))), signature, results)
    dtypes = [x.dtype for x in shapes]
    fitting = [(i, j) for i, j in aliases if given[i].dtype == dtypes[j]]
    try:
        body = translate(closed, [*kinds, "leaf"], shape, fitting)
    except Ineligible:
        return None
    own = tuple(i for i, kind in enumerate(kinds) if kind == "element")
    return Plan(fused, signature, structure, own, results, tuple(dtypes), body)


def _aliases(inputs: Any, signature: LeafSignature, results: Any) -> list[tuple[int, int]]:
    """Maps inputs to results in their place: a slot to its next value, another to the update.

    Who asks for an update has no use for the gradient after that, as a rule; where it has, XLA
    makes a copy.
    """
    first, kept = results.unflatten(range(results.num_leaves))
    pairs = [(old[k], new[k]) for old, new in zip(inputs.slots, kept, strict=True) for k in old]
    return [*pairs, (inputs.param if signature.add_to_params else inputs.update, first)]
