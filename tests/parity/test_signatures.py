"""The names and signatures that the tests hold are those of the torch that is installed."""

import torch

from ..golden.make_names import names
from ..golden.signatures import SINCE, read

VERSION = tuple(map(int, torch.__version__.split(".")[:2]))
NEWER = {name for since, names in SINCE.items() if since > VERSION for name in names}


def test_names_and_signatures():
    found, expected = names(), read()
    assert {k: v for k, v in found.items() if k not in NEWER} == {
        k: v for k, v in expected.items() if k not in NEWER
    }


def test_what_is_newer_differs():
    found, expected = names(), read()
    assert all(found.get(k, "none") != expected[k] for k in NEWER)
