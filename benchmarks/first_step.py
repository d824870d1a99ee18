"""The processor's time before the first step, of optax and ours in turn in one process.

`python benchmarks/first_step.py AdamW "256 leaves of 16" 9` prints medians of nine rounds. Other
work on the machine changes this time less than the time on a clock, which `run.py` measures.
"""

import gc
import statistics
import sys
import time

from suite.contestants import contestants
from suite.rules import RULES
from suite.trees import TREES


def main() -> None:
    """Measures the rule, tree and number of rounds of the command line, after one warm-up."""
    rule, tree, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    found = contestants(RULES[rule], TREES[tree], ["optax", "ours"])
    times: dict[str, list[float]] = {name: [] for name in found}
    for i in range(rounds + 1):
        for name, one in found.items():
            gc.collect()
            start = time.process_time()
            one.first()
            if i > 0:
                times[name].append(time.process_time() - start)
    for name, seconds in times.items():
        print(f"{name}: {statistics.median(seconds):.2f} s")
    pairs = zip(times["optax"], times["ours"], strict=True)
    print(f"ratio: {statistics.median(ours / optax for optax, ours in pairs):.2f}")


if __name__ == "__main__":
    main()
