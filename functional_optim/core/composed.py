"""Errors name the factory that the user called, and not the links that it consists of."""

import contextvars
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, overload

from .signatures import bind

__all__ = ["argument_of_call", "composed"]

P = ParamSpec("P")
T = TypeVar("T")

_ABOUT_ARGUMENT = re.compile(r"[^:]+: (?P<argument>\w+)(?P<text>.*)", re.DOTALL)

_call: contextvars.ContextVar[tuple[str, Mapping[str, object]] | None]
_call = contextvars.ContextVar("call", default=None)
"""The composed factory that is being called, and its arguments."""


@overload
def composed(factory: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def composed(**parts: str) -> Callable[[Callable[P, T]], Callable[P, T]]: ...


def composed(factory: Callable[..., Any] | None = None, /, **parts: str) -> Any:
    """Marks a factory that makes a transformation from others.

    An error about an argument names the factory and the argument that the user wrote:
    `signum: beta must be in [0, 1)`, though `beta` is the `decay` of the link `ema`. If factories
    call one another, the error names the outermost one.

    Args:
      factory: the factory; None for a decorator with the arguments below.
      **parts: argument of a link = part of the user's argument that is passed to it:
        `b1="betas[0]"`.
    """
    return functools.partial(_composed, parts) if factory is None else _composed(parts, factory)


def _composed(parts: Mapping[str, str], factory: Callable[..., Any]) -> Callable[..., Any]:
    # Plain values, because the key of a user's function has all values that the function reaches.
    name, names = factory.__name__, tuple(inspect.signature(factory).parameters)

    @functools.wraps(factory)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _call.get() is not None:
            return factory(*args, **kwargs)
        bind(name, inspect.signature(factory), args, kwargs)  # its error lists the arguments
        token = _call.set((name, {**dict(zip(names, args, strict=False)), **kwargs}))
        try:
            return factory(*args, **kwargs)
        except (TypeError, ValueError) as error:
            message = _ABOUT_ARGUMENT.fullmatch(str(error))
            if message is not None and message["argument"] in {*parts, *names}:
                argument = parts.get(message["argument"], message["argument"])
                error.args = (f"{name}: {argument}{message['text']}",)
            raise
        finally:
            _call.reset(token)

    return call


def argument_of_call(value: object, link: str, argument: str) -> tuple[str, str]:
    """Returns factory and argument to name in an error that is found only when a value is used.

    If the value is an argument of the composed factory that is being called, these are the factory
    and that argument; else `link` and `argument`.
    """
    current = _call.get()
    if current is not None and not isinstance(value, bool):
        name, arguments = current
        for k, x in arguments.items():
            if x is value:
                return name, k
    return link, argument
