"""Several processes of this machine: the example that trains on them, and one state of all."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "multihost.py"

pytestmark = pytest.mark.skipif(
    "MULTIHOST" not in os.environ, reason="a minute of processor; set MULTIHOST=1"
)


@pytest.mark.parametrize(("processes", "then"), [(2, 4), (4, 2)])
def test_several_processes_give_the_parameters_of_one(processes, then):
    counts = [f"--processes={processes}", f"--then={then}"]
    done = subprocess.run([sys.executable, EXAMPLE, *counts], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "apart" in done.stdout


def outputs_of(module, processes=2):
    """Runs a module in several processes, with one device each; returns what each one prints."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", f"tests.sharding.{module}", str(port), str(processes)]
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": env}
    started = [subprocess.Popen([*command, str(rank)], **pipes) for rank in range(processes)]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes, "\n".join(outputs)
    return outputs


def test_one_process_does_not_write_arrays_of_several():
    for output in outputs_of("spread"):
        assert "refused, and gathered" in output


def test_ways_of_sharing_matrices_give_the_numbers_of_one_device():
    for output in outputs_of("shared_matrices"):
        assert output.count(": the numbers of one device") == 6
