"""Matches a call to a signature, with an error that shows the signature."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["bind", "call_text", "named_init"]

T = TypeVar("T")


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
        parameters = ", ".join(_parameter_text(p) for p in signature.parameters.values())
        raise TypeError(f"{name}: {error}. It takes ({parameters}).") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def named_init(kind: type[T]) -> type[T]:
    """Names the `init` of a transformation as users call it, in Python's own errors.

    They then read `init() missing 1 required positional argument: 'params'`, and do not name the
    class.
    """
    call: Any = kind.__dict__["__call__"]
    call.__qualname__ = "init"
    return kind


def _parameter_text(parameter: inspect.Parameter) -> str:
    default = parameter.default
    return parameter.name if default is parameter.empty else f"{parameter.name}={default!r}"


def call_text(name: str, signature: inspect.Signature, values: Mapping[str, Any]) -> str:
    """Writes a call, without the arguments that have their default."""
    defaults = {k: p.default for k, p in signature.parameters.items()}
    shown = [f"{k}={v!r}" for k, v in values.items() if not _is_default(v, defaults[k])]
    return f"{name}({', '.join(shown)})"


def _is_default(value: object, default: object) -> bool:
    is_plain = isinstance(value, (bool, int, float, str)) and type(value) is type(default)
    # Other values are compared by identity, because `==` of arrays is an array.
    return value is default or (is_plain and bool(value == default))
