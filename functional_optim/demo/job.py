"""Runs the demo from start to end."""

import dataclasses
import tempfile
import time
from pathlib import Path

import jax

import functional_optim as fo

from .checkpoint import Checkpoints
from .config import Config
from .data import Digits, load
from .extras import UsageError, require
from .mistakes import mistakes
from .outcome import Outcome, Reference
from .progress import COLUMNS
from .race import race
from .report import write_report
from .stateful import compare
from .train import train

__all__ = ["run"]

_EXTRAS = ("matplotlib.figure", "orbax.checkpoint", "sklearn.datasets", "tqdm")


def run(
    config: Config,
    out: Path,
    *,
    fresh: bool = False,
    with_race: bool = True,
    compare_with: str | None = None,
) -> Outcome:
    """Trains, compares the interfaces, races the rules, and writes the report into `out`.

    Args:
      config: the configuration of the run.
      out: directory of the checkpoints and the report.
      fresh: whether to remove the checkpoints of an earlier run.
      with_race: whether to race the rules.
      compare_with: rule of a second training, on the same batches; None for no second training.

    Raises:
      UsageError: an extra is missing, `out` cannot be written to or holds a run with another
        configuration, or `compare_with` is the rule of the run.
    """
    began = time.perf_counter()
    if compare_with == config.rule:
        raise UsageError(
            f"--compare would train {config.rule} again, which is the rule of the run. Pass "
            "another rule after --compare, or to --rule."
        )
    for module in _EXTRAS:
        require(module)
    _make_directory(out)
    digits = load(config.seed)
    tx = config.optimizer()
    print(f"functional_optim {fo.__version__}, jax {jax.__version__}, {jax.devices()[0]}")
    checkpoints = Checkpoints(out / "checkpoints", config, fresh=fresh)
    resumed = checkpoints.latest_epoch
    _announce(resumed, config, out)
    print(COLUMNS)
    state, curves = train("training", config, tx, digits, checkpoints)
    checkpoints.close()
    outcome = Outcome(
        config=config,
        state=state,
        curves=curves,
        resumed=resumed,
        comparison=compare(config, tx, digits, state.params),
        reference=_reference(compare_with, config, digits),
        race=race(config, digits) if with_race else [],
        mistakes=mistakes(
            fo.eval_params(state.opt_state, state.params, default=state.params), digits
        ),
        seconds=time.perf_counter() - began,
    )
    print(outcome.summary)
    print(f"report: {write_report(outcome, out).absolute()}")
    return outcome


def _reference(rule: str | None, config: Config, digits: Digits) -> Reference | None:
    """Trains with another rule from the same parameters on the same batches."""
    if rule is None:
        return None
    other = dataclasses.replace(config, rule=rule)
    _, curves = train(rule, other, other.optimizer(), digits)
    return Reference(rule, curves)


def _make_directory(out: Path) -> None:
    """Creates a directory, and raises if it cannot be written to."""
    try:
        # Creating a file is the only reliable test of write permission.
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise UsageError(
            f"--out must be a directory that can be written to, got {out} ({error.strerror}). "
            "Pass another one."
        ) from error


def _announce(resumed: int, config: Config, out: Path) -> None:
    if resumed == config.epochs:
        print(
            f"The training in {out} is complete; the other steps are repeated. "
            "To train again, pass --fresh or another --out."
        )
    elif resumed:
        print(f"Resumed from {out}, after epoch {resumed} of {config.epochs}.")
