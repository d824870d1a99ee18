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


def test_one_process_does_not_write_what_several_have():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.sharding.spread", str(port), "2"]
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": env}
    started = [subprocess.Popen([*command, str(rank)], **pipes) for rank in range(2)]
    for process in started:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert "refused, and gathered" in output
