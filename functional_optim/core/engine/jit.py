"""Jitted functions with names that programs and profiles show."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

__all__ = ["jit_as"]

T = TypeVar("T")


def jit_as(
    function: Callable[..., T], name: str, static_argnums: int | None = None
) -> Callable[..., T]:
    """Jits a function under another name, which programs and profiles then show."""

    def named(*args: Any) -> T:
        return function(*args)

    named.__name__ = named.__qualname__ = name
    return jax.jit(named, static_argnums=static_argnums)
