"""Links: any pair `(init, update)`, whoever wrote it, made callable in one way."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from .functions import as_function
from .protocol import PyTree

__all__ = ["Link", "check_pair", "link_name"]


@dataclasses.dataclass(frozen=True)
class Link:
    """An `update`, called with those of the extra arguments that its signature takes."""

    function: Callable[..., Any]
    accepts: frozenset[str] | None

    @classmethod
    def to(cls, update: Callable[..., Any]) -> "Link":
        """Reads the signature of `update`."""
        parameters = list(inspect.signature(update).parameters.values())
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return cls(as_function(update), None)
        return cls(as_function(update), frozenset(p.name for p in parameters[3:]))

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None, extra: dict[str, Any]
    ) -> tuple[PyTree, PyTree]:
        """Calls the update; extra arguments that it does not take are for other links."""
        if self.accepts is not None:
            extra = {k: v for k, v in extra.items() if k in self.accepts}
        return self.function(updates, state, params, **extra)


def check_pair(where: str, link: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns `(init, update)` of a transformation, after checking that it is a pair of functions.

    Raises:
      TypeError: it is not a pair of functions; the message starts with `where`.
    """
    init, update = getattr(link, "init", None), getattr(link, "update", None)
    if not callable(init) or not callable(update):
        many = isinstance(link, (list, tuple))
        raise TypeError(
            f"{where} must be a pair of functions (init, update), got {type(link).__name__} "
            f"{link!r}. Pass {'*links' if many else 'a transformation, such as scale(0.1)'}."
        )
    return init, update


def link_name(init: Any, update: Any) -> str:
    """Returns the name of a link; for a foreign one, that of the function which made it."""
    own = getattr(init, "name", None)
    if isinstance(own, str):
        return own
    qualified = getattr(update, "__qualname__", type(update).__name__)
    name = qualified.split(".<locals>")[0].split(".")[-1].strip("_<>")
    return name.removesuffix("_update") or "link"
