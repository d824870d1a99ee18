"""Classes with torch's signatures, derived from recipes: options of a group -> transformation."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..core.binding import bind
from ..core.protocol import GradientTransformation, PyTree
from ..core.renumber import Parked, carry_over, renumber
from ..core.state import State
from .groups import ParamGroup
from .optimizer import Optimizer
from .torch_load import load_torch_state
from .torch_state import Kept, torch_state

__all__ = ["TorchOptimizer", "torch_class"]

_FLAGS = ("foreach", "fused", "capturable", "differentiable")


class TorchOptimizer(Optimizer):
    """An optimizer whose options are torch's, and whose `state_dict` is in torch's format.

    Every option of a group may be edited. A number, flag of sign or schedule in its place
    compiles nothing; an option that changes the program (`nesterov`, `amsgrad`, ...)
    compiles one other program, and keeps all state that both have.

    `foreach`, `fused` and `capturable` choose between torch's implementations; here there is
    one, compiled, and they are accepted for their exclusions only. `differentiable` keeps
    the old arrays alive, so that a step can be differentiated.
    """

    recipe: Callable[..., GradientTransformation]
    kept: Mapping[str, Kept]
    optional: Mapping[str, str]

    def __init__(self, params: Any, *args: Any, **kwargs: Any):
        name = type(self).__name__
        options = bind(name, inspect.signature(type(self).recipe), args, kwargs)
        self._transformations: list[GradientTransformation] = []
        self._present: list[set[str]] = []
        self._parked: list[Parked] = []
        _check_flags(name, options)
        self._transformation(name, options, set())
        self._setup(params, options, donate=not options.get("differentiable", False))

    def _make(self, index: int, group: ParamGroup) -> tuple[Callable[..., Any], PyTree]:
        present: set[str] = set()
        tx = self._transformation(f"{type(self).__name__}: group {index}", group.options, present)
        self._transformations.append(tx)
        self._present.append(present)
        self._parked.append({})
        return tx.update, tx.init(group["params"])

    def _refresh(self, index: int, group: ParamGroup) -> tuple[Callable[..., Any], PyTree]:
        where = f"{type(self).__name__}: group {index}"
        old, state = self._transformations[index], self._states[index]
        tx = self._transformation(where, group.options, self._present[index])
        if tx.update is old.update:
            state = renumber(state, old, tx)
        else:
            fresh = tx.init(group["params"])
            state, self._parked[index] = carry_over(state, fresh, self._parked[index])
        self._transformations[index] = tx
        return tx.update, state

    def whole_states(self) -> list[State]:
        """The state of each group, with the slots that its options have no use for now."""
        return [
            State(
                **{
                    name: State(**link._asdict(), **parked.get(name, {}))
                    for name, link in state._asdict().items()
                }
            )
            for state, parked in zip(self.state, self._parked, strict=True)
        ]

    def _transformation(
        self, where: str, options: Mapping[str, Any], present: set[str]
    ) -> GradientTransformation:
        """Makes a group's transformation; notes in `present` what has been on, and so stays."""
        recipe = type(self).recipe
        wanted = inspect.signature(recipe).parameters
        given = {k: _squeeze(where, k, options[k]) for k in wanted}
        for k in type(self).optional:
            if not _is_zero(given[k]):
                present.add(k)
            elif k not in present:
                given[k] = None
        try:
            return recipe(**given)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from None

    def state_dict(self) -> dict[str, Any]:
        """The state in torch's format, with NumPy arrays.

        `{"state": {i: {"step": ..., "exp_avg": ...}}, "param_groups": [{"params": [i], ...}]}`,
        with parameters numbered over the groups in the order of their trees' leaves, and
        none for a parameter that has had no gradient. `param_names` holds their paths.
        """
        return torch_state(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a state in torch's format, from here or from torch.

        Parameters are matched by `param_names` where the saved groups have them, else by
        position. The options of the saved groups replace those here.

        Raises:
          ValueError: groups, names, entries or shapes differ; nothing is loaded then.
        """
        loaded = load_torch_state(self, state_dict)
        for i, (group, new) in enumerate(zip(self.param_groups, loaded, strict=True)):
            group.update(new.options)
            group.edited = False
            self._transformations[i], self._present[i] = new.tx, new.present
            self._states[i], self._parked[i] = new.state, new.parked
        self._updates = tuple(tx.update for tx in self._transformations)


def torch_class(
    *, kept: Mapping[str, Kept], optional: Mapping[str, str] | None = None
) -> Callable[[Callable[..., GradientTransformation]], type[TorchOptimizer]]:
    """Makes a class out of a recipe, whose signature (after `params`) is the class's.

    Args:
      kept: torch's name of an entry of the state -> where it is kept here.
      optional: option -> the entry of the state that is kept for it, but only once the option
        is first not zero; until then the recipe gets None.
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
            "kept": dict(kept),
            "optional": dict(optional or {}),
        }
        recipe.__doc__ = None  # the class has it
        return type(recipe.__name__, (TorchOptimizer,), members)

    return decorate


def _check_flags(name: str, options: Mapping[str, Any]) -> None:
    """torch's exclusions of flags that have no meaning here."""
    flags = {k: options.get(k) for k in _FLAGS}
    for k, value in flags.items():
        if value not in (None, True, False):
            raise TypeError(f"{name}: {k} must be True, False or None, got {value!r}.")
    if flags["fused"] and flags["differentiable"]:
        raise RuntimeError(f"{name}: `fused` does not support `differentiable`. Pass one of them.")
    if flags["fused"] and flags["foreach"]:
        raise RuntimeError(
            f"{name}: `fused` and `foreach` cannot be `True` together. Pass one of them."
        )


def _squeeze(where: str, name: str, value: Any) -> Any:
    """An array of one element as a scalar, as torch has it; other values as they are."""
    if isinstance(value, (tuple, list)):
        return tuple(_squeeze(where, name, v) for v in value)
    if hasattr(value, "shape") and value.shape:
        if value.size != 1:
            raise ValueError(f"{where}: Tensor {name} must be 1-element, got shape {value.shape}.")
        return jnp.reshape(value, ())
    return value


def _is_zero(value: Any) -> bool:
    """Whether a concrete number is zero; a traced one may be anything."""
    return isinstance(value, (int, float, np.generic)) and value == 0
