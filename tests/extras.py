"""Libraries that only some tests need."""

import importlib.util

import pytest


def need(*modules: str) -> None:
    """Skips a test, and names the first of the modules that is not installed.

    A module that is installed and cannot be imported does not skip the test, but fails it.
    """
    for name in modules:
        if missing(name):
            pytest.skip(f"needs {name}, which is not installed: see the extras in pyproject.toml")


def missing(module: str) -> bool:
    """Tells whether a module is not installed."""
    return importlib.util.find_spec(module) is None
