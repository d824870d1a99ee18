"""The base of the classes with torch's options and torch's state_dict."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.state import State
from ..core.traced_hyperparams import without_traced_hyperparams
from ..core.types import Params
from ..transforms.leaf_counts import per_leaf_counts
from .conversions import freeze, is_plain_number
from .hooks import with_load_hooks, with_state_dict_hooks
from .hyperparams import replace_hyperparams, transfer_state
from .optimizer import Optimizer
from .params.param_group import ParamGroup
from .refused_option import name_option
from .state_dict.entries import ParamState, StateEntry
from .state_dict.match import Names, SavedGroup, match_groups
from .state_dict.read import any_has, fill_state, read_dormant_slots
from .state_dict.warnings import (
    warn_of_ignored_options,
    warn_of_square_kernels,
    warn_of_unknown_options,
)
from .state_dict.write import param_states, torch_state_dict, updates_made
from .step.group_state import GroupState
from .step.leaf_counts import has_leaf_counts, with_shared_counts
from .step.optimizer_group import OptimizerGroup
from .torch_options import Options, find_positions, tag_option

__all__ = ["TorchOptimizer"]


class TorchOptimizer(Optimizer):
    """An optimizer with torch's options, whose `state_dict` is in torch's format.

    Every option of a group may be edited. A number, a flag of sign, or a schedule in the place
    of a schedule compiles nothing; an option that changes the program (`nesterov`, `amsgrad`,
    ...) compiles one more program, and keeps all state that both programs have.

    `foreach`, `fused` and `capturable` choose between torch's implementations. This package has
    one, and reads these options only to refuse the combinations that torch refuses.
    `differentiable` keeps the old arrays alive, so that a step can be differentiated; it applies to
    all groups.

    A subclass declares `entries`, and defines `__init__`, whose arguments after `params` are the
    options, and `transformation`, which makes the transformation of a group from them.
    `transformation` may pass numbers on and compute with them, but it may only branch on flags and
    None: an edit of a number is written into the state without a call of `transformation`. An
    option whose value 0 changes the program belongs to `lazy_entries`.
    """

    entries: ClassVar[Mapping[str, StateEntry]] = {}
    """torch's name of an entry of the state -> the slot or scalar that has it."""

    lazy_entries: ClassVar[Mapping[str, str]] = {}
    """Option -> the entry that exists once the option has been other than 0.

    Until then, `transformation` gets None for the option.
    """

    _option_parameters: ClassVar[Mapping[str, inspect.Parameter]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        # A subclass without `transformation` has the options of its base.
        if "transformation" in cls.__dict__:
            _, _, *options = inspect.signature(cls.__init__).parameters.values()
            cls._option_parameters = {p.name: p for p in options}

    def _initialize(self, params: Params, arguments: Mapping[str, PyTree]) -> None:
        """Checks the options, and makes the groups.

        Args:
          params: the first argument of `__init__`.
          arguments: its other arguments by name, such as `locals()`.
        """
        name = type(self).__name__
        if hasattr(params, "dtype") and hasattr(params, "ndim"):  # layers have a dtype as well
            raise TypeError(
                f"{name}: params argument given to the optimizer should be an iterable of Tensors "
                f"or dicts, but got one array of shape {jnp.shape(params)}. Pass a tree that holds "
                "it, such as [array]."
            )
        options = {k: arguments[k] for k in self._option_parameters}
        self._donate = not options.get("differentiable", False)
        _check_exclusions(name, options)
        self._check_options({k: _squeeze(k, v) for k, v in options.items()})
        self._transformation(name, {k: freeze(v) for k, v in options.items()}, frozenset())
        self._init_groups(params, options, self._donate)

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Makes the transformation of a group from its options."""
        raise NotImplementedError

    @classmethod
    def default_options(cls) -> dict[str, Hyperparameter]:
        """Returns the options with their default values."""
        return {k: parameter.default for k, parameter in cls._option_parameters.items()}

    @staticmethod
    def _check_options(options: Options) -> None:
        """Raises an error if arguments of `__init__` contradict each other."""

    def _make_group(self, where: str, options: ParamGroup) -> OptimizerGroup:
        tx, tagged, activated = self._transformation(where, options, frozenset())
        stored = GroupState.of(tx.init(options["params"]))
        group = OptimizerGroup(options, tx, stored, activated=activated)
        _set_positions(group, tagged)
        return group

    def _refresh(self, where: str, group: OptimizerGroup, edited: Iterable[str]) -> None:
        tx, tagged, activated = self._transformation(where, group.options, group.activated)
        if group.counts_leaves:
            tx = per_leaf_counts(tx)
        # The same program: only numbers have changed, and the state stays in its layout.
        if tx.update is group.tx.update:
            group.stored.edit(lambda state: replace_hyperparams(state, tx))
        else:
            fresh = tx.init(group.params)
            group.state, group.dormant_slots = transfer_state(
                group.state, fresh, group.dormant_slots
            )
        group.tx, group.activated = tx, activated
        _set_positions(group, tagged)

    def _transformation(
        self, where: str, options: Options, activated: frozenset[str]
    ) -> tuple[GradientTransformation, Options, frozenset[str]]:
        """Makes a group's transformation.

        Args:
          where: name of the group, for errors.
          options: options of the group.
          activated: options of `lazy_entries` that have been other than 0.

        Returns:
          The transformation; its options, with tagged numbers; and `activated` with the options
          that are other than 0 now.
        """
        tagged: dict[str, Hyperparameter] = {}
        try:
            tagged |= {k: tag_option(k, _squeeze(k, options[k])) for k in self._option_parameters}
            for k, parameter in self._option_parameters.items():
                if tagged[k] is None and is_plain_number(parameter.default):
                    raise TypeError(
                        f"{k} must be a real number, got None. Its default is {parameter.default}."
                    )
            # A schedule or an array may become other than 0 later, so its slot exists from the
            # start.
            for k in self.lazy_entries:
                if not (is_plain_number(tagged[k]) and tagged[k] == 0):
                    activated |= {k}
                elif k not in activated:
                    tagged[k] = None
            self._check_flags(options)
            tx = without_traced_hyperparams(self.transformation(tagged))
            return tx, tagged, activated
        except (TypeError, ValueError) as error:
            message = name_option(str(error), self.transformation, tagged, self._usual_options())
            raise type(error)(f"{where}: {message}") from None

    def _usual_options(self) -> Options:
        """Returns the default options as `transformation` gets them."""
        return {
            k: None if k in self.lazy_entries and v == 0 else v
            for k, v in self.default_options().items()
        }

    def _check_flags(self, options: Options) -> None:
        """Checks that flags are booleans or None, and `differentiable` the same in each group."""
        for k, parameter in self._option_parameters.items():
            is_flag = parameter.annotation in (bool, bool | None)
            if is_flag and options[k] not in (None, True, False):
                raise TypeError(f"{k} must be True, False or None, got {options[k]!r}.")
        if bool(options.get("differentiable")) == self._donate:
            raise ValueError(
                f"differentiable is {not self._donate} for the optimizer, and cannot be "
                f"{self._donate} for a group. Pass it to the constructor."
            )

    @with_state_dict_hooks
    def state_dict(self) -> dict[str, Any]:
        """Returns the state in torch's format, with NumPy arrays.

        `{"state": {i: {"step": ..., "exp_avg": ...}}, "param_groups": [{"params": [i], ...}]}`,
        with parameters numbered over the groups in the order of their trees' leaves, and no
        entry for a parameter that has had no gradient. `param_names` holds their dotted paths,
        with the number of the group in front where several groups have the same path. For torch
        itself, see `functional_optim.interop.torch.to_torch`.
        """
        self._compiled()
        return torch_state_dict(self._groups, self._param_states)

    @with_load_hooks
    def load_state_dict(
        self, state_dict: Mapping[str, PyTree], *, names: Names | None = None
    ) -> None:
        """Restores a state in torch's format, saved by this package or by torch, also through JSON.

        Parameters are found by name over all groups, so that they may be grouped differently
        now. A saved group's options replace the options of the current group with the same
        parameters; a group without such a saved group keeps its options, and a warning says which
        differ. `differentiable` does not change.

        Args:
          names: names of the saved parameters, as dotted paths of the tree, in the order of their
            numbers. A file of torch has none, unless its optimizer was given named
            parameters: pass `[name for name, _ in model.named_parameters()]`. If torch's
            optimizer had several groups, it numbered the parameters group by group: pass a list
            of names for each group. Without names, parameters are found by position if trees are
            flat lists, whose order is certain.

        Raises:
          TypeError: not a dict of state and param_groups.
          ValueError: parameters, entries or shapes differ, or which parameter is which cannot
            be known; nothing is loaded then.
        """
        owner = f"{type(self).__name__}.load_state_dict"
        saved = match_groups(owner, [g.params for g in self._groups], state_dict, names)
        loaded = [self._load_group(owner, g, s) for g, s in zip(self._groups, saved, strict=True)]
        current = [{k: group.options[k] for k in self.defaults} for group in self._groups]
        warn_of_ignored_options(owner, current, saved)
        warn_of_square_kernels(owner, saved)
        warn_of_unknown_options(owner, [group.options for group in self._groups], saved)
        # Nothing was changed up to this point, and nothing raises after it.
        for group, (options, new, tagged) in zip(self._groups, loaded, strict=True):
            group.options.load(options)
            group.tx, group.state = new.tx, new.state
            group.activated, group.dormant_slots = new.activated, new.dormant_slots
            group.loaded, group.counts_leaves = new.loaded, new.counts_leaves
            _set_positions(group, tagged)
        self.step_count = max(updates_made(group.state) for group in self._groups)
        self._programs = None

    def _load_group(
        self, owner: str, group: OptimizerGroup, saved: SavedGroup
    ) -> tuple[dict[str, PyTree], OptimizerGroup, Options]:
        """Returns the options, the group and the tagged options that loading gives a group."""
        unchanged = {k: group.options[k] for k in ("differentiable",) if k in group.options}
        options = {**group.options.options, **saved.options, **unchanged}
        frozen = {k: freeze(v) if k in self.defaults else v for k, v in options.items()}
        activated = frozenset(
            option for option, name in self.lazy_entries.items() if any_has(saved.states, name)
        )
        tx, tagged, activated = self._transformation(owner, frozen, activated)
        # torch has a count for each parameter; equal counts are merged below.
        counting = per_leaf_counts(tx)
        state = self._fill(owner, saved, group.params, counting.init(group.params))
        state = with_shared_counts(state)
        counts_leaves = has_leaf_counts(state)
        dormant_slots = read_dormant_slots(self.entries, state, saved.states, group.params)
        new = OptimizerGroup(
            group.options,
            counting if counts_leaves else tx,
            GroupState.of(state),
            activated=activated,
            dormant_slots=dormant_slots,
            loaded=frozenset(i for i, entry in enumerate(saved.states) if entry),
            counts_leaves=counts_leaves,
        )
        return options, new, tagged

    # The next two methods convert states to torch's format and back. A subclass overrides them if
    # its state does not consist of one entry for each parameter.

    def _param_states(self, group: OptimizerGroup) -> list[ParamState]:
        """Returns torch's state of each parameter of a group."""
        return param_states(self.entries, group)

    def _fill(self, owner: str, saved: SavedGroup, params: Params, fresh: State) -> State:
        """Returns the fresh state of a group, filled with the saved entries."""
        return fill_state(owner, self.entries, self.lazy_entries.values(), saved, params, fresh)


def _check_exclusions(name: str, options: Options) -> None:
    """Raises RuntimeError for combinations of flags, as the constructors of torch do."""
    if options.get("fused") and options.get("differentiable"):
        raise RuntimeError(f"{name}: `fused` does not support `differentiable`. Pass one of them.")
    if options.get("fused") and options.get("foreach"):
        raise RuntimeError(
            f"{name}: `fused` and `foreach` cannot be `True` together. Pass one of them."
        )


def _set_positions(group: OptimizerGroup, tagged: Options) -> None:
    treedef = group.stored.treedef
    leaf_indices = jax.tree.unflatten(treedef, range(treedef.num_leaves))
    group.positions = find_positions(group.tx, tagged, leaf_indices)


def _squeeze(name: str, value: PyTree) -> PyTree:
    """Returns an array of one element as a scalar, as torch does; other values unchanged."""
    if isinstance(value, (tuple, list)):
        return tuple(_squeeze(name, v) for v in value)
    if hasattr(value, "shape") and value.shape:
        if value.size != 1:
            raise ValueError(
                f"Tensor {name} must be 1-element, got shape {value.shape}. Pass one number, or "
                "make groups for several."
            )
        return jnp.reshape(value, ())
    return value
