"""Options of XLA with which tests compile quickly, because most programs run once on few numbers.

The machine code is not optimized, and is written by the emitters that compile faster. Tests of
accumulated rounding use the fixture `optimized`; tests of compiled programs use the options of
users, by `compiler_options=USUAL`.
"""

import collections
import contextlib
import hashlib
import threading
from collections.abc import Iterator

from jaxlib.version import __version_info__ as JAXLIB

# Later versions have only these emitters, and refuse the option.
EMITTERS = ["xla_cpu_use_fusion_emitters"] if JAXLIB < (0, 11) else []

QUICK = {"xla_cpu_parallel_codegen_split_count": 1} | dict.fromkeys(EMITTERS, False)

UNOPTIMIZED = "jax_disable_most_optimizations"
"""The option of JAX that a test can change back, as it cannot change those of XLA."""

USUAL = {
    "xla_backend_optimization_level": 3,
    "xla_cpu_parallel_codegen_split_count": 32,
    "xla_llvm_disable_expensive_passes": False,
} | dict.fromkeys(EMITTERS, True)

TEXT = USUAL | {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_llvm_disable_expensive_passes": True,
}
"""Makes the loops and buffers that users have, for tests that read the program and do not run it.

The machine code is not optimized: it takes most of the time, and no text shows it.
"""


def flags(options: dict[str, int | bool]) -> str:
    """Writes options as XLA_FLAGS has them; of two for one option, the later holds."""
    return " ".join(f"--{name}={int(value)}" for name, value in options.items())


def reuse_contexts(times: int = 10) -> None:
    """Makes JAX lower several programs in one context of MLIR, as JAX 0.12 does by itself.

    A context takes 2 ms to make, longer than the lowering of one operation, and the tests lower
    tens of thousands of programs.
    """
    # Imported late, because JAX reads XLA_FLAGS and JAX_PLATFORMS when it is imported.
    from jax._src.interpreters import mlir

    if JAXLIB >= (0, 12):
        return
    make, of_thread = mlir.make_ir_context, threading.local()

    def make_ir_context():
        uses = getattr(of_thread, "uses", 0)
        if uses % times == 0:
            of_thread.context = make()
        of_thread.uses = uses + 1
        return of_thread.context

    mlir.make_ir_context = make_ir_context


PROGRAMS: collections.OrderedDict = collections.OrderedDict()
"""Compiled programs, by a digest of their text, of their options and of their devices."""


def reuse_programs(most: int = 3000) -> None:
    """Makes JAX compile a program once that several tests write in the same words.

    JAX knows a program by its function, and tests define the same function again and again. A third
    of what they compile was compiled before in the same process. The cache of JAX finds these too,
    but writes each program to a file, which takes longer than the compilation of most.
    """
    # Imported late, because JAX reads XLA_FLAGS and JAX_PLATFORMS when it is imported.
    from jax._src import compiler

    compile_program = compiler.backend_compile_and_load

    def backend_compile_and_load(backend, module, executable_devices, options, host_callbacks):
        arguments = backend, module, executable_devices, options, host_callbacks
        if host_callbacks:  # functions of Python, which no text shows
            return compile_program(*arguments)
        # Text without verification takes a third of the time.
        text = module.operation.get_asm(enable_debug_info=False, assume_verified=True)
        digest = hashlib.sha256(text.encode() + options.SerializeAsString()).digest()
        key = backend, digest, tuple(device.id for device in executable_devices)
        if key not in PROGRAMS:
            PROGRAMS[key] = compile_program(*arguments)
        PROGRAMS.move_to_end(key)
        if len(PROGRAMS) > most:
            PROGRAMS.popitem(last=False)
        return PROGRAMS[key]

    compiler.backend_compile_and_load = backend_compile_and_load


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """Collects the names of the programs that are compiled within."""
    # Imported late, because JAX reads XLA_FLAGS and JAX_PLATFORMS when it is imported.
    import jax

    found: list[str] = []

    def note(event: str, duration: float, fun_name: object = "", **_: object) -> None:
        if event.endswith("backend_compile_duration"):
            found.append(str(fun_name))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
