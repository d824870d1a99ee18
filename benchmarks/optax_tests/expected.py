"""Tests that are expected to fail, and why: `waived.toml` and `unmappable.toml`."""

import collections
import dataclasses
import fnmatch
import tomllib
from pathlib import Path

__all__ = ["ExpectedFailures", "Verdict"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a test, compared with the lists.

    Attributes:
      kind: passed; skipped, by the test itself; failed; or waived or unmappable, if it failed and
        that list has it.
      complaint: why the run fails because of this outcome; empty if it does not.
    """

    kind: str
    complaint: str = ""


@dataclasses.dataclass(frozen=True)
class ExpectedFailures:
    """The two lists of patterns of tests' names.

    Attributes:
      patterns: kind -> pattern of tests' names -> why these tests fail.
      used: pattern -> number of failing tests that it matches.
    """

    patterns: dict[str, dict[str, str]]
    used: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    @classmethod
    def read(cls, directory: Path) -> "ExpectedFailures":
        """Reads both lists, which have a table for each test file: reason -> patterns."""
        patterns = {}
        for kind in ("waived", "unmappable"):
            tables = tomllib.loads((directory / f"{kind}.toml").read_text(encoding="utf-8"))
            patterns[kind] = {
                f"{file}::{name}": why
                for file, table in tables.items()
                for why, names in table.items()
                for name in names
            }
        return cls(patterns)

    def verdict(self, name: str, outcome: str, why: str) -> Verdict:
        """Compares the outcome of a test with the lists."""
        hits = [
            (kind, pattern)
            for kind, patterns in self.patterns.items()
            for pattern in patterns
            if fnmatch.fnmatchcase(name, pattern)
        ]
        if outcome == "failed":
            self.used.update(pattern for _, pattern in hits)
        if not hits:
            return Verdict(outcome, f"{name} failed: {why}" if outcome == "failed" else "")
        if len(hits) > 1:
            return Verdict(outcome, f"{name}: {len(hits)} patterns match it: {hits}")
        if outcome == "passed":
            return Verdict(outcome, f"{name} passed, and {hits[0][0]}.toml has it")
        return Verdict(hits[0][0] if outcome == "failed" else outcome)

    def unused(self) -> list[str]:
        """Returns the patterns that match no failing test."""
        return [p for patterns in self.patterns.values() for p in patterns if not self.used[p]]
