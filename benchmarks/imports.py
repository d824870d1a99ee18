"""Time of importing this library and optax, without that of JAX; then with a first optimizer.

Processes of both take turns, and the medians of their processor time are shown. Each is run once
before, so that the bytecode exists.

    python benchmarks/imports.py [--repeat 15]
"""

import argparse
import statistics
import subprocess
import sys

LIBRARIES = ("functional_optim", "optax")
USES = {
    "import": "import {library}",
    "and adamw(1e-3)": "import {library}; {library}.adamw(1e-3)",
    "and all names": "from {library} import *",
}
PROGRAM = """
import sys, time
import jax, jax.numpy
before, start = len(sys.modules), time.process_time()
{use}
print(time.process_time() - start, len(sys.modules) - before)
"""


def measured(use: str) -> tuple[float, int]:
    """Measures milliseconds of the processor, and counts the modules that were imported."""
    command = [sys.executable, "-c", PROGRAM.format(use=use)]
    seconds, modules = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.split()
    return 1e3 * float(seconds), int(modules)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=15, help="processes of each")
    repeat = parser.parse_args().repeat
    print(f"{'':20}" + "".join(f"{library:>28}" for library in LIBRARIES))
    for label, use in USES.items():
        calls = [use.format(library=library) for library in LIBRARIES]
        runs = [[measured(call) for call in calls] for _ in range(repeat + 1)][1:]
        cells = []
        for of_library in zip(*runs, strict=True):
            median = statistics.median(milliseconds for milliseconds, _ in of_library)
            cells.append(f"{median:.1f} ms, {of_library[0][1]} modules")
        print(f"{label:20}" + "".join(f"{cell:>28}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
