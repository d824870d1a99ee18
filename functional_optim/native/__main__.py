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
    """Builds what is not built; returns the exit status."""
    argparse.ArgumentParser(
        prog="python -m functional_optim.native",
        description="Builds kernels for steps on the CPU, of SGD, Adam, AdamW, Lion, RMSprop and "
        f"others, for parameters of {' and '.join(DTYPES)}. It takes a compiler of C++ and about "
        "half a minute, once for each version of jaxlib. Steps that are compiled from then on "
        "have them.",
        epilog="Environment: CXX, the compiler; FUNCTIONAL_OPTIM_CACHE, where kernels are kept; "
        "FUNCTIONAL_OPTIM_NATIVE=0, not to use them.",
    ).parse_args(arguments)
    try:
        built = build_all(standard())
    except CompilerError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Built {built}." if built else f"All is built already, in {directory()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
