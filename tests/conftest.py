"""Settings of all tests.

Eight devices on the host, programs compiled quickly, and without promotion of dtypes and ranks.
"""

import ctypes
import functools
import gc
import os
import pathlib

from .compiling import PROGRAMS, QUICK, UNOPTIMIZED, flags, reuse_contexts, reuse_programs

# Set before JAX makes its devices, because the tests of sharding use those of the host.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The last of several equal flags counts, so the caller's come after ours.
os.environ["XLA_FLAGS"] = (
    f"{flags(QUICK)} {os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
)

# Tests use only kernels that they build: those of a user would change last bits and programs.
os.environ["FUNCTIONAL_OPTIM_CACHE"] = str(pathlib.Path(__file__, "none"))

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(UNOPTIMIZED, True)
reuse_contexts()
reuse_programs()


def pytest_configure():
    """Searches for cycles of garbage less often.

    JAX makes many objects that live long. At Python's usual thresholds a tenth of the time of the
    tests is spent on this search.
    """
    gc.set_threshold(20_000, 50, 50)


@pytest.fixture
def x64():
    """Enables float64, for comparison with oracles of that precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def eager():
    """Runs operations one by one, so that a test compiles no programs that only it needs."""
    with jax.disable_jit():
        yield


@pytest.fixture(scope="module")
def optimized():
    """Compiles optimized machine code, as users do, for tests that depend on the last bits."""
    jax.clear_caches()  # programs compiled before are not used here, nor these later
    jax.config.update(UNOPTIMIZED, False)
    yield
    jax.config.update(UNOPTIMIZED, True)
    jax.clear_caches()


@pytest.fixture
def mesh() -> jax.sharding.Mesh:
    """Provides a mesh of eight devices as 4 by 2."""
    if jax.device_count() < 8:
        pytest.skip("needs eight devices; the host has them where JAX_PLATFORMS is cpu")
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)


STATUS = pathlib.Path("/proc/self/statm")


@functools.cache
def memory_limit() -> float:
    """Computes how many bytes a process may hold: all together a quarter of the memory."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    return min(max(memory / 4 / processes, 1.5e9), 4e9)


@pytest.fixture(autouse=True)
def bounded_memory():
    """Drops compiled programs, many of which tests share, when they fill the memory."""
    yield
    # Resident pages, where the system says so.
    if not STATUS.exists():
        return
    if int(STATUS.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") > memory_limit():
        PROGRAMS.clear()
        jax.clear_caches()
        allocator = ctypes.CDLL(None)
        if hasattr(allocator, "malloc_trim"):  # otherwise the process keeps the freed memory
            allocator.malloc_trim(0)
