"""How parameters are given, in groups or in one tree, and how the groups make them up."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, cast

import jax

from ..core.labels import FrozenTree, check_expression, path_labels
from ..core.protocol import MaskedNode, PyTree
from ..core.trees import align, path_string

__all__ = [
    "Layout",
    "PathGroups",
    "check_new_params",
    "path_groups",
    "read_params",
    "refuse_unordered",
]


@dataclasses.dataclass(frozen=True)
class PathGroups:
    """One tree of parameters, with rules that say which leaf is in which group."""

    params: PyTree
    rules: tuple[tuple[Any, Mapping[str, Any]], ...]


def path_groups(params: PyTree, rules: Any) -> PathGroups:
    r"""Makes parameter groups out of rules on the paths of one tree.

    The result is passed to an optimizer in place of the parameters, and `optimizer.params`
    keeps the structure of the tree. The first rule that matches a leaf takes it; the groups
    are in the order of the rules, and the leaves that no rule takes are a last group.

    Args:
      params: tree of arrays.
      rules: mapping from a regular expression, searched in the dotted path (`layers.0.bias`),
        or a predicate of path and leaf, to the group's options; or a list of such pairs.

    Raises:
      TypeError: rules are no pairs of a test and options.
      ValueError: a text is no regular expression; or (by the optimizer) a rule takes no leaf.

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
        read = tuple((test, dict(options)) for test, options in pairs)
    except (TypeError, ValueError):
        raise TypeError(
            "path_groups: rules must be a mapping from expressions to dicts of options, or a list "
            f"of such pairs, got {rules!r}. Pass {{'bias$': {{'weight_decay': 0.0}}}}."
        ) from None
    for test, _ in read:
        check_expression("path_groups", test)
    return PathGroups(params, read)


@dataclasses.dataclass(frozen=True)
class _Whole:
    """A tree that is one group."""

    size = 1

    def split(self, tree: PyTree) -> list[PyTree]:
        return [tree]

    def join(self, trees: list[PyTree]) -> PyTree:
        return trees[0]


@dataclasses.dataclass(frozen=True)
class _ByLabel:
    """A tree whose leaves are in several groups; a group's tree has `MaskedNode` elsewhere."""

    labels: FrozenTree  # number of the group of each leaf
    size: int

    def split(self, tree: PyTree) -> list[PyTree]:
        leaves = align(self.labels(None), tree, link="optimizer", name="the tree")
        return [
            self.labels.treedef.unflatten(
                [x if k == i else MaskedNode() for x, k in zip(leaves, self._numbers, strict=True)]
            )
            for i in range(self.size)
        ]

    def join(self, trees: list[PyTree]) -> PyTree:
        columns = [align(self.labels(None), t, link="optimizer", name="a group") for t in trees]
        picked = [columns[k][i] for i, k in enumerate(self._numbers)]
        return self.labels.treedef.unflatten(picked)

    @property
    def _numbers(self) -> list[int]:
        return cast(list[int], list(self.labels.leaves))


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the groups' trees make up what the user passed, and `optimizer.params` is.

    Attributes:
      parts: one for each tree.
      as_list: whether there is a list of trees, or the one tree itself.
    """

    parts: tuple[_Whole | _ByLabel, ...]
    as_list: bool

    def split(self, tree: PyTree) -> list[PyTree]:
        """The groups' trees."""
        trees = tree if self.as_list else [tree]
        if not isinstance(trees, (list, tuple)) or len(trees) != len(self.parts):
            raise ValueError(
                f"optimizer: expected a list of {len(self.parts)} trees, one for each group given, "
                f"got {type(tree).__name__} of length {len(trees)}."
            )
        return [group for part, t in zip(self.parts, trees, strict=True) for group in part.split(t)]

    def join(self, groups: list[PyTree]) -> PyTree:
        """What `split` took apart."""
        trees, start = [], 0
        for part in self.parts:
            trees.append(part.join(groups[start : start + part.size]))
            start += part.size
        return trees if self.as_list else trees[0]

    def extended(self) -> "Layout":
        """The layout with one more tree, which is one group."""
        return Layout((*self.parts, _Whole()), True)


def read_params(
    who: str, params: Any, options: Collection[str]
) -> tuple[Layout, list[dict[str, Any]]]:
    """Reads what an optimizer is given: a tree, a list of group dicts, or `PathGroups`.

    Args:
      who: the optimizer, for errors.
      params: what it is given.
      options: names of its options, which no tree of parameters has beside `params`.

    Returns:
      The layout, and for each group a new dict of its tree (under `params`) and options.

    Raises:
      TypeError: a set, whose order is not defined, or an iterator; a dict that is a group, or
        a list of which only some entries are.
      ValueError: nothing to train.
    """
    if isinstance(params, PathGroups):
        return _read_path_groups(params)
    _check_kind(who, params, options)
    if isinstance(params, (list, tuple)) and params and all(map(_is_group, params)):
        groups = [dict(group) for group in params]
        for i, group in enumerate(groups):
            refuse_unordered(f"{who}: group {i}", group["params"])
        return Layout(tuple(_Whole() for _ in groups), True), groups
    if not jax.tree.leaves(params):
        raise ValueError("optimizer got an empty parameter list: there is no array in it.")
    return Layout((_Whole(),), False), [{"params": params}]


def _check_kind(who: str, params: Any, options: Collection[str]) -> None:
    """Refuses what would be taken for a tree of parameters, and is none."""
    refuse_unordered(who, params)
    if _is_group(params) and (found := sorted(set(params) & set(options))):
        raise TypeError(
            f"{who}: parameters are a dict with 'params' and the option {found[0]!r}, which is one "
            "group. Wrap it in a list: [{'params': ..., " + f"{found[0]!r}: ...}}]."
        )
    if not isinstance(params, (list, tuple)):
        return
    entries = {i: entry for i, entry in enumerate(params) if not _is_group(entry)}
    if 0 < len(entries) < len(params):
        i, entry = next(iter(entries.items()))
        got = f"the keys {list(entry)}" if isinstance(entry, Mapping) else type(entry).__name__
        raise TypeError(
            f"{who}: parameters are a list of groups, but entry {i} has no 'params': it is "
            f"{got}. Give each entry its parameters under 'params'."
        )


def refuse_unordered(who: str, params: Any) -> None:
    """Raises TypeError for parameters in a set, whose order is not defined, or an iterator."""
    if isinstance(params, (set, frozenset)) or hasattr(params, "__next__"):
        kind = type(params).__name__
        why = "which has no fixed order" if isinstance(params, (set, frozenset)) else "read once"
        raise TypeError(
            f"{who}: parameters must be a pytree or a list of group dicts, got {kind}, {why}. "
            "Pass a dict, or list(...) of it."
        )


def _is_group(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "params" in entry


def _read_path_groups(given: PathGroups) -> tuple[Layout, list[dict[str, Any]]]:
    rest = len(given.rules)
    rules = [(test, i) for i, (test, _) in enumerate(given.rules)]
    labels = FrozenTree.of(path_labels(rules, default=rest)(given.params))
    size = rest + (rest in labels.leaves)
    part = _ByLabel(labels, size)
    options = [dict(options) for _, options in given.rules] + [{}] * (size - rest)
    trees = part.split(given.params)
    groups = [{"params": t, **o} for t, o in zip(trees, options, strict=True)]
    return Layout((part,), False), groups


def check_new_params(old: PyTree, new: PyTree) -> None:
    """Raises ValueError where new parameters differ from the old in structure or shape."""
    flat = jax.tree_util.tree_flatten_with_path(old)[0]
    for (path, a), b in zip(flat, align(old, new, link="optimizer", name="params"), strict=True):
        if getattr(b, "shape", ()) != a.shape:
            raise ValueError(
                f"optimizer: the new parameter at '{path_string(path)}' has shape "
                f"{getattr(b, 'shape', ())}, and the old one {a.shape}."
            )
