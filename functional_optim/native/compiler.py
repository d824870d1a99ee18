"""The user's compiler of C++."""

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
    # What would keep the loops from vectors, and changes no result; the rounding stays IEEE's.
    "-fno-math-errno",
    "-fno-trapping-math",
    # XLA contracts as well.
    "-ffp-contract=fast",
    "-w",
)


class CompilerError(RuntimeError):
    """No library could be built."""


def find_compiler() -> list[str]:
    """Returns the command `$CXX`, or the first of g++, clang++ and c++ on the path.

    Raises:
      CompilerError: there is none.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [["g++"], ["clang++"], ["c++"]]:
        if shutil.which(command[0]):
            return command
    looked = f"'{named[0]}', which CXX names," if named else "g++, clang++ or c++"
    raise CompilerError(
        f"native.build: found no {looked} on the PATH. Install a compiler of C++17 (`apt install "
        "g++`, `dnf install gcc-c++`, `xcode-select --install`), or let CXX name one. Without "
        "one nothing is lost but time: XLA runs the steps."
    )


def compile_library(command: list[str], source: Path, library: Path) -> None:
    """Compiles a file to a library.

    Raises:
      CompilerError: it did not; the message ends as the compiler's did.
    """
    headers = jax.ffi.include_dir()
    arguments = [*command, *FLAGS, f"-I{headers}", "-o", str(library), str(source)]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CompilerError(f"native.build: {command[0]} cannot be run: {error}.") from error
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-20:])
        raise CompilerError(
            f"native.build: {command[0]} ended with status {done.returncode}. Its last words:\n"
            f"{last}\nAnother compiler may do: let CXX name it."
        )
