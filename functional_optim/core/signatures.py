"""Matching a call to a signature, with an error that shows the signature."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["bind", "call_text"]


def bind(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the arguments of a call by name, with defaults filled in.

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


def call_text(name: str, signature: inspect.Signature, values: Mapping[str, Any]) -> str:
    """Writes a call, without the arguments that are default."""
    defaults = {k: p.default for k, p in signature.parameters.items()}
    shown = [f"{k}={v!r}" for k, v in values.items() if not _is_same(v, defaults[k])]
    return f"{name}({', '.join(shown)})"


def _is_same(value: Any, default: Any) -> bool:
    is_plain = isinstance(value, (bool, int, float, str)) and type(value) is type(default)
    return value is default or (is_plain and value == default)
