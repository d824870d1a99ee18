"""Labels, which assign each leaf to a transformation or group, by the parameters alone."""

import dataclasses
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef
from jax.typing import ArrayLike, DTypeLike

from ..functions import Function, as_function
from ..protocol import PyTree
from .structure import is_sparse, leaf_paths, without_containers

__all__ = [
    "FrozenTree",
    "Labeller",
    "as_labeller",
    "as_rules",
    "check_expression",
    "first_rules",
    "is_function",
    "path_labels",
    "resolve_labels",
    "short_repr",
    "label_reason",
]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class FrozenTree:
    """A hashable tree of hashable leaves, which a transformation may have as a field."""

    leaves: tuple[Hashable, ...]
    treedef: PyTreeDef

    @classmethod
    def of(cls, tree: PyTree) -> "FrozenTree":
        """Freezes a tree; NumPy and JAX booleans become Python's, and containers are left out."""
        leaves, treedef = jax.tree.flatten(without_containers(tree))
        return cls(tuple(_to_python(x) for x in leaves), treedef)

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the tree, for any parameters."""
        del params
        return self.treedef.unflatten(self.leaves)

    def __repr__(self) -> str:
        return repr(self(None))


def _to_python(label: Any) -> Any:
    """Converts a NumPy or JAX scalar to Python's, and a larger array to text: it is not a label."""
    if not hasattr(label, "item"):
        return label
    return label.item() if label.size == 1 else repr(label)


def label_reason(labeller: "Labeller", path: str, leaf: object) -> str:
    """Describes where the label of a leaf comes from: a rule, a function, a tree or the default."""
    if isinstance(labeller, Function):
        labeller = labeller.function
    if isinstance(labeller, path_labels):
        rule = next((test for test, _ in labeller.rules if _matches(test, path, leaf)), None)
        return "by the default" if rule is None else f"by the rule {_name(rule)}"
    if isinstance(labeller, FrozenTree):
        return "by the tree of labels"
    inner = getattr(labeller, "mask", None)  # of an inverted mask
    return (
        label_reason(inner, path, leaf) if callable(inner) else f"by the function {_name(labeller)}"
    )


def _name(x: object) -> str:
    return getattr(x, "__name__", None) or short_repr(x)


def short_repr(x: object) -> str:
    """Returns the repr of x without addresses, and with the bare names of functions."""
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(x))
    # `<function outer.<locals>.f>` becomes `f`.
    return re.sub(
        r"<(?:function|bound method) (?:[\w<>]+\.)*([\w]+|<lambda>)(?: of [^<>]*)?>", r"\1", text
    )


Labeller = Callable[[PyTree], PyTree]
"""A function of the parameters that returns a tree of labels, or a prefix of one."""


def as_labeller(labels: PyTree | Labeller) -> Labeller:
    """Makes a hashable function from a tree of labels, or from a function of the parameters."""
    if isinstance(labels, FrozenTree):
        return labels
    return as_function(labels) if is_function(labels) else FrozenTree.of(labels)


def is_function(labels: PyTree | Labeller) -> bool:
    """Tells whether labels are a function. A callable module whose leaves are labels is a tree."""
    leaves = jax.tree.leaves(labels)
    is_tree = leaves and all(isinstance(x, (bool, np.bool_, str)) for x in leaves)
    return callable(labels) and not is_tree


def resolve_labels(
    link: str, what: str, labeller: Labeller, params: PyTree | None, updates: PyTree | None
) -> PyTree:
    """Returns the labels of the parameters' leaves; a prefix is broadcast to its subtree.

    Without the parameters, a function is called by `_labels_by_shape`.

    Raises:
      ValueError: params is None and the labels are a function of more than their shapes, or the
        structures differ; the message names the place.
    """
    # Most labels depend on paths and shapes alone, and so `update` works without the parameters.
    if params is None:
        frozen: Labeller | None = labeller
        if not isinstance(labeller, FrozenTree):
            frozen = _labels_by_shape(lambda p: FrozenTree.of(labeller(p)), updates)
        if frozen is None:
            raise ValueError(
                f"{link}: {what} is a function of more than the parameters' shapes, so update "
                "needs params. Call update(updates, state, params)."
            )
        # The labels are known, and any tree with the parameters' structure is enough for broadcast.
        labeller, params = frozen, jax.tree.map(lambda g: 0, updates, is_leaf=is_sparse)
    # NumPy booleans become Python's, because labels are compared and are keys of dicts.
    labels = jax.tree.map(_to_python, without_containers(labeller(params)))
    try:
        return jax.tree.broadcast(labels, params)
    except ValueError:
        raise ValueError(
            f"{link}: {what} does not fit the parameters: {_mismatch(labels, params)} "
            f"Give one entry for each parameter, or one for a whole subtree."
        ) from None


def _labels_by_shape(label: Callable[[PyTree], T], updates: PyTree) -> T | None:
    """Returns the labels if the updates' paths and shapes decide them; else None.

    An update has the path and the shape of its parameter, and may differ in its dtype. So the
    function is called with abstract arrays of these shapes, in each dtype that parameters have.
    Its labels are returned if they are the same for all dtypes, and need no values.

    Args:
      label: makes labels that can be compared.
    """
    if any(x is None for x in jax.tree.leaves(updates, is_leaf=_is_update)):
        return None  # the shape of the parameter is unknown where the update is missing
    labels: list[T] = []
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64):
        try:
            # Appended, because labels are not arrays, which a traced function must return.
            jax.eval_shape(lambda p: labels.append(label(p)), _shapes(updates, dtype))
        except jax.errors.ConcretizationTypeError:  # the function reads values
            return None
    return labels[0] if all(x == labels[0] for x in labels) else None


def _is_update(x: object) -> bool:
    return x is None or is_sparse(x)


def _shapes(updates: PyTree, dtype: DTypeLike) -> PyTree:
    dtype = jax.dtypes.canonicalize_dtype(dtype)

    def shape(g: ArrayLike) -> jax.ShapeDtypeStruct:
        is_complex = jnp.issubdtype(jnp.result_type(g), jnp.complexfloating)
        return jax.ShapeDtypeStruct(jnp.shape(g), jnp.complex64 if is_complex else dtype)

    return jax.tree.map(shape, updates, is_leaf=is_sparse)


def _mismatch(labels: PyTree, params: PyTree) -> str:
    """Finds the first path that only one of two trees has."""
    param_paths, label_paths = leaf_paths(params), leaf_paths(labels)
    # A label's path is a prefix of its leaves' paths. With a dot at the end of both, `a` is not a
    # prefix of `ab`.
    for path in param_paths:
        prefixes = (q for q in label_paths if q == "(root)" or f"{path}.".startswith(f"{q}."))
        if next(prefixes, None) is None:
            return f"it has nothing for the parameter at '{path}'."
    for path in label_paths:
        if not any(f"{q}.".startswith(f"{path}.") for q in param_paths):
            return f"it has an entry at '{path}', where there is no parameter."
    return f"its containers differ ({jax.tree.structure(labels)})."


_NO_DEFAULT = "(no default)"
"""Marks a default that was not passed; a text, which is equal after pickling."""


@dataclasses.dataclass(frozen=True)
class path_labels:
    r"""Labels leaves by regular expressions on their paths, or by predicates.

    The first rule that matches gives the label. A pattern is searched in the dotted path
    (`layers.0.bias`); a predicate is called with that path and the leaf, and may read its shape
    and dtype.

    Args:
      rules: `(pattern or predicate, label)` pairs, or a mapping of patterns to labels.
      default: label of the leaves that no rule matches; without it, each must be matched.

    Raises:
      ValueError: a pattern is not a regular expression; or (when called) a rule matches no leaf
        first, or a leaf has no rule and there is no default; the message names it.

    Example:
      >>> import jax.numpy as jnp
      >>> label = path_labels({r"bias$": "plain"}, default="decay")
      >>> label({"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}})
      {'dense': {'bias': 'plain', 'kernel': 'decay'}}
    """

    rules: Any
    default: Hashable = _NO_DEFAULT

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", as_rules("path_labels", self.rules))

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the tree of labels of `params`."""
        texts = [f"the rule {_name(test)} for {label!r}" for test, label in self.rules]
        without_default = self.default == _NO_DEFAULT
        chosen = first_rules("path_labels", self.rules, texts, params, required=without_default)
        treedef: PyTreeDef = jax.tree.structure(params)
        return treedef.unflatten([self.default if i is None else self.rules[i][1] for i in chosen])


Rules = Sequence[tuple[str | Callable[[str, Any], object], Any]]


def as_rules(caller: str, rules: Any) -> Rules:
    """Returns the pairs of a test and a value of rules on paths, with their expressions checked."""
    pairs = tuple((k, v) for k, v in (rules.items() if isinstance(rules, Mapping) else rules))
    for test, _ in pairs:
        check_expression(caller, test)
    return pairs


def first_rules(
    caller: str, rules: Rules, texts: Sequence[str], params: PyTree, *, required: bool = False
) -> list[int | None]:
    """Returns for each leaf the index of the first rule that matches, or None.

    Args:
      caller: name with which errors begin.
      rules: pairs of a test and a value.
      texts: description of each rule, for errors.
      params: the tree.
      required: whether each leaf must have a rule.

    Raises:
      ValueError: a rule is the first match of no leaf, most often because its pattern is misspelt;
        or a leaf has no rule.
    """
    paths, leaves = leaf_paths(params), jax.tree.leaves(params)
    chosen, matched = list[int | None](), set[int]()
    for name, leaf in zip(paths, leaves, strict=True):
        # All rules are tried, to tell a rule that matches nothing from one that comes too late.
        hits = [i for i, (test, _) in enumerate(rules) if _matches(test, name, leaf)]
        matched.update(hits)
        if not hits and required:
            raise ValueError(
                f"{caller}: no rule matches the parameter at '{name}'. Add a rule, or pass "
                "default=..."
            )
        chosen.append(hits[0] if hits else None)
    for i, text in enumerate(texts):
        if leaves and i not in chosen:
            what = "only parameters of earlier rules" if i in matched else "no parameter"
            raise ValueError(
                f"{caller}: {text} matches {what}. The paths are {', '.join(paths[:8])}"
                f"{', ...' if len(paths) > 8 else ''}."
            )
    return chosen


def check_expression(where: str, test: object) -> None:
    """Raises ValueError if a rule on paths is a text that is not a regular expression."""
    try:
        re.compile(test if isinstance(test, str) else "")
    except re.error as error:
        raise ValueError(
            f"{where}: {test!r} is not a regular expression: {error}. Escape literal text with "
            "re.escape."
        ) from None


def _matches(test: str | Callable[[str, Any], object], path: str, leaf: object) -> bool:
    """Tells whether a pattern is found in a path, or a predicate is true of path and leaf."""
    return bool(test(path, leaf)) if callable(test) else re.search(test, path) is not None
