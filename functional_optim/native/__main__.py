"""Builds the kernels of the standard optimizers: `python -m functional_optim.native`."""

import argparse
import sys
from collections.abc import Sequence

from .building import build_all
from .cache import directory
from .compiler import CompilerError
from .standard import DTYPES, standard

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds the missing kernels; returns the exit status."""
    argparse.ArgumentParser(
        prog="python -m functional_optim.native",
        description="Builds kernels for CPU steps of SGD, Adam, AdamW, Lion, RMSprop and other "
        f"optimizers, for parameters in {' and '.join(DTYPES)}. It needs a C++ compiler and about "
        "half a minute, once for each version of jaxlib. Steps that are compiled afterwards use "
        "the kernels.",
        epilog="Environment: CXX is the compiler; FUNCTIONAL_OPTIM_CACHE is the directory of the "
        "kernels; FUNCTIONAL_OPTIM_NATIVE=0 disables them.",
    ).parse_args(arguments)
    try:
        built = build_all(standard())
    except CompilerError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Built {built}." if built else f"All kernels are built already, in {directory()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
