"""The page of results, `docs/optax_tests.md`."""

import collections
from collections.abc import Iterator, Mapping, Sequence

from .expected import ExpectedFailures, Verdict
from .upstream import COMMIT, REPOSITORY

__all__ = ["page", "row"]

KINDS = ("passed", "waived", "unmappable", "skipped", "failed")

HEADER = f"""# Optax's own tests, with this library in optax's place

This page, which `make optax-tests` writes, shows which of optax's own tests pass if `import optax`
finds `functional_optim`, and why others do not. The command reads the tests of
[{REPOSITORY}](https://github.com/{REPOSITORY}/tree/{COMMIT})
at that commit, from GitHub or from a clone (`make optax-tests ARGS="--clones DIR"`), and does not
keep them. Tests also import private modules, such as `optax._src.alias`. There they find the public
names, and a few private helpers that the tests use but do not test. If a test creates `noisy_sgd`
without a key, of which optax warns, it gets one. A test fails if one of its subtests fails.

Waived tests fail because this library differs on purpose. Unmappable tests are about something that
does not exist here: a private helper of optax, a class of its states, or a name that was left out.
Skipped tests skip themselves, with optax as well. The command fails if a test fails that is in
neither list, or if a test in a list passes.

"""


def page(verdicts: Mapping[str, Sequence[Verdict]], expected: ExpectedFailures) -> str:
    """Returns the whole page."""
    return HEADER + "\n".join([*_table(verdicts), *_reasons(expected)]) + "\n"


def row(file: str, verdicts: Sequence[Verdict]) -> str:
    """Returns a line of the table: the number of tests of each kind in a file."""
    counts = collections.Counter(verdict.kind for verdict in verdicts)
    return f"| {file} | {' | '.join(str(counts[kind]) for kind in KINDS)} |"


def _table(verdicts: Mapping[str, Sequence[Verdict]]) -> Iterator[str]:
    yield f"| file | {' | '.join(KINDS)} |"
    yield f"|---|{'---:|' * len(KINDS)}"
    for file, found in verdicts.items():
        yield row(f"`{file}`", found)
    everything = [verdict for found in verdicts.values() for verdict in found]
    yield row("all", everything)
    counts = collections.Counter(verdict.kind for verdict in everything)
    ran = counts["passed"] + counts["waived"] + counts["failed"]
    yield (
        f"\nOf {counts.total()} tests, {ran} test what exists here and do not skip themselves; "
        f"{counts['passed']} of these pass, {counts['passed'] / max(ran, 1):.1%}."
    )


TITLES = {"waived": "Waived", "unmappable": "Unmappable"}


def _reasons(expected: ExpectedFailures) -> Iterator[str]:
    for kind, title in TITLES.items():
        yield f"\n## {title}\n\n| why | tests | number |\n|---|---|---:|"
        by_reason: dict[tuple[str, str], list[str]] = {}
        for pattern, why in expected.patterns[kind].items():
            by_reason.setdefault((pattern.split("::")[0], why), []).append(pattern)
        for (_, why), patterns in by_reason.items():
            names = "<br>".join(f"`{pattern}`" for pattern in patterns)
            yield f"| {why} | {names} | {sum(expected.used[p] for p in patterns)} |"
