"""What there is to know of a pass on leaves of one kind, before one of them is called."""

import dataclasses
import functools
from typing import Any

import jax
from jax.export import symbolic_shape

from ..core.passes import Pass
from ..core.precision import hyper_dtype
from ..core.rows import is_sparse
from ..core.server import LeafArrays, LeafCall, LeafForm
from ..core.stored import holds_stored
from .expressions import Ineligible
from .translate import Body, Kind, translate

__all__ = ["Plan", "plan_of"]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A pass on leaves of one number of dimensions.

    Attributes:
      rules: the pass.
      form: what shapes its program.
      arrays: structure of what it reads.
      own: which of its arrays are of the leaf; the others are shared by all leaves.
      results: structure of what it makes.
      dtypes: of the results' arrays, each of the leaf's shape.
      body: the function in C++.
    """

    rules: Pass
    form: LeafForm
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
        return "+".join(rule.rule.name for rule in self.rules.rules)


def plan_of(rules: Pass, call: LeafCall) -> tuple[Plan | None, list[Any]]:
    """The plan for what is read at a leaf, or None if there is none; and that as a list.

    A plan is for all shapes of as many dimensions, so that 1,000 shapes are not traced 1,000
    times. That this is sound is not assumed: the function is traced with dimensions that have
    names and no size, of which nothing can be asked in Python but what is so for all sizes. A
    rule that does ask has no plan.
    """
    arrays, form = call.arrays, call.form
    if is_sparse(arrays.update) or holds_stored(arrays.slots):
        return None, []
    flat, structure = jax.tree.flatten(arrays)
    kinds = _kinds(arrays)
    shape = arrays.update.shape
    if any(k == "element" and x.shape != shape for k, x in zip(kinds, flat, strict=True)):
        return None, []
    own = tuple(
        (x.dtype, len(shape) if k == "element" else x.shape[-1:])
        for k, x in zip(kinds, flat, strict=True)
    )
    key = (structure, own, form, hyper_dtype())
    if key not in rules.plans:
        rules.plans[key] = _make(rules, form, flat, structure, kinds, len(shape))
    return rules.plans[key], flat


def _kinds(arrays: LeafArrays) -> list[Kind]:
    """What each array is, in the order of the tree."""

    def all_of(kind: Kind, tree: Any) -> Any:
        return jax.tree.map(lambda _: kind, tree)

    own = tuple((all_of("row", matrix), all_of("element", trees)) for matrix, trees in arrays.own)
    contexts = jax.tree.map(lambda x: "vector" if x.ndim else "scalar", arrays.contexts)
    whole = all_of("element", arrays)
    return jax.tree.leaves(whole._replace(own=own, contexts=contexts))


@functools.cache
def _dimensions(n: int) -> tuple[Any, ...]:
    return tuple(symbolic_shape(", ".join(f"d{k}" for k in range(n)))) if n else ()


def _make(
    rules: Pass, form: LeafForm, flat: list[Any], structure: Any, kinds: list[Kind], ndim: int
) -> Plan | None:
    shape = _dimensions(ndim)

    def of(x: Any, kind: Kind) -> jax.ShapeDtypeStruct:
        shapes = {"element": shape, "row": x.shape[1:]}
        return jax.ShapeDtypeStruct(shapes.get(kind, x.shape), x.dtype)

    def on_leaf(given: list[Any], number: Any) -> Any:
        return rules.on_leaf(jax.tree.unflatten(structure, given), number, form)

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
    aliases = _aliases(jax.tree.unflatten(structure, range(len(given))), form, results)
    dtypes = [x.dtype for x in shapes]
    fitting = [(i, j) for i, j in aliases if given[i].dtype == dtypes[j]]
    try:
        body = translate(closed, [*kinds, "leaf"], shape, fitting)
    except Ineligible:
        return None
    own = tuple(i for i, kind in enumerate(kinds) if kind == "element")
    return Plan(rules, form, structure, own, results, tuple(dtypes), body)


def _aliases(inputs: Any, form: LeafForm, results: Any) -> list[tuple[int, int]]:
    """Input -> result that takes its place: of a slot its next value, of the rest the update.

    Who asks for an update has no use for the gradient after that, as a rule; where it has, XLA
    makes a copy.
    """
    first, kept = results.unflatten(range(results.num_leaves))
    pairs = [(old[k], new[k]) for old, new in zip(inputs.slots, kept, strict=True) for k in old]
    return [*pairs, (inputs.param if form.adds else inputs.update, first)]
