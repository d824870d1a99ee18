"""Converts the weights of a torch model, and the moments of its optimizer, to a tree."""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..core.trees.structure import leaf_paths
from ..serialization.placing import place
from ..serialization.versions import COUNT
from .torch_layouts import LAYOUTS, Source, is_statistic, reshaped, sources

__all__ = ["import_model"]

Array = np.ndarray

_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_COLLECTIONS = ("params", "batch_stats")


class _Leaf(NamedTuple):
    """An array of the tree.

    Attributes:
      name: name of the array in an optimizer over the parameters.
      position: index of the array among the leaves of the tree.
      source: the array of torch that it is filled from.
      convert: reshapes an array with torch's layout to the layout of this array.
    """

    name: str
    position: int
    source: Source
    convert: Callable[[Array], Array]


@overload
def import_model(
    state_dict: Mapping[str, PyTree],
    params: PyTree,
    *,
    layout: str,
    modules: Mapping[str, str] | None = None,
    optimizer: None = None,
    names: None = None,
) -> PyTree: ...


@overload
def import_model(
    state_dict: Mapping[str, PyTree],
    params: PyTree,
    *,
    layout: str,
    modules: Mapping[str, str] | None = None,
    optimizer: Mapping[str, PyTree],
    names: Sequence[str] | Sequence[Sequence[str]] | None = None,
) -> tuple[PyTree, dict[str, PyTree]]: ...


def import_model(
    state_dict: Mapping[str, PyTree],
    params: PyTree,
    *,
    layout: Literal["flax", "equinox", "torch"] | str,
    modules: Mapping[str, str] | None = None,
    optimizer: Mapping[str, PyTree] | None = None,
    names: Sequence[str] | Sequence[Sequence[str]] | None = None,
) -> PyTree:
    """Fills a tree with the weights of a torch model, and moves the moments of its optimizer.

    The array at `encoder.fc.kernel` is `encoder.fc.weight` of torch, with its axes in the order of
    the library:

        layout      linear        convolution             attention
        torch       (out, in)     (out, in, *space)       queries, keys, values in one
        flax        (in, out)     (*space, in, out)       three, with an axis of heads
        equinox     (out, in)     (out, in, *space)       three

    The moments of a weight are converted like the weight. `module.` of data parallelism and
    `_orig_mod.` of compiled modules are removed from the names.

    Args:
      state_dict: state of the model: names -> tensors or arrays, as `torch.load` or
        `load_torch_checkpoint` read them.
      params: a tree of the right structure, shapes and dtypes, whose numbers are replaced: the
        variables of Flax linen (all, or their `params`), `nnx.state(model)`, an Equinox model.
      layout: `"flax"` for linen and nnx, `"equinox"`, or `"torch"` for a tree of arrays laid out
        as in torch.
      modules: path of a module in the tree -> its name in torch, where they differ; a path
        also renames everything below it. `{"Dense_0": "fc1", "Dense_1": "fc2"}`.
      optimizer: `state_dict` of torch's optimizer.
      names: names of the parameters, in the order in which torch's optimizer got them; for several
        groups, a list for each. Without names, the names in the optimizer's state are used, or for
        one group of all parameters, the order of `state_dict`.

    Returns:
      The tree; with `optimizer`, a pair of the tree and a `state_dict` that an optimizer over its
      parameters can load.

    Raises:
      ValueError: an array is only on one side, has another shape, or is not known to be a
        parameter's; the message lists all.

    Differences: a linear layer behind a flattened image has its inputs in another order in Flax,
    where channels are last; transposed convolutions and recurrent layers do not differ from
    others in their names. Convert such layers by hand.

    Example:
      >>> saved = {"fc.weight": np.array([[1.0, 2.0], [3.0, 4.0]]), "fc.bias": np.zeros(2)}
      >>> params = {"Dense_0": {"kernel": jnp.zeros((2, 2)), "bias": jnp.ones(2)}}
      >>> import_model(saved, params, layout="flax", modules={"Dense_0": "fc"})["Dense_0"]["kernel"]
      Array([[1., 3.],
             [2., 4.]], dtype=float32)
    """
    if layout not in LAYOUTS:
        raise ValueError(
            f"import_model: layout must be one of {', '.join(map(repr, LAYOUTS))}, got {layout!r}."
        )
    paths = _paths(params)
    saved = {k: _array(x) for k, x in _strip_wrappers(state_dict, paths).items()}
    leaves = _find_sources(saved, params, paths, layout, modules or {})
    arrays, treedef = jax.tree.flatten(params)
    for leaf in leaves:
        value = leaf.convert(leaf.source.of(saved[leaf.source.name]))
        arrays[leaf.position] = jnp.asarray(place(value, arrays[leaf.position]))
    tree = jax.tree.unflatten(treedef, arrays)
    if optimizer is None:
        return tree
    return tree, _import_state(optimizer, saved, leaves, names)


def _array(x: PyTree) -> Array:
    """Returns a tensor as an array; bfloat16, which NumPy lacks, as float32."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if "bfloat16" in str(x.dtype) else x
        return np.asarray(x.numpy())
    return np.asarray(x)


def _paths(params: PyTree) -> list[str]:
    """Returns the path of each leaf, without the collections of Flax."""
    paths = leaf_paths(params)
    if isinstance(params, Mapping) and "params" in params and set(params) <= {*_COLLECTIONS}:
        paths = [path.partition(".")[2] for path in paths]
    return paths


def _strip_wrappers(state_dict: Mapping[str, PyTree], paths: Sequence[str]) -> dict[str, PyTree]:
    """Removes the parts of names that torch's wrappers have added."""
    plain = {_without_wrappers(k): x for k, x in state_dict.items()}
    plain.pop("n_averaged", None)
    while plain and all(k.startswith("module.") for k in plain):
        if any(path.startswith("module.") for path in paths):
            break
        plain = {k.removeprefix("module."): x for k, x in plain.items()}
    return plain


def _saved_name(name: str, saved: Mapping[str, PyTree]) -> str:
    """Returns a name of torch without the parts that wrappers have added."""
    name = _without_wrappers(name)
    while name not in saved and name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _find_sources(
    saved: Mapping[str, Array],
    params: PyTree,
    paths: Sequence[str],
    layout: str,
    modules: Mapping[str, str],
) -> list[_Leaf]:
    """Finds the array of torch for each array of real or complex numbers.

    Raises:
      ValueError: torch's model lacks one, has one more, or has another shape.
    """
    names, transposes = LAYOUTS[layout]
    matched, problems = [], []
    for i, (path, x) in enumerate(zip(paths, jax.tree.leaves(params), strict=True)):
        if not (hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)):
            continue
        module, _, leaf = path.removesuffix(".value").rpartition(".")  # `value` of an nnx.Variable
        candidates = sources(_renamed(module, modules), names.get(leaf, leaf))
        source = next((s for s in candidates if s.name in saved), None)
        if source is None:
            problems.append(f"{path!r} is not in the model of torch, as {candidates[0].name!r}")
            continue
        torch_array, transpose = source.of(saved[source.name]), leaf in transposes
        if reshaped(torch_array, x.shape, transpose) is None:
            problems.append(
                f"{path!r} has shape {x.shape}, and {source.name!r} {torch_array.shape}"
            )
        matched.append(_Leaf(path, i, source, _Reshape(x.shape, transpose)))
    for above in modules:
        if above and not any(f"{path}.".startswith(f"{above}.") for path in paths):
            problems.append(f"{above!r} of modules is above no parameter here")
    unused = saved.keys() - {leaf.source.name for leaf in matched}
    # Statistics may be in another tree.
    problems += [
        f"{k!r} of torch has no place here" for k in saved if k in unused and not is_statistic(k)
    ]
    if problems:
        raise ValueError(
            f"import_model: {'; '.join(problems[:12])}. Pass modules={{path here: name in torch}} "
            "where modules have other names; the arrays of the model are "
            f"{', '.join(list(saved)[:24])}."
        )
    return matched


@dataclasses.dataclass(frozen=True)
class _Reshape:
    """Changes the layout of an array from torch's to the tree's."""

    shape: tuple[int, ...]
    transpose: bool

    def __call__(self, x: Array) -> Array:
        new = reshaped(x, self.shape, self.transpose)
        assert new is not None
        return new


def _renamed(module: str, modules: Mapping[str, str]) -> str:
    """Returns the name of a module in torch, by the longest path of `modules` that contains it."""
    for path in sorted(modules, key=len, reverse=True):
        if module == path or module.startswith(f"{path}.") or not path:
            below = module[len(path) :].lstrip(".")
            return ".".join(part for part in (modules[path], below) if part)
    return module


def _import_state(
    optimizer: Mapping[str, PyTree],
    saved: Mapping[str, Array],
    leaves: Sequence[_Leaf],
    names: Sequence[str] | Sequence[Sequence[str]] | None,
) -> dict[str, PyTree]:
    """Converts the state of torch's optimizer to the arrays of the tree, with their names."""
    groups, entries = optimizer["param_groups"], optimizer["state"]
    by_name: dict[str, list[_Leaf]] = {}
    for leaf in leaves:
        by_name.setdefault(leaf.source.name, []).append(leaf)
    state: dict[int, dict[str, PyTree]] = {}
    new_groups: list[dict[str, PyTree]] = []
    next_number = 0
    for group, group_names in zip(groups, _group_names(groups, names, saved), strict=True):
        numbers, paths = [], []
        for number, name in zip(group["params"], group_names, strict=True):
            if name not in by_name:
                raise ValueError(
                    f"import_model: the optimizer has {name!r}, which the tree does not have."
                )
            entry = _entry(entries, number)
            for leaf in by_name[name]:
                if entry:
                    state[next_number] = _converted(leaf, entry, saved[name].shape)
                numbers.append(next_number)
                paths.append(leaf.name)
                next_number += 1
        steps = {COUNT: _updates(entries, group)}  # a file of torch itself does not have it
        new_groups.append({**group, **steps, "params": numbers, "param_names": paths})
    return {"state": state, "param_groups": new_groups}


def _updates(entries: Mapping[Hashable, Mapping[str, PyTree]], group: Mapping[str, PyTree]) -> int:
    """Returns the number of updates that a group has had."""
    steps = [_array(_entry(entries, k).get("step", 0)) for k in group["params"]]
    return max((int(step.item()) for step in steps), default=0)


def _entry(entries: Mapping[Hashable, Mapping[str, PyTree]], number: int) -> Mapping[str, PyTree]:
    """Returns the entries of a parameter; JSON turns its number into a text."""
    return entries.get(number, entries.get(str(number), {}))


def _group_names(
    groups: Sequence[Mapping[str, PyTree]],
    names: Sequence[str] | Sequence[Sequence[str]] | None,
    saved: Mapping[str, Array],
) -> list[list[str]]:
    """Returns the names in torch of the parameters of each group.

    Raises:
      ValueError: the names are not known, or there are too few or too many.
    """
    sizes = [len(group["params"]) for group in groups]
    name_lists: list[PyTree]
    if names is None:
        named = [group.get("param_names") for group in groups]
        name_lists = named if all(named) else [[k for k in saved if not is_statistic(k)]]
    else:
        name_lists = [names] if all(isinstance(name, str) for name in names) else list(names)
    group_names = [[_saved_name(k, saved) for k in group] for group in name_lists]
    lengths = [len(group) for group in group_names]
    if lengths != sizes:
        raise ValueError(
            f"import_model: torch's optimizer has groups of {sizes} parameters, and the names are "
            f"{lengths}. Pass names=[[name_of[p] for p in group['params']] "
            "for group in optimizer.param_groups], where name_of = {p: name for name, p in "
            "model.named_parameters()}."
        )
    return group_names


def _converted(
    leaf: _Leaf, entry: Mapping[str, PyTree], shape: tuple[int, ...]
) -> dict[str, PyTree]:
    """Converts torch's entries of a parameter to the layout of the parameter in the tree.

    Raises:
      ValueError: an array has another shape than the parameter.
    """
    new: dict[str, PyTree] = {}
    for k, x in entry.items():
        value = _array(x) if hasattr(x, "shape") else x
        if isinstance(value, np.ndarray) and value.shape == shape:
            value = leaf.convert(leaf.source.of(value))
        elif np.size(value) != 1 or isinstance(value, (list, tuple)):
            raise ValueError(
                f"import_model: {k!r} of {leaf.source.name!r} has shape {np.shape(value)}, and the "
                f"parameter {shape}: it is of another parameter, or not one number for each "
                "element, which has no layout here. Check the order of the names."
            )
        new[k] = value
    return new
