"""The error of a check: which check failed, where, and what to do."""

import contextlib
import textwrap
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["Advice", "ConformanceError", "Failure", "error_context"]

Advice = str | Callable[[Exception], str]
"""What to do, in one sentence; or a function of the exception that says it."""

LONGEST = 400
"""Longest quotation of an exception's text, in characters; JAX's can be pages long."""


class Failure(NamedTuple):
    """A check that a transformation did not pass."""

    check: str
    message: str


class ConformanceError(AssertionError):
    """Raised if a transformation violates the protocol.

    Attributes:
      failures: one for each check that failed, in the order in which they ran.
    """

    def __init__(self, *failures: Failure):
        super().__init__(*failures)
        self.failures = failures

    def __str__(self) -> str:
        return "\n".join(f"check_{failure.check}: {failure.message}" for failure in self.failures)


@contextlib.contextmanager
def error_context(check: str, where: str, advice: Advice) -> Iterator[None]:
    """Turns any exception within it into a `ConformanceError` of this check.

    Args:
      check: name of the check.
      where: the part that is checked: `with bfloat16 parameters`; may be empty.
      advice: what to do.
    """
    try:
        yield
    except ConformanceError:
        raise
    except Exception as error:
        place = f"{where}: " if where else ""
        kind = "" if isinstance(error, AssertionError) else f"raised {type(error).__name__}: "
        reason = textwrap.shorten(str(error).split("\n\n")[0], LONGEST, placeholder=" ...")
        to_do = advice if isinstance(advice, str) else advice(error)
        message = f"{place}{_sentence(kind + reason)} {to_do}"
        raise ConformanceError(Failure(check, message)) from error


def _sentence(text: str) -> str:
    """Returns the text with a full stop, unless it ends a sentence itself."""
    return text if text.endswith((".", "!", "?")) else f"{text.rstrip(' :;,')}."
