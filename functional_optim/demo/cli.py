"""The command line of the demo."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .config import Config
from .data import TRAIN_SIZE
from .extras import UsageError
from .job import run
from .rules import REFERENCE, describe_rules, refusal

__all__ = ["main"]

_ABOUT = """\
Trains a small network on handwritten digits with an optimizer of this library, and ends with
a report of one HTML file. The images come with scikit-learn: nothing is downloaded.

  1. The training: one jitted scan per epoch, and a checkpoint after each.
  2. The same through the stateful interface; both must end at the same parameters.
  3. A race of five rules over a grid of learning rates, one compiled program for each rule.
"""

_RESUMING = """\
A run that was killed continues from the latest checkpoint in DIR/checkpoints if it is started
again with the same options, and ends at the same parameters, bit for bit, as an uninterrupted
run. If the training is complete, only steps 2 and 3, the training of --compare and the report
are repeated. The option --fresh starts over. A checkpoint of a run with other options is never
overwritten: it is an error.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit status."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    if options.pop("list_rules"):
        print("\n".join(describe_rules()))
        return 0
    choices = {name: options.pop(name) for name in ("out", "fresh", "with_race", "compare_with")}
    try:
        run(Config(**options), **choices)
    except UsageError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. Start again with the same options to continue.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = Config()
    parser = argparse.ArgumentParser(
        prog="python -m functional_optim",
        description=_ABOUT,
        epilog=_RESUMING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--epochs",
        type=_whole(1),
        default=defaults.epochs,
        metavar="N",
        help="passes over the training images (%(default)s)",
    )
    add(
        "--rule",
        type=_rule,
        default=defaults.rule,
        metavar="RULE",
        help="optimizer of steps 1 and 2, any of the library (%(default)s)",
    )
    add("--list-rules", action="store_true", help="list the optimizers and their learning rates")
    add(
        "--compare",
        dest="compare_with",
        type=_rule,
        nargs="?",
        const=REFERENCE,
        metavar="RULE",
        help="train a second optimizer on the same batches, and draw its curves next to the curves "
        "of --rule; without a name %(const)s, one of the best on these images in docs/race.md",
    )
    add(
        "--seed",
        type=_whole(0),
        default=defaults.seed,
        metavar="N",
        help="seed of the held-out images, the initial parameters and the batches (%(default)s)",
    )
    add(
        "--batch-size",
        type=_whole(1, TRAIN_SIZE),
        default=defaults.batch_size,
        metavar="N",
        help="images in a step (%(default)s)",
    )
    add(
        "--out",
        type=Path,
        default=Path("out/demo"),
        metavar="DIR",
        help="directory of the checkpoints and the report (%(default)s)",
    )
    add("--fresh", action="store_true", help="delete the checkpoints in DIR and start over")
    add("--no-race", dest="with_race", action="store_false", help="leave out step 3")
    return parser


def _rule(text: str) -> str:
    """Checks the name of an optimizer."""
    reason = refusal(text)
    if reason is not None:
        raise argparse.ArgumentTypeError(reason)
    return text


def _whole(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    """Makes a parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {low} to {high}, got {text!r}"
            )
        return number

    return parse
