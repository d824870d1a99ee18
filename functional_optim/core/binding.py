"""Matching a call to a signature, with an error that shows the signature."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["bind"]


def bind(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by name, with the defaults of those that are not given.

    Raises:
      TypeError: the call does not fit; the message names the function and what it takes.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(_show(p) for p in signature.parameters.values())
        raise TypeError(f"{name}: {error}. It takes ({takes}).") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _show(parameter: inspect.Parameter) -> str:
    default = parameter.default
    return parameter.name if default is parameter.empty else f"{parameter.name}={default!r}"
