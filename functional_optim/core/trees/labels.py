"""Labels: which leaf belongs where, decided by the parameters and never by the updates."""

import dataclasses
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import numpy as np
from jax.tree_util import PyTreeDef

from ..functions import Function, as_function
from ..protocol import PyTree
from .containers import without_containers
from .labels_by_shape import labels_by_shape
from .sparse_rows import is_sparse
from .structure import leaf_paths

__all__ = [
    "FrozenTree",
    "Labeller",
    "as_labeller",
    "check_expression",
    "is_function",
    "matches_rule",
    "path_labels",
    "resolve_labels",
    "short_repr",
    "label_reason",
]


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
    """Describes by what a leaf got its label: a rule, a function, a tree or the default."""
    if isinstance(labeller, Function):
        labeller = labeller.function
    if isinstance(labeller, path_labels):
        rule = next((test for test, _ in labeller.rules if matches_rule(test, path, leaf)), None)
        return "by the default" if rule is None else f"by the rule {_name(rule)}"
    if isinstance(labeller, FrozenTree):
        return "by the tree of labels"
    inner = getattr(labeller, "mask", None)  # a mask turned around
    return (
        label_reason(inner, path, leaf) if callable(inner) else f"by the function {_name(labeller)}"
    )


def _name(x: object) -> str:
    return getattr(x, "__name__", None) or short_repr(x)


def short_repr(x: object) -> str:
    """Returns the repr of x without addresses, and with the bare names of functions."""
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(x))
    return re.sub(
        r"<(?:function|bound method) (?:[\w<>]+\.)*([\w]+|<lambda>)(?: of [^<>]*)?>", r"\1", text
    )


Labeller = Callable[[PyTree], PyTree]
"""A function of the parameters that returns a tree of labels, or a prefix of one."""


def as_labeller(labels: PyTree | Labeller) -> Labeller:
    """Makes a hashable function of labels: of a tree, or of a function of the parameters."""
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

    Without the parameters, a function is called by `labels_by_shape`.

    Raises:
      ValueError: params is None and the labels are a function of more than their shapes, or the
        structures differ; the message names the place.
    """
    if params is None:
        frozen: Labeller | None = labeller
        if not isinstance(labeller, FrozenTree):
            frozen = labels_by_shape(lambda p: FrozenTree.of(labeller(p)), updates)
        if frozen is None:
            raise ValueError(
                f"{link}: {what} is a function of more than the parameters' shapes, so update "
                "needs params. Call update(updates, state, params)."
            )
        # The labels are known, and any tree of the parameters' structure serves to broadcast them.
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


def _mismatch(labels: PyTree, params: PyTree) -> str:
    """Finds the first path that only one of two trees has."""
    param_paths, label_paths = leaf_paths(params), leaf_paths(labels)
    for path in param_paths:
        prefixes = (q for q in label_paths if q == "(root)" or f"{path}.".startswith(f"{q}."))
        if next(prefixes, None) is None:
            return f"it has nothing for the parameter at '{path}'."
    for path in label_paths:
        if not any(f"{q}.".startswith(f"{path}.") for q in param_paths):
            return f"it has an entry at '{path}', where there is no parameter."
    return f"it is built of other containers ({jax.tree.structure(labels)})."


_NO_DEFAULT = "(no default)"


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
        rules = self.rules.items() if isinstance(self.rules, Mapping) else self.rules
        object.__setattr__(self, "rules", tuple((test, label) for test, label in rules))
        for test, _ in self.rules:
            check_expression("path_labels", test)

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the tree of labels of `params`."""
        treedef: PyTreeDef
        leaves, treedef = jax.tree.flatten(params)
        paths = leaf_paths(params)
        used, matched = set[int](), set[int]()
        labels = []
        # A rule that gives no label is an error, because it is most often a misspelt pattern.
        for name, leaf in zip(paths, leaves, strict=True):
            hits = [i for i, (test, _) in enumerate(self.rules) if matches_rule(test, name, leaf)]
            used.update(hits[:1])
            matched.update(hits)
            if not hits and self.default == _NO_DEFAULT:
                raise ValueError(
                    f"path_labels: no rule matches the parameter at '{name}'. Add a rule, or "
                    "pass default=..."
                )
            labels.append(self.rules[hits[0]][1] if hits else self.default)
        for i, (test, label) in enumerate(self.rules):
            if leaves and i not in used:
                what = "only parameters of earlier rules" if i in matched else "no parameter"
                first_paths = ", ".join(paths[:8])
                raise ValueError(
                    f"path_labels: the rule {_name(test)} for {label!r} matches {what}. The paths "
                    f"are {first_paths}{', ...' if len(paths) > 8 else ''}."
                )
        return treedef.unflatten(labels)


def check_expression(where: str, test: object) -> None:
    """Raises ValueError where a rule on paths is a text, and not a regular expression."""
    try:
        re.compile(test if isinstance(test, str) else "")
    except re.error as error:
        raise ValueError(
            f"{where}: {test!r} is no regular expression: {error}. Escape what stands for "
            "itself, with re.escape."
        ) from None


def matches_rule(test: str | Callable[[str, Any], object], path: str, leaf: object) -> bool:
    """Tells whether a pattern is found in a path, or a predicate is true of path and leaf."""
    return bool(test(path, leaf)) if callable(test) else re.search(test, path) is not None
