"""Brings the weights of a torch model, and the moments of its optimizer, into a tree here."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..core.trees.structure import leaf_paths
from ..serialization.placing import place
from ..serialization.versions import COUNT
from .torch_layouts import LAYOUTS, Source, is_statistic, reshaped, sources

__all__ = ["import_model"]

Array = np.ndarray[Any, Any]

_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_COLLECTIONS = ("params", "batch_stats")


class _Leaf(NamedTuple):
    """An array here.

    Attributes:
      name: as an optimizer over the parameters calls it.
      position: among the leaves of the tree.
      source: where torch has it.
      convert: turns an array shaped like torch's into one shaped like this.
    """

    name: str
    position: int
    source: Source
    convert: Callable[[Array], Array]


@overload
def import_model(
    state_dict: Mapping[str, Any],
    params: PyTree,
    *,
    layout: str,
    modules: Mapping[str, str] | None = None,
    optimizer: None = None,
    names: None = None,
) -> PyTree: ...


@overload
def import_model(
    state_dict: Mapping[str, Any],
    params: PyTree,
    *,
    layout: str,
    modules: Mapping[str, str] | None = None,
    optimizer: Mapping[str, Any],
    names: Sequence[str] | Sequence[Sequence[str]] | None = None,
) -> tuple[PyTree, dict[str, Any]]: ...


def import_model(
    state_dict: Mapping[str, Any],
    params: PyTree,
    *,
    layout: Literal["flax", "equinox", "torch"] | str,
    modules: Mapping[str, str] | None = None,
    optimizer: Mapping[str, Any] | None = None,
    names: Sequence[str] | Sequence[Sequence[str]] | None = None,
) -> Any:
    """Fills a tree with the weights of a torch model, and moves the moments of its optimizer.

    The array at `encoder.fc.kernel` is `encoder.fc.weight` of torch, with its axes in the order of
    the library here:

        layout      linear        convolution             attention
        torch       (out, in)     (out, in, *space)       queries, keys, values in one
        flax        (in, out)     (*space, in, out)       three, with an axis of heads
        equinox     (out, in)     (out, in, *space)       three

    The moments of a weight are laid out as the weight. `module.` of data parallelism and
    `_orig_mod.` of compiled modules are taken off the names.

    Args:
      state_dict: of the model: names -> tensors or arrays, as `torch.load` or
        `load_torch_checkpoint` reads them.
      params: a tree of the right structure, shapes and dtypes, whose numbers are replaced: the
        variables of Flax linen (all, or their `params`), `nnx.state(model)`, an Equinox model.
      layout: `"flax"` for linen and nnx, `"equinox"`, or `"torch"` for a tree of arrays laid out
        as in torch.
      modules: path of a module here -> its name in torch, where they differ; a path stands for
        all that is below it. `{"Dense_0": "fc1", "Dense_1": "fc2"}`.
      optimizer: `state_dict` of torch's optimizer.
      names: of the parameters, in the order in which torch's optimizer was given them; of several
        groups, a list for each. Without names, those in the optimizer's state are taken, or for
        one group of all parameters, the order of `state_dict`.

    Returns:
      The tree; with `optimizer`, a pair of it and of what `load_state_dict` of an optimizer over
      its parameters takes.

    Raises:
      ValueError: an array is only on one side, has another shape, or is not known to be a
        parameter's; the message lists all.

    Differences: a linear layer behind a flattened image has its inputs in another order in Flax,
    where channels are last; transposed convolutions and recurrent layers are not told apart from
    others by their names. Convert those by hand.

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
    saved = {k: _array(x) for k, x in _stripped(state_dict, paths).items()}
    leaves = _find(saved, params, paths, layout, modules or {})
    treedef: Any
    old, treedef = jax.tree.flatten(params)
    for leaf in leaves:
        value = leaf.convert(leaf.source.of(saved[leaf.source.name]))
        old[leaf.position] = jnp.asarray(place(value, old[leaf.position]))
    tree = treedef.unflatten(old)
    if optimizer is None:
        return tree
    return tree, _import_state(optimizer, saved, leaves, names)


def _array(x: Any) -> Array:
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


def _stripped(state_dict: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Takes off the names what wrappers of torch put there."""
    plain = {_without_wrappers(k): x for k, x in state_dict.items()}
    plain.pop("n_averaged", None)
    while plain and all(k.startswith("module.") for k in plain):
        if any(path.startswith("module.") for path in paths):
            break
        plain = {k.removeprefix("module."): x for k, x in plain.items()}
    return plain


def _saved_name(name: str, saved: Mapping[str, Any]) -> str:
    """Returns a name of torch as that of an array of the model, without what wrappers put there."""
    name = _without_wrappers(name)
    while name not in saved and name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _find(
    saved: Mapping[str, Array],
    params: PyTree,
    paths: Sequence[str],
    layout: str,
    modules: Mapping[str, str],
) -> list[_Leaf]:
    """Finds for each array of real or complex numbers where torch has it.

    Raises:
      ValueError: one is not there, or of another shape, or the model has one more.
    """
    names, transposes = LAYOUTS[layout]
    found, problems = [], []
    for i, (path, x) in enumerate(zip(paths, jax.tree.leaves(params), strict=True)):
        if not (hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)):
            continue
        module, _, leaf = path.removesuffix(".value").rpartition(".")  # `value` of an nnx.Variable
        candidates = sources(_renamed(module, modules), names.get(leaf, leaf))
        source = next((s for s in candidates if s.name in saved), None)
        if source is None:
            problems.append(f"{path!r} is not in the model of torch, as {candidates[0].name!r}")
            continue
        there, transpose = source.of(saved[source.name]), leaf in transposes
        if reshaped(there, x.shape, transpose) is None:
            problems.append(f"{path!r} has shape {x.shape}, and {source.name!r} {there.shape}")
        found.append(_Leaf(path, i, source, _Reshape(x.shape, transpose)))
    for above in modules:
        if above and not any(f"{path}.".startswith(f"{above}.") for path in paths):
            problems.append(f"{above!r} of modules is above no parameter here")
    unused = saved.keys() - {leaf.source.name for leaf in found}
    problems += [f"{k!r} of torch has no place here" for k in saved if k in unused and _matters(k)]
    if problems:
        raise ValueError(
            f"import_model: {'; '.join(problems[:12])}. Pass modules={{path here: name in torch}} "
            "where modules have other names; the arrays of the model are "
            f"{', '.join(list(saved)[:24])}."
        )
    return found


@dataclasses.dataclass(frozen=True)
class _Reshape:
    """Lays out an array of torch as one here."""

    shape: tuple[int, ...]
    transpose: bool

    def __call__(self, x: Array) -> Array:
        new = reshaped(x, self.shape, self.transpose)
        assert new is not None
        return new


def _matters(name: str) -> bool:
    """Tells whether an entry must have a place: statistics may be kept elsewhere."""
    return not is_statistic(name)


def _renamed(module: str, modules: Mapping[str, str]) -> str:
    """Returns the name of a module in torch, by the longest path that is above it."""
    for path in sorted(modules, key=len, reverse=True):
        if module == path or module.startswith(f"{path}.") or not path:
            rest = module[len(path) :].lstrip(".")
            return ".".join(part for part in (modules[path], rest) if part)
    return module


def _import_state(
    optimizer: Mapping[str, Any],
    saved: Mapping[str, Array],
    leaves: Sequence[_Leaf],
    names: Sequence[Any] | None,
) -> dict[str, Any]:
    """Returns the state of torch's optimizer, of the parameters here, with their names."""
    groups, entries = optimizer["param_groups"], optimizer["state"]
    by_name: dict[str, list[_Leaf]] = {}
    for leaf in leaves:
        by_name.setdefault(leaf.source.name, []).append(leaf)
    state: dict[int, dict[str, Any]] = {}
    new_groups: list[dict[str, Any]] = []
    next_number = 0
    for group, group_names in zip(groups, _group_names(groups, names, saved), strict=True):
        numbers, paths = [], []
        for number, name in zip(group["params"], group_names, strict=True):
            if name not in by_name:
                raise ValueError(f"import_model: the optimizer has {name!r}, and the tree has not.")
            entry = _entry(entries, number)
            for leaf in by_name[name]:
                if entry:
                    state[next_number] = _converted(leaf, entry, saved[name].shape)
                numbers.append(next_number)
                paths.append(leaf.name)
                next_number += 1
        made = {COUNT: _updates(entries, group)}  # which says that all is laid out as here
        new_groups.append({**group, **made, "params": numbers, "param_names": paths})
    return {"state": state, "param_groups": new_groups}


def _updates(entries: Mapping[Any, Any], group: Mapping[str, Any]) -> int:
    """Returns the number of updates that a group has had."""
    steps = [_array(_entry(entries, k).get("step", 0)) for k in group["params"]]
    return max((int(step.item()) for step in steps), default=0)


def _entry(entries: Mapping[Any, Any], number: int) -> Mapping[str, Any]:
    """Returns what is kept for a parameter; JSON turns its number into a text."""
    found: Mapping[str, Any] = entries.get(number, entries.get(str(number), {}))
    return found


def _group_names(
    groups: Sequence[Mapping[str, Any]], names: Sequence[Any] | None, saved: Mapping[str, Array]
) -> list[list[str]]:
    """Returns the names in torch of the parameters of each group.

    Raises:
      ValueError: they are not known, or not as many.
    """
    sizes = [len(group["params"]) for group in groups]
    given: list[Any]
    if names is None:
        named = [group.get("param_names") for group in groups]
        given = named if all(named) else [[k for k in saved if not is_statistic(k)]]
    else:
        given = [names] if all(isinstance(name, str) for name in names) else list(names)
    found = [[_saved_name(k, saved) for k in group] for group in given]
    if [len(group) for group in found] != sizes:
        raise ValueError(
            f"import_model: torch's optimizer has groups of {sizes} parameters, and the names are "
            f"{[len(group) for group in found]}. Pass names=[[name_of[p] for p in group['params']] "
            "for group in optimizer.param_groups], where name_of = {p: name for name, p in "
            "model.named_parameters()}."
        )
    return found


def _converted(leaf: _Leaf, entry: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns what torch keeps for a parameter, laid out as the parameter here.

    Raises:
      ValueError: an array of it has another shape than the parameter.
    """
    new: dict[str, Any] = {}
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
