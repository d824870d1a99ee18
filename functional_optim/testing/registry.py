"""Registers checks under their names, and gives them the same arguments."""

import contextlib
import inspect
from collections.abc import Callable
from typing import Protocol

import jax

from ..core.protocol import GradientTransformation, PyTree
from .case import DTYPES, Case, Extra
from .failure import Advice, error_context

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
        """Raises ConformanceError if the transformation does not pass."""


CHECKS: dict[str, Callable[[Case], None]] = {}
"""Name of each check, in the order in which `check_transformation` runs them."""


def conformance(
    advice: Advice, *, eager: bool = False
) -> Callable[[Callable[[Case], None]], Check]:
    """Registers a check of a case, and makes its public function.

    Args:
      advice: the remedy if the check fails.
      eager: whether to disable jit, because the check would compile a program that no other check
        uses.
    """

    def decorate(check: Callable[[Case], None]) -> Check:
        name = check.__name__.removeprefix("check_")

        def run(case: Case) -> None:
            mode = jax.disable_jit() if eager else contextlib.nullcontext()
            with error_context(name, "", advice), mode:
                check(case)

        def public(
            tx: GradientTransformation,
            *,
            params: PyTree = None,
            extra: Extra = None,
            dtypes: tuple[str, ...] = DTYPES,
        ) -> None:
            run(Case(tx, params, extra, dtypes))

        CHECKS[name] = run
        # functools.wraps would set `__wrapped__`, and help() would show the inner signature.
        for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(public, attribute, getattr(check, attribute))
        public.__doc__ = f"{inspect.getdoc(check)}\n\nSee `check_transformation` for the arguments."
        return public

    return decorate
