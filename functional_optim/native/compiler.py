"""Calls the user's C++ compiler."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import jax

__all__ = ["CompilerError", "compile_library", "find_compiler"]

FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fPIC",
    "-shared",
    "-fopenmp-simd",
    # Without these, errno and traps prevent vectorization. Results and rounding do not change.
    "-fno-math-errno",
    "-fno-trapping-math",
    # XLA contracts products and sums as well.
    "-ffp-contract=fast",
    "-w",
)


class CompilerError(RuntimeError):
    """Raised if no library could be built."""


def find_compiler() -> list[str]:
    """Returns the command `$CXX`, or the first of g++, clang++ and c++ on the path.

    Raises:
      CompilerError: no compiler was found.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [["g++"], ["clang++"], ["c++"]]:
        if shutil.which(command[0]):
            return command
    tried = f"'{named[0]}', which CXX names," if named else "g++, clang++ or c++"
    raise CompilerError(
        f"native.build: found no {tried} on the PATH. Install a C++17 compiler (`apt install "
        "g++`, `dnf install gcc-c++`, `xcode-select --install`), or set CXX to one. Without a "
        "compiler XLA runs the steps, which takes longer."
    )


def compile_library(command: list[str], source: Path, library: Path) -> None:
    """Compiles a source file to a shared library.

    Raises:
      CompilerError: the compiler failed; the message has the end of its output.
    """
    headers = jax.ffi.include_dir()
    arguments = [*command, *FLAGS, f"-I{headers}", "-o", str(library), str(source)]
    try:
        result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CompilerError(f"native.build: {command[0]} cannot be run: {error}.") from error
    if result.returncode:
        last = "\n".join(result.stderr.splitlines()[-20:])
        raise CompilerError(
            f"native.build: {command[0]} ended with status {result.returncode}. Its output ends "
            f"with:\n{last}\nTry another compiler: set CXX to it."
        )
