"""How a check is declared, so that all are called in one way and known by name."""

import contextlib
import inspect
from collections.abc import Callable
from typing import Protocol

import jax

from ..core.protocol import GradientTransformation, PyTree
from .failure import blaming
from .subject import DTYPES, Extra, Subject

__all__ = ["CHECKS", "Check", "conformance"]


class Check(Protocol):
    """A public check."""

    def __call__(
        self,
        tx: GradientTransformation,
        *,
        params: PyTree = None,
        extra: Extra = None,
        dtypes: tuple[str, ...] = DTYPES,
    ) -> None:
        """Raises ConformanceError where the transformation does not pass."""


CHECKS: dict[str, Callable[[Subject], None]] = {}
"""Name of each check, in the order in which `check_transformation` runs them."""


def conformance(
    advice: str, *, eager: bool = False
) -> Callable[[Callable[[Subject], None]], Check]:
    """Declares a check of a subject, and makes the public function of it.

    Args:
      advice: what who fails it should do.
      eager: whether operations run one by one: a check of values compiles nothing then that
        it alone would use.
    """

    def decorate(check: Callable[[Subject], None]) -> Check:
        name = check.__name__.removeprefix("check_")

        def run(subject: Subject) -> None:
            mode = jax.disable_jit() if eager else contextlib.nullcontext()
            with blaming(name, "", advice), mode:
                check(subject)

        def public(
            tx: GradientTransformation,
            *,
            params: PyTree = None,
            extra: Extra = None,
            dtypes: tuple[str, ...] = DTYPES,
        ) -> None:
            run(Subject(tx, params, extra, dtypes))

        CHECKS[name] = run
        # Not by functools.wraps: its `__wrapped__` would show the subject's signature.
        for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(public, attribute, getattr(check, attribute))
        public.__doc__ = f"{inspect.getdoc(check)}\n\nSee `check_transformation` for the arguments."
        return public

    return decorate
