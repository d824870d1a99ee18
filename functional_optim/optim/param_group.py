"""Parameter groups as the user sees them: dicts whose edits are noticed, in a list that stays."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, SupportsIndex

import jax

from ..core.bound import is_traced
from ..core.protocol import PyTree
from .plain import frozen

__all__ = ["ParamGroup", "ParamGroups"]

_OF_SCHEDULERS = frozenset(
    {"initial_lr", "max_lr", "min_lr", "base_lr", "swa_lr", "max_momentum", "min_momentum"}
    | {"base_momentum", "name", "param_names"}
)
"""Keys that torch's schedulers and named parameters leave in a group."""

_OTHER_SPELLING = {"lr": "learning_rate", "learning_rate": "lr"}


class ParamGroup(dict[str, Any]):
    """A group's parameters and options: torch's dict, which knows what was edited.

    `group["lr"] = 1e-4` takes effect at the next step. `group["params"]` is the group's tree
    of current parameters; assign `optimizer.params` to replace them. Keys that are no options
    are the user's.

    Args:
      where: what errors call the group.
      known: the optimizer's options.
      given: parameters and options.

    Attributes:
      edited: the options that were given another value since this was last emptied.
    """

    def __init__(self, where: str, known: Collection[str], given: Mapping[str, Any]):
        self._where, self._known = where, frozenset(known)
        self.edited: set[str] = set()
        for key in given:
            self._check(key)
        super().__init__({k: self._kept(k, v) for k, v in given.items()})

    def _kept(self, key: str, value: Any) -> Any:
        return frozen(value) if key in self._known else value

    def _check(self, key: str) -> None:
        """Refuses what looks like a misspelt option, or is one of other optimizers."""
        if key in self._known or key == "params" or key in _OF_SCHEDULERS:
            return
        other = _OTHER_SPELLING.get(key)
        close = difflib.get_close_matches(key, self._known, n=1, cutoff=0.8)
        meant = [other] if other in self._known else close
        if meant or other:
            listed = ", ".join(sorted(self._known)) or "none"
            raise ValueError(
                f"{self._where} has the unknown option {key!r}. "
                + (f"Did you mean {meant[0]!r}?" if meant else f"Its options are: {listed}.")
            )

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Assigns several options, or none of them where one is refused."""
        new = dict(*args, **kwargs)
        if new.get("params", self["params"]) is not self["params"]:
            raise TypeError(
                "param_groups: 'params' cannot be assigned. Assign optimizer.params, or add a "
                "group with add_param_group."
            )
        for key in new:
            self._check(key)
            self._refuse_traced(key, new[key])
        for key, value in new.items():
            value = self._kept(key, value)
            if key in self._known and not _same(self[key], value):
                self.edited.add(key)
            super().__setitem__(key, value)

    def _refuse_traced(self, key: str, value: Any) -> None:
        """Refuses a traced option, which would outlive its trace, unless the step is in one too."""
        if key not in self._known or not is_traced(value) or self.get("differentiable"):
            return
        if not any(map(is_traced, jax.tree.leaves(self["params"]))):
            raise RuntimeError(
                f"{self._where}: {key} was given a traced value, within jit, grad, scan, ..., out "
                "of which the optimizer cannot carry it. Assign it outside, make the optimizer "
                "within, or make it with differentiable=True."
            )

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Assigns an option that is not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: Any) -> "ParamGroup":  # type: ignore[override, misc]
        self.update(other)
        return self

    def __delitem__(self, key: str) -> None:
        if key == "params" or key in self._known:
            raise TypeError(
                f"param_groups: the option {key!r} cannot be deleted. Assign another value."
            )
        super().__delitem__(key)

    def pop(self, key: str, *default: Any) -> Any:
        """Takes out a key of the user's; every option has a value."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> Any:
        """Refuses: every option has a value."""
        del self["params"]

    def clear(self) -> None:
        """Refuses: every option has a value."""
        del self["params"]

    def put_params(self, params: PyTree) -> None:
        """Takes over the parameters after a step; this is no edit."""
        super().__setitem__("params", params)

    def load(self, options: Mapping[str, Any]) -> None:
        """Takes over options that are in force already."""
        super().update({k: self._kept(k, v) for k, v in options.items()})
        self.edited.clear()

    @property
    def options(self) -> dict[str, Any]:
        """All but the parameters."""
        return {k: v for k, v in self.items() if k != "params"}

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (dict(self), dict(self.__dict__))


def _restore(items: dict[str, Any], attributes: dict[str, Any]) -> ParamGroup:
    group = ParamGroup.__new__(ParamGroup)
    dict.update(group, items)
    group.__dict__.update(attributes)
    return group


def _same(a: Any, b: Any) -> bool:
    """Whether two values are surely the same."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a is b or (isinstance(a, (float, int, str)) and a == b)


class ParamGroups(list[ParamGroup]):
    """The groups, in the order of their states: torch's list, which keeps its entries."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "param_groups: groups cannot be removed, replaced or reordered, for each has its "
            "state. Edit the options of a group, or add a group with add_param_group."
        )

    append = extend = insert = remove = pop = clear = reverse = sort = _refuse
    __delitem__ = __iadd__ = __imul__ = _refuse

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        """Edits the options of a group: `param_groups[0] = {**param_groups[0], "lr": 0.1}`."""
        if isinstance(index, slice) or not isinstance(value, Mapping):
            self._refuse()
        self[index].update(value)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return list, (list(self),)
