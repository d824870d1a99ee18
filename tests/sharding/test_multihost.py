"""The example that trains on several processes of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "multihost.py"


@pytest.mark.skipif("MULTIHOST" not in os.environ, reason="a minute of processor; set MULTIHOST=1")
@pytest.mark.parametrize(("processes", "then"), [(2, 4), (4, 2)])
def test_several_processes_give_the_parameters_of_one(processes, then):
    counts = [f"--processes={processes}", f"--then={then}"]
    done = subprocess.run([sys.executable, EXAMPLE, *counts], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "apart" in done.stdout
