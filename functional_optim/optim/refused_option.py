"""Finds the option that an error of a transformation comes from."""

import re
from collections.abc import Callable, Iterator, Mapping

from ..core.protocol import Hyperparameter

__all__ = ["name_option"]

_OF_A_LINK = re.compile(r"^\w+: \w+ (?=must be )")
"""The names of a link and its argument, as `scale_by_adam: b1`."""


def name_option(
    message: str,
    make: Callable[[Mapping[str, Hyperparameter]], object],
    options: Mapping[str, Hyperparameter],
    defaults: Mapping[str, Hyperparameter],
) -> str:
    """Returns the message of an error with the user's name of the refused option: `betas[0]`.

    Args:
      message: message of the error.
      make: the function that raised it.
      options: the options with which `make` raised it.
      defaults: options with which `make` succeeds.
    """
    if not _OF_A_LINK.match(message):
        return message
    # The option that alone raises the same message is the cause.
    for name, alone in _one_by_one(options, defaults):
        try:
            make({**defaults, **alone})
        except (TypeError, ValueError) as error:
            if str(error) == message:
                return _OF_A_LINK.sub(f"{name} ", message)
    return message


def _one_by_one(
    options: Mapping[str, Hyperparameter], defaults: Mapping[str, Hyperparameter]
) -> Iterator[tuple[str, dict[str, Hyperparameter]]]:
    """Yields the options one by one; the parts of a tuple are yielded one by one, too."""
    for k, value in options.items():
        default = defaults[k]
        if not isinstance(value, tuple) or not isinstance(default, tuple):
            yield k, {k: value}
            continue
        for i, part in enumerate(value[: len(default)]):
            yield f"{k}[{i}]", {k: (*default[:i], part, *default[i + 1 :])}
