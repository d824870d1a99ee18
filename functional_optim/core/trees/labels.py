"""Labels: which leaf belongs where, decided by the parameters and never by the updates."""

import dataclasses
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import numpy as np

from ..functions import Function, as_function
from ..protocol import PyTree
from .containers import bare
from .labels_by_shape import labels_by_shape
from .sparse_rows import is_sparse
from .structure import leaf_paths

__all__ = [
    "FrozenTree",
    "Labeller",
    "as_labeller",
    "check_expression",
    "is_function",
    "path_labels",
    "resolve_labels",
    "shown",
    "why",
]


@dataclasses.dataclass(frozen=True)
class FrozenTree:
    """A tree of hashable leaves that can itself be hashed, so that a transformation can hold it."""

    leaves: tuple[Hashable, ...]
    treedef: Any

    @classmethod
    def of(cls, tree: PyTree) -> "FrozenTree":
        """Freezes a tree; NumPy and JAX booleans become Python's, and containers are left out."""
        leaves, treedef = jax.tree.flatten(bare(tree))
        return cls(tuple(_python(x) for x in leaves), treedef)

    def __call__(self, params: PyTree) -> PyTree:
        """Returns the tree, whatever the parameters."""
        del params
        return self.treedef.unflatten(self.leaves)

    def __repr__(self) -> str:
        return repr(self(None))


def _python(label: Any) -> Any:
    """Converts a NumPy or JAX scalar to Python's; a larger array to text, which is not a label."""
    if not hasattr(label, "item"):
        return label
    return label.item() if label.size == 1 else repr(label)


def why(labeller: "Labeller", path: str, leaf: Any) -> str:
    """Says what gave a leaf its label."""
    if isinstance(labeller, Function):
        labeller = labeller.function
    if isinstance(labeller, path_labels):
        hit = next((test for test, _ in labeller.rules if _matches(test, path, leaf)), None)
        return "by the default" if hit is None else f"by the rule {_name(hit)}"
    if isinstance(labeller, FrozenTree):
        return "by the tree of labels"
    inner = getattr(labeller, "mask", None)  # a mask turned around
    return why(inner, path, leaf) if callable(inner) else f"by the function {_name(labeller)}"


def _name(x: Any) -> str:
    return x.__name__ if hasattr(x, "__name__") else shown(x)


def shown(x: Any) -> str:
    """How x prints, without what says nothing to its author: addresses, and `<function ...>`."""
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(x))
    return re.sub(
        r"<(?:function|bound method) (?:[\w<>]+\.)*([\w]+|<lambda>)(?: of [^<>]*)?>", r"\1", text
    )


Labeller = Callable[[PyTree], PyTree]
"""A function of the parameters that gives a tree of labels, or a prefix of one."""


def as_labeller(labels: Any) -> Labeller:
    """Views labels, a tree or a function of the parameters, as a hashable function."""
    if isinstance(labels, FrozenTree):
        return labels
    return as_function(labels) if is_function(labels) else FrozenTree.of(labels)


def is_function(labels: Any) -> bool:
    """Tells whether labels are a function; a callable module is a tree if it holds labels."""
    held = jax.tree.leaves(labels)
    is_tree = held and all(isinstance(x, (bool, np.bool_, str)) for x in held)
    return callable(labels) and not is_tree


def resolve_labels(
    link: str, what: str, labeller: Labeller, params: PyTree | None, updates: PyTree | None
) -> PyTree:
    """Returns the labels of the parameters' leaves; a prefix is broadcast to its subtree.

    Without the parameters, a function is asked for the labels of all that have such updates.

    Raises:
      ValueError: params is None and the labels are a function of more than their shapes, or the
        structures differ; the message names the place.
    """
    if params is None:
        frozen = labeller
        if not isinstance(labeller, FrozenTree):
            frozen = labels_by_shape(lambda p: FrozenTree.of(labeller(p)), updates)
        if frozen is None:
            raise ValueError(
                f"{link}: {what} is a function of more than the parameters' shapes, so update "
                "needs params. Call update(updates, state, params)."
            )
        # Such labels do not depend on values: any tree of the structure will do.
        labeller, params = frozen, jax.tree.map(lambda g: 0, updates, is_leaf=is_sparse)
    labels = jax.tree.map(_python, bare(labeller(params)))
    try:
        return jax.tree.broadcast(labels, params)
    except ValueError:
        raise ValueError(
            f"{link}: {what} does not fit the parameters: {_mismatch(labels, params)} "
            f"Give one entry for each parameter, or one for a whole subtree."
        ) from None


def _mismatch(labels: PyTree, params: PyTree) -> str:
    """Finds the first path that only one of two trees has."""
    wanted, given = leaf_paths(params), leaf_paths(labels)
    for path in wanted:
        if not any(path == g or path.startswith(f"{g}.") or g == "(root)" for g in given):
            return f"it has nothing for the parameter at '{path}'."
    for path in given:
        if not any(path == w or w.startswith(f"{path}.") for w in wanted):
            return f"it has an entry at '{path}', where there is no parameter."
    return f"it is built of other containers ({jax.tree.structure(labels)})."


_NO_DEFAULT = "(no default)"


@dataclasses.dataclass(frozen=True)
class path_labels:
    r"""Labels leaves by regular expressions on their paths, or by predicates.

    The first rule that matches gives the label. A pattern is searched in the dotted path
    (`layers.0.bias`); a predicate is called with that path and the leaf, of which it may
    read shape and dtype.

    Args:
      rules: `(pattern or predicate, label)` pairs, or a mapping of patterns to labels.
      default: label of the leaves that no rule matches; without it, each must be matched.

    Raises:
      ValueError: a pattern is no regular expression; or (when called) a rule gives no leaf its
        label, or a leaf has no rule and there is no default; the message names it.

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
        treedef: Any
        leaves, treedef = jax.tree.flatten(params)
        paths = leaf_paths(params)
        used: set[int] = set()
        labels = []
        for name, leaf in zip(paths, leaves, strict=True):
            hits = [i for i, (test, _) in enumerate(self.rules) if _matches(test, name, leaf)]
            used.update(hits[:1])
            if not hits and self.default == _NO_DEFAULT:
                raise ValueError(
                    f"path_labels: no rule matches the parameter at '{name}'. Add a rule, or "
                    "pass default=..."
                )
            labels.append(self.rules[hits[0]][1] if hits else self.default)
        for i, (test, label) in enumerate(self.rules):
            if i not in used:
                shown = ", ".join(paths[:8])
                raise ValueError(
                    f"path_labels: the rule {test!r} for {label!r} matches no parameter that an "
                    f"earlier rule has not taken. The paths are {shown}"
                    f"{', ...' if len(paths) > 8 else ''}."
                )
        return treedef.unflatten(labels)


def check_expression(where: str, test: Any) -> None:
    """Raises ValueError where a rule on paths is a text and no regular expression."""
    try:
        re.compile(test if isinstance(test, str) else "")
    except re.error as error:
        raise ValueError(
            f"{where}: {test!r} is no regular expression: {error}. Escape what stands for "
            "itself, with re.escape."
        ) from None


def _matches(test: Any, path: str, leaf: Any) -> bool:
    return bool(test(path, leaf)) if callable(test) else re.search(test, path) is not None
