"""The demo as a process: killed, and started again."""

import os
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from functional_optim.demo.checkpoint import Checkpoints
from functional_optim.demo.cli import main
from functional_optim.demo.config import Config
from functional_optim.demo.extras import UsageError

from ..compiling import UNOPTIMIZED

EPOCHS = 8


class Demo:
    """A process that runs the demo, with its output in files.

    Args:
      out: the directory of the run.
      programs: the directory of compiled programs.
    """

    def __init__(self, out, programs):
        out.mkdir(parents=True, exist_ok=True)
        self.checkpoints = out / "checkpoints"
        self._texts = [out / "stdout", out / "stderr"]
        # Compiled quickly, as in other tests, and once for all of these processes.
        environment = {**os.environ, UNOPTIMIZED.upper(): "1"}
        environment["JAX_COMPILATION_CACHE_DIR"] = str(programs)
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        with self._texts[0].open("w") as stdout, self._texts[1].open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "functional_optim", *options(out)],
                stdout=stdout,
                stderr=stderr,
                env=environment,
            )

    def end(self):
        """Waits for the end of the process; returns its output."""
        assert self._process.wait(timeout=300) == 0, self._texts[1].read_text()
        return tuple(path.read_text() for path in self._texts)

    def kill_after_epoch(self, epoch):
        """Kills the process as soon as that epoch's checkpoint exists."""
        while not (self.checkpoints / str(epoch)).exists():
            assert self._process.poll() is None, self._texts[1].read_text()
            time.sleep(0.005)
        self._process.send_signal(signal.SIGKILL)
        assert self._process.wait(timeout=300) == -signal.SIGKILL

    def epochs(self):
        """Returns the numbers of the checkpoints."""
        return [int(path.name) for path in self.checkpoints.iterdir() if path.name.isdigit()]

    def final(self):
        """Reads all arrays of the last checkpoint: parameters, optimizer state, key, curves."""
        manager = ocp.CheckpointManager(self.checkpoints)
        args = ocp.args.Composite(run=ocp.args.StandardRestore())
        leaves = jax.tree_util.tree_flatten_with_path(manager.restore(EPOCHS, args=args).run)[0]
        manager.close()
        return {jax.tree_util.keystr(path): _plain(x) for path, x in leaves}


def _plain(x):
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)


def options(out, **changed):
    """Returns the command line of a short run."""
    given = {"epochs": EPOCHS, "out": out} | changed
    return ["--no-race", *(f"--{name}={value}" for name, value in given.items())]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Makes a directory for compiled programs."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, programs):
    """Provides a run that was not interrupted, and its output."""
    demo = Demo(tmp_path_factory.mktemp("finished"), programs)
    return demo, demo.end()


def assert_same_bits(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert any("kernel" in path and "params" in path for path in ours)
    for path, x in ours.items():
        assert x.dtype == theirs[path].dtype, path
        assert x.tobytes() == theirs[path].tobytes(), path


def test_killed_run_ends_where_an_uninterrupted_one_does(finished, programs, tmp_path):
    killed = Demo(tmp_path / "killed", programs)
    killed.kill_after_epoch(2)
    assert max(killed.epochs()) < EPOCHS
    resumed = Demo(tmp_path / "killed", programs)
    printed, _ = resumed.end()
    assert "Resumed from" in printed
    assert f"of {EPOCHS}" in printed
    assert_same_bits(resumed.final(), finished[0].final())


def test_a_run_prints_no_warning_and_the_path_of_its_report(finished):
    demo, (printed, errors) = finished
    assert errors == ""
    report = demo.checkpoints.parent / "report.html"
    assert printed.rstrip().endswith(str(report))
    assert report.exists()


def test_both_interfaces_print_the_same_columns(finished):
    _, (printed, _) = finished
    lines = re.findall(r"^(training|stateful) (\d+/\d+: .*)$", printed, re.MULTILINE)
    shown = {name: [text for who, text in lines if who == name] for name, _ in lines}
    assert shown["training"] == shown["stateful"]
    assert len(shown["training"]) == EPOCHS
    column = r"train loss [\d.]+, held-out loss [\d.]+, accuracy [\d.]+%, lr [\d.e-]+"
    assert re.fullmatch(rf"{EPOCHS}/{EPOCHS}: {column}", shown["training"][-1])


def test_columns_are_explained_before_they_are_printed(finished):
    _, (printed, _) = finished
    before = printed.partition("training 1/")[0]
    assert "train loss: mean over the steps of the epoch" in before
    assert "may be above the held-out loss" in before


def test_checkpoint_with_other_arrays_is_an_error_that_names_the_remedy(tmp_path):
    directory, config = tmp_path / "checkpoints", Config()
    old = Checkpoints(directory, config)
    old.save(5, {"w": np.ones(2)})
    old.close()
    new = Checkpoints(directory, config)
    with pytest.raises(UsageError, match=r"arrays differ from those of this version.*--fresh"):
        new.restore({"v": {"u": np.ones(3)}})
    new.close()


def test_a_finished_run_that_is_started_again_only_writes_the_report(finished, capsys):
    out = finished[0].checkpoints.parent
    (out / "report.html").unlink()
    before = finished[0].final()
    assert main(options(out)) == 0
    assert "is complete" in capsys.readouterr().out
    assert (out / "report.html").exists()
    assert_same_bits(finished[0].final(), before)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "has seed=1. To continue with that run, pass --seed 0"),
        ({"rule": "lion"}, "has rule=lion. To continue with that run, pass --rule adamw"),
        (
            {"epochs": 7, "batch-size": 32},
            "has batch_size=32, epochs=7. To continue with that run, pass "
            f"--batch-size 64 --epochs {EPOCHS}",
        ),
    ],
)
def test_other_options_than_the_checkpoint_has_are_an_error(finished, capsys, changed, named):
    before = finished[0].final()
    assert main(options(finished[0].checkpoints.parent, **changed)) == 2
    message = capsys.readouterr().err
    assert named in message
    assert "--fresh" in message
    assert_same_bits(finished[0].final(), before)
