"""The option of XLA that makes several results in one loop."""

import os
import subprocess
import sys

import jax
import pytest

import functional_optim as fo
from functional_optim.native.multi_output import OPTION, with_option

PROGRAM = """
import jax, functional_optim as fo
{first}
tx, params = fo.adamw(0.1), {{"w": jax.numpy.ones(100_000)}}
step = jax.jit(lambda *arguments: fo.apply_gradients(tx, *arguments))
compiled = step.lower(params, tx.init(params), params).compile()
loops = [x for x in compiled.as_text().splitlines() if " fusion(" in x and "f32[100000]" in x]
print(len(loops))
"""


def loops(first):
    """Counts the loops over a leaf in a step, in a separate process."""
    environment = {**os.environ, "XLA_FLAGS": "", "FUNCTIONAL_OPTIM_NATIVE": "0"}
    command = [sys.executable, "-c", PROGRAM.format(first=first)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_step_has_fewer_loops():
    assert loops("fo.native.use_multi_output_fusion()") < loops("")


def test_an_error_is_raised_after_jax_has_started(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--some_flag")
    jax.devices()
    with pytest.raises(RuntimeError, match=r"JAX has started.* XLA_FLAGS=--xla_backend_extra_op"):
        fo.native.use_multi_output_fusion()
    assert os.environ["XLA_FLAGS"] == "--some_flag"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", f"--xla_backend_extra_options={OPTION}"),
        ("--a=1", f"--a=1 --xla_backend_extra_options={OPTION}"),
        ("--xla_backend_extra_options=x --b", f"--xla_backend_extra_options=x,{OPTION} --b"),
        (f"--xla_backend_extra_options={OPTION}=false", f"--xla_backend_extra_options={OPTION}"),
    ],
)
def test_other_flags_are_kept(flags, expected):
    assert with_option(flags) == expected
    assert with_option(expected) == expected
