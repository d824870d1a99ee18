"""Outcomes of optax's tests are compared with the lists of expected failures."""

import pytest

from benchmarks.optax_tests.expected import ExpectedFailures

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
def test_outcomes_are_compared_with_the_lists(name, outcome, kind, complaint):
    verdict = ExpectedFailures(LISTS).verdict(name, outcome, "1 != 2")
    assert (verdict.kind, verdict.complaint) == (kind, complaint)


def test_a_pattern_that_matches_no_failing_test_is_reported():
    expected = ExpectedFailures(LISTS)
    expected.verdict("a_test.py::A.test_x", "failed", "")
    assert expected.unused() == ["b_test.py::*"]
