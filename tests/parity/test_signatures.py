"""The names and signatures that the tests hold are those of the torch that is installed."""

from ..golden.make_names import names
from ..golden.signatures import read


def test_names_and_signatures():
    assert names() == read()
