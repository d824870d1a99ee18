"""Jitted functions under names that show in programs and profiles."""

import functools
from collections.abc import Callable
from typing import Any

import jax

__all__ = ["jit_as"]


def jit_as(function: Callable[..., Any], name: str, **options: Any) -> Callable[..., Any]:
    """Jits a function under a name that shows in programs and profiles."""

    named: Any = functools.partial(function)
    named.__name__ = named.__qualname__ = name
    return jax.jit(named, **options)
