"""Runs the demo by `python -m functional_optim`."""

import sys

from .demo.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
