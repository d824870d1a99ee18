"""Shows progress: a bar on a terminal, lines elsewhere."""

import sys
from collections.abc import Mapping
from types import TracebackType

from .extras import require

__all__ = ["Progress"]


class Progress:
    """Shows the progress of a loop, and its latest measurements.

    Args:
      name: name of the loop.
      total: number of steps.
      done: number of steps that an earlier process made.
    """

    def __init__(self, name: str, total: int, done: int = 0):
        self._name, self._total, self._done = name, total, done
        self._stride = max(1, total // 10)
        self._bar = require("tqdm").tqdm(
            desc=name,
            total=total,
            initial=done,
            file=sys.stdout,
            disable=not sys.stdout.isatty(),
            dynamic_ncols=True,
        )

    def advance(self, measured: Mapping[str, str]) -> None:
        """Counts a step, and shows its measurements."""
        self._done += 1
        text = ", ".join(f"{name} {value}" for name, value in measured.items())
        if self._bar.disable:
            if self._done % self._stride == 0 or self._done == self._total:
                print(f"{self._name} {self._done}/{self._total}: {text}", flush=True)
        else:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
