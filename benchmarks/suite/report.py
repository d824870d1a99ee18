"""The results as Markdown."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .cases import Case
from .turns import ratio

__all__ = ["step_table", "tables"]

Result = dict[str, Any]


def tables(results: Sequence[Result]) -> Iterator[str]:
    """Yields all tables, line by line."""
    yield "### Step\n"
    yield "Median milliseconds (smallest) [median of the rounds' ratios to optax].\n"
    yield from step_table(results)
    first = [r for r in results if r["first"]]
    if not first:
        return
    names = _names(first, "first")
    yield "\n### Before the first step\n"
    yield "Median seconds of all (trace + lower + compile) [ratio to optax].\n"
    yield from _rows(names, first, _first_cell)
    yield "\n### Memory\n"
    yield "MiB that XLA allots to a donated step besides arguments and results."
    yield "The largest leaf has as many MiB as the last column says.\n"
    yield from _rows([*names, LARGEST], first, _temporary_cell)
    yield "\nMiB of the state between two steps.\n"
    yield from _rows(names, first, _held_cell)
    names = _names(first, "process")
    yield "\nGiB that a process holds at most that makes three steps, its imports included.\n"
    yield from _rows(names, first, _process_cell)


LARGEST = "largest leaf"


def _names(results: Sequence[Result], what: str) -> list[str]:
    """Lists who has an entry, in the order of the case with the most."""
    longest = sorted(results, key=lambda r: -len(r[what]))
    return list(dict.fromkeys(name for r in longest for name in r[what]))


def step_table(results: Sequence[Result]) -> Iterator[str]:
    """Yields times of a step: a table for the cases of the same contestants."""
    together: dict[tuple[str, ...], list[Result]] = {}
    for r in results:
        together.setdefault(tuple(r["step"]), []).append(r)
    for i, (names, some) in enumerate(together.items()):
        yield from ("",) * bool(i)
        yield from _rows(names, some, _step_cell)


def _rows(
    names: Sequence[str], results: Sequence[Result], cell: Callable[[Result, str], str]
) -> Iterator[str]:
    yield f"| rule, tree | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for r in results:
        yield f"| {Case(**r['case']).title} | {' | '.join(cell(r, n) for n in names)} |"


def _step_cell(r: Result, name: str) -> str:
    times = r["step"].get(name)
    if times is None:
        return ""
    shown = f"{_ms(statistics.median(times))} ({_ms(min(times))})"
    return shown if name == "optax" else f"{shown} [{ratio(times, r['step']['optax']):.2f}]"


def _first_cell(r: Result, name: str) -> str:
    phases = r["first"].get(name)
    if phases is None:
        return ""
    total, theirs = (
        statistics.median(map(sum, zip(*found.values(), strict=True)))
        for found in (phases, r["first"]["optax"])
    )
    parts = " + ".join(f"{statistics.median(column):.2f}" for column in phases.values())
    return f"{total:.2f} ({parts}) [{total / theirs:.2f}]"


def _temporary_cell(r: Result, name: str) -> str:
    return _mib(r["largest"] if name == LARGEST else r["temporary"].get(name))


def _held_cell(r: Result, name: str) -> str:
    return _mib(r["held"].get(name))


def _process_cell(r: Result, name: str) -> str:
    size = r["process"].get(name)
    return "" if size is None else f"{size / 2**30:.2f}"


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.2f}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"
