"""The `update` of any library, called in one way."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .caching import Keyed
from .functions import as_function
from .protocol import PyTree
from .state import State

__all__ = [
    "ExtraArgsAdapter",
    "check_order",
    "check_pair",
    "check_state",
    "link_name",
    "wrong_state",
]


@dataclasses.dataclass(frozen=True)
class ExtraArgsAdapter:
    """An `update`, called with the extra arguments that its signature takes."""

    function: Callable[..., Any]
    accepts: frozenset[str] | None  # names of extra arguments; None for all

    @classmethod
    def to(cls, update: Callable[..., Any]) -> "ExtraArgsAdapter":
        """Reads the signature of `update`."""
        parameters = list(inspect.signature(update).parameters.values())
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return cls(as_function(update), None)
        # The first three are updates, state and params.
        return cls(as_function(update), frozenset(p.name for p in parameters[3:]))

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None, extra: Mapping[str, Any]
    ) -> tuple[PyTree, PyTree]:
        """Calls the update without the extra arguments that it does not take."""
        if self.accepts is not None:
            extra = {k: v for k, v in extra.items() if k in self.accepts}
        return self.function(updates, state, params, **extra)


def check_pair(where: str, link: object) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns `(init, update)` of a transformation, after checking that it is a pair of functions.

    Raises:
      TypeError: link is not a pair of functions; the message starts with `where`.
    """
    init, update = getattr(link, "init", None), getattr(link, "update", None)
    if not callable(init) or not callable(update):
        # Two frequent mistakes: a list of links, and a factory that was not called.
        remedy = "Pass a transformation, such as scale(0.1)."
        if isinstance(link, (list, tuple)):
            remedy = "Pass *links."
        elif callable(link) and hasattr(link, "__name__"):
            remedy = f"Call it, and pass the transformation that it makes: {link.__name__}(...)."
        elif isinstance(link, Keyed):
            remedy = "Pass the transformation tx, and not tx.update or tx.init."
        raise TypeError(
            f"{where} must be a pair of functions (init, update), got {type(link).__name__} "
            f"{link!r}. {remedy}"
        )
    return init, update


def link_name(init: object, update: object) -> str:
    """Returns the name of a link; for one of another library, the name of its factory."""
    name = getattr(init, "name", None)
    if isinstance(name, str):
        return name
    # optax's updates are closures: `scale_by_adam.<locals>.update_fn` comes from `scale_by_adam`.
    qualified = getattr(update, "__qualname__", type(update).__name__)
    name = qualified.split(".<locals>")[0].split(".")[-1].strip("_<>")
    return name.removesuffix("_update") or "link"


def wrong_state(name: str, got: str) -> str:
    """Returns the message for a state that another transformation made."""
    return (
        f"{name}: state must be one that init of the same transformation made, {got}. Call "
        "update(updates, state, params). Restore a checkpoint with "
        "jax.eval_shape(tx.init, params) as its target."
    )


def check_order(name: str, updates: PyTree, state: PyTree, params: PyTree | None) -> None:
    """Raises ValueError if a state was passed as the updates or the params.

    It does so only if the argument `state` is not a state, because the parameters may be the state
    of another transformation.
    """
    # The states of optax are tuples.
    if isinstance(state, tuple):
        return
    for what, x in (("updates", updates), ("params", params)):
        if isinstance(x, State):
            raise ValueError(
                f"{name}: the arguments of update are in the wrong order: {what} is a state, and "
                f"state is of type {type(state).__name__}. Call update(updates, state, params)."
            )


def check_state(name: str, updates: PyTree, state: PyTree, params: PyTree | None) -> None:
    """Raises an error if the state of a wrapper is not one that its `init` made.

    Raises:
      ValueError: the arguments are in the wrong order.
      TypeError: state is not a state of this package.
    """
    check_order(name, updates, state, params)
    if not isinstance(state, State):
        raise TypeError(wrong_state(name, f"got {type(state).__name__}"))
