"""Classes with torch's signatures, derived from recipes: options of a group -> transformation."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from ..core.binding import bind
from ..core.bound import unbound
from ..core.protocol import GradientTransformation, PyTree
from ..core.renumber import carry_over, renumber
from ..core.state import State
from .group import Group
from .handed import find_places, hand_over
from .held import Held
from .hook_calls import with_load_hooks, with_state_dict_hooks
from .left_out import warn_of_left_out
from .optimizer import Optimizer
from .param_group import ParamGroup
from .plain import frozen, is_plain_number
from .torch_file import SavedGroup, match_groups
from .torch_load import any_has, fill_state, park_rest
from .torch_state import Entry, Kept, entries_of, torch_state, updates_made

__all__ = ["TorchOptimizer", "torch_class"]


class TorchOptimizer(Optimizer):
    """An optimizer whose options are torch's, and whose `state_dict` is in torch's format.

    Every option of a group may be edited. A number, flag of sign or schedule in its place
    compiles nothing; an option that changes the program (`nesterov`, `amsgrad`, ...)
    compiles one other program, and keeps all state that both have.

    `foreach`, `fused` and `capturable` choose between torch's implementations; here there is
    one, compiled, and they are accepted for their exclusions only. `differentiable` keeps
    the old arrays alive, so that a step can be differentiated; it is one for all groups.
    """

    recipe: Callable[..., GradientTransformation]
    signature: Mapping[str, inspect.Parameter]
    kept: Mapping[str, Kept]
    optional: Mapping[str, str]
    check: Callable[[Mapping[str, Any]], None]

    def __init__(self, params: Any, *args: Any, **kwargs: Any):
        name = type(self).__name__
        if hasattr(params, "dtype"):
            raise TypeError(
                f"{name}: params argument given to the optimizer should be an iterable of Tensors "
                f"or dicts, but got one array of shape {jnp.shape(params)}. Pass a tree that holds "
                "it, such as [array]."
            )
        options = bind(name, inspect.signature(type(self).recipe), args, kwargs)
        self._donate = not options.get("differentiable", False)
        _check_exclusions(name, options)
        type(self).check({k: _squeeze(k, v) for k, v in options.items()})
        self._transformation(name, frozen(options), frozenset())
        self._setup(params, options, self._donate)

    def _make(self, where: str, options: ParamGroup) -> Group:
        tx, given, present = self._transformation(where, options, frozenset())
        group = Group(options, tx, Held.of(tx.init(options["params"])), present=present)
        _take_places(group, given)
        return group

    def _refresh(self, where: str, group: Group, edited: Any) -> None:
        tx, given, present = self._transformation(where, group.options, group.present)
        if tx.update is group.tx.update:
            group.held.edit(lambda state: renumber(state, tx))
        else:
            group.state, group.parked = carry_over(group.state, tx.init(group.params), group.parked)
        group.tx, group.present = tx, present
        _take_places(group, given)

    def _transformation(
        self, where: str, options: Mapping[str, Any], present: frozenset[str]
    ) -> tuple[GradientTransformation, dict[str, Any], frozenset[str]]:
        """A group's transformation, what it was made of, and what has been on, and so stays."""
        try:
            given = {k: hand_over(k, _squeeze(k, options[k])) for k in type(self).signature}
            for k, parameter in type(self).signature.items():
                if given[k] is None and is_plain_number(parameter.default):
                    raise TypeError(
                        f"{k} must be a real number, got None. Its default is {parameter.default}."
                    )
            for k in type(self).optional:
                if not (is_plain_number(given[k]) and given[k] == 0):
                    present |= {k}
                elif k not in present:
                    given[k] = None
            self._check_flags(options)
            return unbound(type(self).recipe(**given)), given, present
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from None

    def _check_flags(self, options: Mapping[str, Any]) -> None:
        """Flags are flags, and the one that is for all groups is the same in each."""
        for k, parameter in type(self).signature.items():
            flag = parameter.annotation in (bool, bool | None)
            if flag and options[k] not in (None, True, False):
                raise TypeError(f"{k} must be True, False or None, got {options[k]!r}.")
        if bool(options.get("differentiable")) == self._donate:
            raise ValueError(
                f"differentiable is {not self._donate} for the optimizer, and cannot be "
                f"{self._donate} for a group. Pass it to the constructor."
            )

    @with_state_dict_hooks
    def state_dict(self) -> dict[str, Any]:
        """The state in torch's format, with NumPy arrays.

        `{"state": {i: {"step": ..., "exp_avg": ...}}, "param_groups": [{"params": [i], ...}]}`,
        with parameters numbered over the groups in the order of their trees' leaves, and
        none for a parameter that has had no gradient. `param_names` holds their dotted paths,
        with the number of the group in front where several groups have one path. For torch
        itself, see `functional_optim.interop.torch.to_torch`.
        """
        self._compiled()
        return torch_state(self._groups, self._entries)

    @with_load_hooks
    def load_state_dict(
        self, state_dict: Mapping[str, Any], *, names: Sequence[str] | None = None
    ) -> None:
        """Restores a state in torch's format, from here or from torch, or through JSON.

        Parameters are found by name over all groups, so that they may have been grouped
        otherwise. A saved group's options replace those of the group here that has the same
        parameters; a group here that is in the file in no such form keeps its own options, and
        a warning says which differ.
        `differentiable` stays as it is here.

        Args:
          names: names of the saved parameters, as the dotted paths here, in the order of their
            numbers. A file of torch has none, unless its optimizer was given named
            parameters: pass `[name for name, _ in model.named_parameters()]`. Without names,
            parameters are found by position where trees are flat lists, whose order is plain.

        Raises:
          TypeError: not a dict of state and param_groups.
          ValueError: parameters, entries or shapes differ, or which parameter is which cannot
            be known; nothing is loaded then.
        """
        who = f"{type(self).__name__}.load_state_dict"
        saved = match_groups(who, [g.params for g in self._groups], state_dict, names)
        made = [self._load(who, g, s) for g, s in zip(self._groups, saved, strict=True)]
        own = [{k: group.options[k] for k in self.defaults} for group in self._groups]
        warn_of_left_out(who, own, saved)
        for group, (options, new, given) in zip(self._groups, made, strict=True):
            group.options.load(options)
            group.tx, group.state = new.tx, new.state
            group.present, group.parked = new.present, new.parked
            _take_places(group, given)
        self.step_count = max(updates_made(group.state) for group in self._groups)
        self._programs = None

    def _load(
        self, who: str, group: Group, saved: SavedGroup
    ) -> tuple[dict[str, Any], Group, dict[str, Any]]:
        """What a group becomes: options, the rest, and what its transformation was made of."""
        own = {k: group.options[k] for k in ("differentiable",) if k in group.options}
        options = {**group.options.options, **saved.options, **own}
        known = {k: frozen(v) if k in self.defaults else v for k, v in options.items()}
        on = frozenset(k for k, name in self.optional.items() if any_has(saved.entries, name))
        tx, given, present = self._transformation(who, known, on)
        fresh = tx.init(group.params)
        state = self._filled(who, saved, known, group.params, fresh)
        parked = park_rest(self.kept, state, saved.entries, group.params)
        made = Group(group.options, tx, Held.of(state), {}, present, parked)
        return options, made, given

    # The form of the state in a file. A subclass whose state is not of single parameters
    # overrides these two.

    def _entries(self, group: Group) -> list[Entry]:
        """torch's entries for each parameter of a group."""
        return entries_of(self.kept, group)

    def _filled(
        self,
        who: str,
        saved: SavedGroup,
        options: Mapping[str, Any],
        params: PyTree,
        fresh: State,
    ) -> State:
        """The fresh state of a group with what was saved."""
        return fill_state(who, self.kept, self.optional.values(), saved, options, params, fresh)


def torch_class(
    *,
    kept: Mapping[str, Kept],
    optional: Mapping[str, str] | None = None,
    check: Callable[[Mapping[str, Any]], None] = lambda options: None,
    base: type[TorchOptimizer] = TorchOptimizer,
) -> Callable[[Callable[..., GradientTransformation]], type[TorchOptimizer]]:
    """Makes a class out of a recipe, whose signature (after `params`) is the class's.

    A recipe hands numbers on to links, or makes others of them, and decides by flags and by
    None. Where a number decides something by being 0, it is `optional`: an edit of a number
    that was handed on goes into the state, and does not come by the recipe again.

    Args:
      kept: torch's name of an entry of the state -> where it is kept here.
      optional: option -> the entry of the state that is kept for it, but only once the option
        is first not zero; until then the recipe gets None.
      check: raises for arguments of the constructor that do not go together.
      base: what the class derives from.
    """

    def decorate(recipe: Callable[..., GradientTransformation]) -> type[TorchOptimizer]:
        signature = inspect.signature(recipe)
        first = inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        public = inspect.Signature([first, *signature.parameters.values()])
        members = {
            "__doc__": recipe.__doc__,
            "__module__": recipe.__module__,
            "__qualname__": recipe.__qualname__,
            "__signature__": public,
            "recipe": staticmethod(recipe),
            "signature": dict(signature.parameters),
            "kept": dict(kept),
            "optional": dict(optional or {}),
            "check": staticmethod(check),
        }
        recipe.__doc__ = None  # the class has it
        return type(recipe.__name__, (base,), members)

    return decorate


def _check_exclusions(name: str, options: Mapping[str, Any]) -> None:
    """torch's exclusions of flags that have no meaning here, which it checks here only."""
    if options.get("fused") and options.get("differentiable"):
        raise RuntimeError(f"{name}: `fused` does not support `differentiable`. Pass one of them.")
    if options.get("fused") and options.get("foreach"):
        raise RuntimeError(
            f"{name}: `fused` and `foreach` cannot be `True` together. Pass one of them."
        )


def _take_places(group: Group, given: Mapping[str, Any]) -> None:
    treedef = group.held.treedef
    indices = treedef.unflatten(range(treedef.num_leaves))
    group.places = find_places(group.tx, given, indices)


def _squeeze(name: str, value: Any) -> Any:
    """An array of one element as a scalar, as torch has it; other values as they are."""
    if isinstance(value, (tuple, list)):
        return tuple(_squeeze(name, v) for v in value)
    if hasattr(value, "shape") and value.shape:
        if value.size != 1:
            raise ValueError(
                f"Tensor {name} must be 1-element, got shape {value.shape}. Pass one number; for "
                "several, make groups."
            )
        return jnp.reshape(value, ())
    return value
