"""Parameter groups as the user sees them: dicts that notice edits, in a list of fixed length."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, SupportsIndex

import jax

from ...core.protocol import PyTree
from ...core.traced_hyperparams import is_traced
from ..conversions import freeze

__all__ = ["KEYS_OF_TORCH", "REQUIRES_GRAD", "ParamGroup", "ParamGroups"]

REQUIRES_GRAD = "requires_grad"
"""The key that says whether a group is trained; a group without the key is."""

KEYS_OF_TORCH = frozenset(
    {"initial_lr", "max_lr", "min_lr", "base_lr", "swa_lr", "max_momentum", "min_momentum"}
    | {"base_momentum", "name", "param_names"}
)
"""Keys that torch's schedulers and named parameters leave in a group."""

_RATE, _MOMENTS = ("lr", "learning_rate"), ("betas", "b1", "b2", "beta")
_MEANT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("lr", "learningrate", "eta", "stepsize"), _RATE),
    **dict.fromkeys(("wd", "l2", "weightdecay"), ("weight_decay",)),
    **dict.fromkeys(("beta", "betas", "beta1", "beta2", "b1", "b2"), (*_MOMENTS, "momentum")),
    **dict.fromkeys(("mom", "mu"), ("momentum", *_MOMENTS)),
    "epsilon": ("eps", "epsilon"),
}
"""Other names of an option, in lower case and without underscores -> options that may be meant."""

_ALWAYS_MEANT = frozenset({"lr", "learningrate", "wd"})
"""Keys that always mean an option: users do not store data of their own under them."""


class ParamGroup(dict[str, Any]):
    """A group's parameters and options: torch's dict, which also notices edits.

    `group["lr"] = 1e-4` takes effect at the next step. `group["params"]` is the group's tree
    of current parameters; assign `optimizer.params` to replace them. Keys that are not options
    belong to the user.

    Args:
      where: name of the group, for errors.
      option_names: the optimizer's options.
      items: parameters and options.

    Attributes:
      edited: the options (or `requires_grad`) whose values have changed since this set was last
        emptied.
    """

    def __init__(self, where: str, option_names: Collection[str], items: Mapping[str, PyTree]):
        self._where, self._option_names = where, frozenset(option_names)
        self.edited: set[str] = set()
        for key in items:
            self._check_key(key)
            self._check_trained(key, items[key])
        super().__init__({k: self._frozen(k, v) for k, v in items.items()})

    def _frozen(self, key: str, value: PyTree) -> PyTree:
        return freeze(value) if key in self._option_names else value

    def _check_key(self, key: str) -> None:
        """Raises ValueError for a key that looks like a misspelt option, or an option elsewhere."""
        if key in self._option_names or key == "params" or key in KEYS_OF_TORCH:
            return
        suggestions = self._suggestions(key)
        if suggestions or _plain(key) in _ALWAYS_MEANT:
            listed = ", ".join(sorted(self._option_names)) or "none"
            hint = f"Its options are: {listed}."
            if suggestions:
                hint = f"Did you mean {suggestions[0]!r}?"
            raise ValueError(f"{self._where} has the unknown option {key!r}. {hint}")

    def _suggestions(self, key: str) -> list[str]:
        """Returns the options that a key may mean: by another name, or misspelt."""
        plain = _plain(key)
        same = [k for k in sorted(self._option_names) if _plain(k) == plain]
        renamed = [k for k in _MEANT.get(plain, ()) if k in self._option_names]
        close = difflib.get_close_matches(key, self._option_names, n=1, cutoff=0.8)
        return [*same, *renamed, *close]

    def __setitem__(self, key: str, value: object) -> None:
        self.update({key: value})

    def update(self, *args: PyTree, **kwargs: PyTree) -> None:
        """Assigns several options; if one is refused, none is assigned."""
        new = dict(*args, **kwargs)
        if new.get("params", self["params"]) is not self["params"]:
            raise TypeError(
                "param_groups: 'params' cannot be assigned. Assign optimizer.params, or add a "
                "group with add_param_group."
            )
        # Check all options before any is assigned.
        for key in new:
            self._check_key(key)
            self._check_trained(key, new[key])
            self._check_not_traced(key, new[key])
        for key, value in new.items():
            value = self._frozen(key, value)
            if key in self._option_names and not _same(self[key], value):
                self.edited.add(key)
            if key == REQUIRES_GRAD and value is not self.get(REQUIRES_GRAD, True):
                self.edited.add(key)
            super().__setitem__(key, value)

    def _check_trained(self, key: str, value: object) -> None:
        if key == REQUIRES_GRAD and value not in (True, False):
            raise TypeError(
                f"{self._where}: {REQUIRES_GRAD} must be True or False, got {value!r}. Pass a "
                "bool, because the step is compiled for it."
            )

    def _check_not_traced(self, key: str, value: object) -> None:
        """Raises RuntimeError for a tracer, which would leak, unless the parameters are traced."""
        if key not in self._option_names or not is_traced(value) or self.get("differentiable"):
            return
        if not any(map(is_traced, jax.tree.leaves(self["params"]))):
            raise RuntimeError(
                f"{self._where}: {key} was given a traced value. The optimizer cannot carry it out "
                "of the trace (jit, grad, scan, ...). Assign it outside, make the optimizer "
                "within, or make it with differentiable=True."
            )

    def setdefault(self, key: str, default: PyTree = None) -> PyTree:
        """Assigns a key that is not in the group yet, and returns its value."""
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: PyTree) -> "ParamGroup":  # type: ignore[override, misc]
        self.update(other)
        return self

    def __delitem__(self, key: str) -> None:
        if key == REQUIRES_GRAD and not self.get(REQUIRES_GRAD, True):
            self.edited.add(key)
        if key == "params" or key in self._option_names:
            raise TypeError(
                f"param_groups: the option {key!r} cannot be deleted. Assign another value."
            )
        super().__delitem__(key)

    def pop(self, key: str, *default: PyTree) -> PyTree:
        """Removes a key of the user's, and returns its value; options cannot be removed."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, PyTree]:
        """Raises TypeError: options cannot be removed."""
        return "params", self.pop("params")

    def clear(self) -> None:
        """Raises TypeError: options cannot be removed."""
        del self["params"]

    def put_params(self, params: PyTree) -> None:
        """Replaces the parameters after a step, which does not count as an edit."""
        super().__setitem__("params", params)

    def load(self, options: Mapping[str, PyTree]) -> None:
        """Replaces options by values with which the state has already been made."""
        super().update({k: self._frozen(k, v) for k, v in options.items()})
        self.edited.clear()

    @property
    def options(self) -> dict[str, PyTree]:
        """All keys but the parameters."""
        return {k: v for k, v in self.items() if k != "params"}

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (dict(self), dict(self.__dict__))


def _plain(key: str) -> str:
    """Returns a key in lower case and without underscores."""
    return key.lower().replace("_", "")


def _restore(items: dict[str, PyTree], attributes: dict[str, object]) -> ParamGroup:
    group = ParamGroup.__new__(ParamGroup)
    dict.update(group, items)
    group.__dict__.update(attributes)
    return group


def _same(a: PyTree, b: PyTree) -> bool:
    """Tells whether two values are certainly the same; arrays are not compared."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a is b or (isinstance(a, (float, int, str)) and a == b)


class ParamGroups(list[ParamGroup]):
    """The groups in the order of their states: torch's list, but of fixed length."""

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError(
            "param_groups: groups cannot be removed, replaced or reordered, because each has "
            "its state. Edit the options of a group, or add a group with add_param_group."
        )

    append = extend = insert = remove = pop = clear = reverse = sort = _refuse
    __delitem__ = __iadd__ = __imul__ = _refuse

    def __setitem__(self, index: SupportsIndex | slice, value: object) -> None:
        """Edits the options of a group: `param_groups[0] = {**param_groups[0], "lr": 0.1}`."""
        if isinstance(index, slice) or not isinstance(value, Mapping):
            self._refuse()
        self[index].update(value)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        return list, (list(self),)
