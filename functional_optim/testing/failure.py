"""The error of a check, which names the check, the place of the failure, and a remedy."""

import contextlib
import textwrap
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["Advice", "ConformanceError", "Failure", "error_context"]

Advice = str | Callable[[Exception], str]
"""A remedy in one sentence, or a function that returns it for an exception."""

LONGEST = 400
"""Largest number of characters that are quoted from an exception; JAX's texts can be long."""


class Failure(NamedTuple):
    """A check that a transformation did not pass."""

    check: str
    message: str


class ConformanceError(AssertionError):
    """Raised if a transformation violates the protocol.

    Attributes:
      failures: one for each failed check, in the order of the checks.
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
      where: the part that is checked, such as `with bfloat16 parameters`; may be empty.
      advice: the remedy.
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
    """Returns the text with a full stop at its end, unless it already ends a sentence."""
    return text if text.endswith((".", "!", "?")) else f"{text.rstrip(' :;,')}."
