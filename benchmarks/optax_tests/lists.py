"""Which tests are not expected to pass, and why: `waived.toml` and `unmappable.toml`."""

import collections
import dataclasses
import fnmatch
import tomllib
from pathlib import Path

__all__ = ["Lists", "Verdict"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of a test, in view of the lists.

    Attributes:
      kind: passed; skipped, by the test itself; failed; or, of a failing one that is expected
        to, waived or unmappable.
      complaint: what is wrong about that, if anything.
    """

    kind: str
    complaint: str = ""


@dataclasses.dataclass(frozen=True)
class Lists:
    """The lists.

    Attributes:
      patterns: kind -> pattern of tests' names -> why these do not pass.
      used: pattern -> how many failing tests it is of.
    """

    patterns: dict[str, dict[str, str]]
    used: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    @classmethod
    def read(cls, directory: Path) -> "Lists":
        """Reads both lists: for each file a table, why -> patterns."""
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
            return Verdict(outcome, f"{name}: {len(hits)} patterns are of it: {hits}")
        if outcome == "passed":
            return Verdict(outcome, f"{name} passed, and {hits[0][0]}.toml has it")
        return Verdict(hits[0][0] if outcome == "failed" else outcome)

    def unused(self) -> list[str]:
        """Patterns that are of no failing test."""
        return [p for patterns in self.patterns.values() for p in patterns if not self.used[p]]
