"""The lists of optax's tests that need not pass are held to what comes of these tests."""

import pytest

from benchmarks.optax_tests.lists import Lists

LISTS = {
    "waived": {"a_test.py::A.test_x*": "on purpose"},
    "unmappable": {"b_test.py::*": "private"},
}


@pytest.mark.parametrize(
    ("name", "outcome", "kind", "complaint"),
    [
        ("a_test.py::A.test_y", "passed", "passed", ""),
        ("a_test.py::A.test_y", "failed", "failed", "a_test.py::A.test_y failed: 1 != 2"),
        ("a_test.py::A.test_x (p=1)", "failed", "waived", ""),
        (
            "a_test.py::A.test_x (p=1)",
            "passed",
            "passed",
            "a_test.py::A.test_x (p=1) passed, and waived.toml has it",
        ),
        ("b_test.py::B.test_x", "failed", "unmappable", ""),
        ("b_test.py::B.test_x", "skipped", "skipped", ""),
    ],
)
def test_outcomes_beside_the_lists(name, outcome, kind, complaint):
    verdict = Lists(LISTS).verdict(name, outcome, "1 != 2")
    assert (verdict.kind, verdict.complaint) == (kind, complaint)


def test_a_pattern_of_no_failing_test_is_reported():
    lists = Lists(LISTS)
    lists.verdict("a_test.py::A.test_x", "failed", "")
    assert lists.unused() == ["b_test.py::*"]
