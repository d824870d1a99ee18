"""Plans kernels: translates fused rules for leaves of a given number of dimensions."""

import dataclasses
import functools
from typing import Any, TypeVar

import jax
import numpy as np
from jax.export import symbolic_shape

from ..core.engine.executors import LeafArrays, LeafCall, LeafFunction, LeafSignature, Result
from ..core.numerics.precision import hyper_dtype
from .expressions import Ineligible
from .translate import Body, Kind, translate

__all__ = ["Plan", "find_plan"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A kernel of fused rules, for leaves of a given number of dimensions.

    Attributes:
      function: the function of a leaf of these rules.
      signature: the static arguments of the leaf's function.
      arrays: structure of the arguments.
      per_leaf: indices of the arguments that belong to a leaf; the others are shared by all leaves.
      results: structure of the results.
      dtypes: dtypes of the results, each of which has the leaf's shape.
      body: the function in C++.
    """

    function: LeafFunction
    signature: LeafSignature
    arrays: jax.tree_util.PyTreeDef
    per_leaf: tuple[int, ...]
    results: jax.tree_util.PyTreeDef
    dtypes: tuple[np.dtype, ...]
    body: Body

    @functools.cached_property
    def shared(self) -> tuple[int, ...]:
        """Indices of the arguments that all leaves share."""
        return tuple(i for i in range(self.arrays.num_leaves) if i not in self.per_leaf)

    def __repr__(self) -> str:
        return self.function.name


def find_plan(function: LeafFunction, call: LeafCall) -> tuple[Plan | None, list[jax.Array]]:
    """Returns the plan of a leaf, or None if it has none, and the leaf's arguments as a list.

    A plan holds for all shapes with this number of dimensions, so that 1,000 shapes are not traced
    1,000 times. The trace itself ensures this: dimensions are symbolic, so that Python can only
    branch on conditions that hold for all sizes. A rule that reads a size has no plan.
    """
    arrays, signature = call.arrays(with_row=False), call.signature
    flat, structure = jax.tree.flatten(arrays)
    kinds = _kinds(arrays)
    shape = arrays.update.shape
    if any(k == "element" and x.shape != shape for k, x in zip(kinds, flat, strict=True)):
        return None, []
    avals = tuple(
        (x.dtype, len(shape) if k == "element" else x.shape[-1:])
        for k, x in zip(kinds, flat, strict=True)
    )
    key = ("native", structure, avals, signature, hyper_dtype())
    if key not in function.programs:
        function.programs[key] = _make_plan(function, signature, flat, structure, kinds, len(shape))
    return function.programs[key], flat


def _kinds(arrays: LeafArrays) -> list[Kind]:
    """Returns the kind of each argument, in the order of the tree."""

    def fill(tree: T, kind: Kind) -> T:
        return jax.tree.map(lambda _: kind, tree)

    scalars = tuple(
        jax.tree.map(lambda x: "vector" if x.ndim else "scalar", of_rule)._replace(
            row=fill(of_rule.row, "row"), trees=fill(of_rule.trees, "element")
        )
        for of_rule in arrays.scalars
    )
    return jax.tree.leaves(fill(arrays, "element")._replace(scalars=scalars))


@functools.cache
def _symbolic_dimensions(n: int) -> tuple[Any, ...]:
    return tuple(symbolic_shape(", ".join(f"d{k}" for k in range(n)))) if n else ()


def _make_plan(
    function: LeafFunction,
    signature: LeafSignature,
    flat: list[jax.Array],
    structure: jax.tree_util.PyTreeDef,
    kinds: list[Kind],
    ndim: int,
) -> Plan | None:
    """Traces and translates the leaf's function; returns None if it is not elementwise."""
    shape = _symbolic_dimensions(ndim)

    def symbolic(x: jax.Array, kind: Kind) -> jax.ShapeDtypeStruct:
        shapes = {"element": shape, "row": x.shape[1:]}
        return jax.ShapeDtypeStruct(shapes.get(kind, x.shape), x.dtype)

    def on_leaf(arguments: list[jax.Array], index: jax.Array) -> Result:
        return function.on_leaf(jax.tree.unflatten(structure, arguments), index, signature)

    index = jax.ShapeDtypeStruct((), jax.numpy.int32)
    inputs = [symbolic(x, kind) for x, kind in zip(flat, kinds, strict=True)]
    try:
        closed, result_shapes = jax.make_jaxpr(on_leaf, return_shape=True)(inputs, index)
    except Exception:
        # A rule that reads a symbolic size can fail with any exception. If the rule itself is
        # wrong, the trace for XLA will raise the same error to the user.
        return None
    results: jax.tree_util.PyTreeDef
    outputs, results = jax.tree.flatten(result_shapes)
    aliases = _aliases(jax.tree.unflatten(structure, range(len(inputs))), signature, results)
    dtypes = [x.dtype for x in outputs]
    fitting = [(i, j) for i, j in aliases if inputs[i].dtype == dtypes[j]]
    try:
        body = translate(closed, [*kinds, "leaf"], shape, fitting)
    except Ineligible:
        return None
    per_leaf = tuple(i for i, kind in enumerate(kinds) if kind == "element")
    return Plan(function, signature, structure, per_leaf, results, tuple(dtypes), body)


def _aliases(
    inputs: Any, signature: LeafSignature, results: jax.tree_util.PyTreeDef
) -> list[tuple[int, int]]:
    """Pairs inputs with the results that may overwrite them: a slot with its next value.

    The parameter is paired with the new parameter, or the gradient with the update. If the gradient
    is read again after the step, XLA makes a copy.
    """
    first, slots = results.unflatten(range(results.num_leaves))
    pairs = [(old[k], new[k]) for old, new in zip(inputs.slots, slots, strict=True) for k in old]
    return [*pairs, (inputs.param if signature.add_to_params else inputs.update, first)]
