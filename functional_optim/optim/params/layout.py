"""Splits the parameters that an optimizer is given into groups, and joins the groups again."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp

from ...core.protocol import Hyperparameter, MaskedNode, PyTree
from ...core.trees.labels import FrozenTree, check_expression, first_rules, short_repr
from ...core.trees.structure import align, path_string
from .copies import check_alive, copy_like
from .models import check_not_model

__all__ = [
    "ParamLayout",
    "PathGroups",
    "check_new_params",
    "check_new_states",
    "check_ordered",
    "path_groups",
    "read_params",
]


PathTest = str | Callable[[str, PyTree], bool]
"""A regular expression, or a predicate of path and leaf."""


@dataclasses.dataclass(frozen=True)
class PathGroups:
    """One tree of parameters, with rules that assign each leaf to a group."""

    params: PyTree
    rules: tuple[tuple[PathTest, Mapping[str, Hyperparameter]], ...]


def path_groups(
    params: PyTree,
    rules: Mapping[Any, Mapping[str, Hyperparameter]]
    | Iterable[tuple[PathTest, Mapping[str, Hyperparameter]]],
) -> PathGroups:
    r"""Makes parameter groups by rules on the paths of one tree.

    Pass the result to an optimizer in place of the parameters; `optimizer.params` keeps the
    structure of the tree. A leaf belongs to the first rule that matches it. The groups are in
    the order of the rules, and the leaves that no rule matches are the last group.

    Args:
      params: tree of arrays.
      rules: mapping from a regular expression, searched in the dotted path (`layers.0.bias`),
        or a predicate of path and leaf, to the group's options; or a list of such pairs.

    Raises:
      TypeError: rules are not pairs of a test and options.
      ValueError: a text is not a regular expression; or (by the optimizer) no leaf matches a
        rule.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> params = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
      >>> groups = optim.path_groups(params, {r"bias$": {"weight_decay": 0.0}})
      >>> opt = optim.AdamW(groups, lr=1e-3)
      >>> [group["weight_decay"] for group in opt.param_groups]
      [0.0, 0.01]
    """
    pairs = rules.items() if isinstance(rules, Mapping) else rules
    try:
        parsed = tuple((test, dict(options)) for test, options in pairs)
    except (TypeError, ValueError):
        raise TypeError(
            "path_groups: rules must be a mapping from expressions to dicts of options, or a list "
            f"of such pairs, got {rules!r}. Pass {{'bias$': {{'weight_decay': 0.0}}}}."
        ) from None
    for test, _ in parsed:
        check_expression("path_groups", test)
    return PathGroups(params, parsed)


@dataclasses.dataclass(frozen=True)
class _WholeTree:
    """A tree that is one group."""

    size = 1

    def split(self, tree: PyTree) -> list[PyTree]:
        return [tree]

    def join(self, trees: list[PyTree]) -> PyTree:
        return trees[0]


@dataclasses.dataclass(frozen=True)
class _ByLabel:
    """A tree whose leaves are in several groups; a group's tree has `MaskedNode` elsewhere."""

    labels: FrozenTree  # the index of each leaf's group
    size: int

    def split(self, tree: PyTree) -> list[PyTree]:
        leaves = align(self.labels(None), tree, link="optimizer", name="the tree")
        return [
            self.labels.treedef.unflatten(
                [
                    x if k == i else MaskedNode()
                    for x, k in zip(leaves, self._group_indices, strict=True)
                ]
            )
            for i in range(self.size)
        ]

    def join(self, trees: list[PyTree]) -> PyTree:
        columns = [align(self.labels(None), t, link="optimizer", name="a group") for t in trees]
        picked = [columns[k][i] for i, k in enumerate(self._group_indices)]
        return self.labels.treedef.unflatten(picked)

    @property
    def _group_indices(self) -> list[int]:
        return cast(list[int], list(self.labels.leaves))


@dataclasses.dataclass(frozen=True)
class ParamLayout:
    """How the trees of the groups form the structure that the user passed.

    Attributes:
      parts: one part for each tree that the user passed.
      as_list: whether the user passed a list of trees, or one tree.
    """

    parts: tuple[_WholeTree | _ByLabel, ...]
    as_list: bool

    def split(self, tree: PyTree) -> list[PyTree]:
        """Splits a tree, structured like `optimizer.params`, into the trees of the groups."""
        trees = tree if self.as_list else [tree]
        if not isinstance(trees, (list, tuple)) or len(trees) != len(self.parts):
            raise ValueError(
                f"optimizer: expected a list of {len(self.parts)} trees, one for each group, "
                f"got {type(tree).__name__} of length {len(trees)}."
            )
        return [group for part, t in zip(self.parts, trees, strict=True) for group in part.split(t)]

    def join(self, groups: list[PyTree]) -> PyTree:
        """Joins the trees of the groups; the reverse of `split`."""
        trees, start = [], 0
        for part in self.parts:
            trees.append(part.join(groups[start : start + part.size]))
            start += part.size
        return trees if self.as_list else trees[0]

    def extended(self) -> "ParamLayout":
        """Returns the layout with one more tree, which is one group."""
        return ParamLayout((*self.parts, _WholeTree()), True)


def read_params(
    owner: str, params: PyTree, options: Collection[str]
) -> tuple[ParamLayout, list[dict[str, PyTree]]]:
    """Reads the first argument of an optimizer: a tree, a list of group dicts, or `PathGroups`.

    Args:
      owner: name of the optimizer, for errors.
      params: the argument.
      options: names of the optimizer's options, which a tree of parameters with a key `params`
        cannot have as keys.

    Returns:
      The layout, and for each group a new dict of its tree (under `params`) and options.

    Raises:
      TypeError: params is a set, whose order is not defined, an iterator, a single group, or a
        list in which only some entries are groups.
      ValueError: params has no array.
    """
    if isinstance(params, PathGroups):
        return _read_path_groups(params)
    _check_kind(owner, params, options)
    # An empty list is a tree without arrays, not a list of groups.
    if isinstance(params, (list, tuple)) and params and all(map(_is_group, params)):
        groups = [dict(group) for group in params]
        for i, group in enumerate(groups):
            check_ordered(f"{owner}: group {i}", group["params"])
            check_not_model(f"{owner}: group {i}", group["params"])
        return ParamLayout(tuple(_WholeTree() for _ in groups), True), groups
    if not jax.tree.leaves(params):
        raise ValueError("optimizer got an empty parameter list: it contains no array.")
    return ParamLayout((_WholeTree(),), False), [{"params": params}]


def _check_kind(owner: str, params: PyTree, options: Collection[str]) -> None:
    """Raises TypeError for arguments that are a tree of arrays only because of a mistake."""
    check_ordered(owner, params)
    check_not_model(owner, params)
    if _is_group(params) and (present := sorted(set(params) & set(options))):
        raise TypeError(
            f"{owner}: parameters are a dict with 'params' and the option {present[0]!r}, which is "
            "one group. Wrap it in a list: [{'params': ..., " + f"{present[0]!r}: ...}}]."
        )
    if not isinstance(params, (list, tuple)):
        return
    others = {i: entry for i, entry in enumerate(params) if not _is_group(entry)}
    if 0 < len(others) < len(params):
        i, entry = next(iter(others.items()))
        got = f"the keys {list(entry)}" if isinstance(entry, Mapping) else type(entry).__name__
        raise TypeError(
            f"{owner}: parameters are a list of groups, but entry {i} has no 'params': it is "
            f"{got}. Give each entry its parameters under 'params'."
        )


def check_ordered(owner: str, params: PyTree) -> None:
    """Raises TypeError for parameters in a set, which has no order, or an iterator."""
    if isinstance(params, (set, frozenset)) or hasattr(params, "__next__"):
        kind = type(params).__name__
        is_set = isinstance(params, (set, frozenset))
        why = "which has no fixed order" if is_set else "which can be read only once"
        raise TypeError(
            f"{owner}: parameters must be a pytree or a list of group dicts, got {kind}, {why}. "
            "Pass a dict or a list instead."
        )


def _is_group(entry: object) -> bool:
    return isinstance(entry, Mapping) and "params" in entry


def _read_path_groups(groups: PathGroups) -> tuple[ParamLayout, list[dict[str, PyTree]]]:
    unmatched = len(groups.rules)  # label of the leaves that no rule matches
    texts = [f"the rule {short_repr(test)}" for test, _ in groups.rules]
    chosen = first_rules("path_groups", groups.rules, texts, groups.params)
    indices = [unmatched if i is None else i for i in chosen]
    labels = FrozenTree.of(jax.tree.unflatten(jax.tree.structure(groups.params), indices))
    size = unmatched + (unmatched in labels.leaves)
    part = _ByLabel(labels, size)
    options = [dict(options) for _, options in groups.rules] + [{}] * (size - unmatched)
    trees = part.split(groups.params)
    dicts = [{"params": t, **o} for t, o in zip(trees, options, strict=True)]
    return ParamLayout((part,), False), dicts


def check_new_params(old: PyTree, new: PyTree) -> None:
    """Raises ValueError if new parameters differ from the old in structure or shape."""
    check_alive("optimizer: params", new)
    flat = jax.tree_util.tree_flatten_with_path(old)[0]
    for (path, a), b in zip(flat, align(old, new, link="optimizer", name="params"), strict=True):
        if getattr(b, "shape", ()) != a.shape:
            raise ValueError(
                f"optimizer: the new parameter at '{path_string(path)}' has shape "
                f"{getattr(b, 'shape', ())}, and the old one {a.shape}."
            )


def check_new_states(where: str, old: Sequence[PyTree], new: object) -> list[PyTree]:
    """Returns copies of new states, in the dtypes of the old ones.

    Raises:
      ValueError: the numbers of states differ, or their structures or shapes.
    """
    check_alive(where, new)
    if not isinstance(new, (list, tuple)) or len(new) != len(old):
        got = f"{len(new)}" if isinstance(new, (list, tuple)) else type(new).__name__
        raise ValueError(
            f"{where}: expected a list with a state for each of {len(old)} groups, got {got}. "
            "Assign states like optimizer.state, or call reset_state."
        )
    copies = []
    for i, (a, b) in enumerate(zip(old, new, strict=True)):
        leaves = align(
            a, b, link=f"{where} of group {i}", name="the new state", reference_name="the old state"
        )
        flat, treedef = jax.tree_util.tree_flatten_with_path(a)
        for (path, x), y in zip(flat, leaves, strict=True):
            if getattr(y, "shape", ()) != x.shape:
                raise ValueError(
                    f"{where} of group {i}: '{path_string(path)}' has shape "
                    f"{getattr(y, 'shape', ())}, and had {x.shape}. Assign states like "
                    "optimizer.state."
                )
        pairs = zip(flat, leaves, strict=True)
        arrays = [copy_like(jnp.asarray(x), y) for (_, x), y in pairs]
        copies.append(jax.tree.unflatten(treedef, arrays))
    return copies
