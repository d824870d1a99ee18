"""Ten steps agree with those of Meta's Distributed Shampoo, which `make_shampoo.py` has run."""

import json
from pathlib import Path

import pytest

from .shampoo import CASES
from .test_golden import compare

DATA = Path(__file__).with_name("shampoo.json")
META = json.loads(DATA.read_text(encoding="utf-8"))


def test_every_run_of_meta_is_compared():
    assert CASES.keys() == META.keys()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CASES)
def test_ten_steps_are_those_of_meta(name):
    compare(CASES[name], META[name])
