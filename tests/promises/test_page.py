"""docs/asked_for.md names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
PAGE = TESTS.parent / "docs" / "asked_for.md"
ASKED, _ = PAGE.read_text(encoding="utf-8").split("## Names")
ROWS = [line for line in ASKED.splitlines() if "`" in line]
NAMED = sorted({name for row in ROWS for name in re.findall(r"`([\w/]+\.py(?:::\w+)?)`", row)})


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_the_page_names_exists(name):
    file, _, function = name.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert function in defined if function else any(n.startswith("test_") for n in defined)


def test_every_row_names_a_test():
    rows = [row for row in ROWS if row.startswith("|")]
    assert len(rows) > 20
    assert all(".py" in row.split("|")[-2] for row in rows)
