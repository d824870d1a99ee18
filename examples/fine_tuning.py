"""Fine-tunes a network with three groups of parameters, and compares with two other ways.

    python examples/fine_tuning.py

A network learns the digits 0 to 4. Then it learns the digits 5 to 9 from two images of each, in
three ways: from the beginning, with only a new head, or with three groups of parameters. With
groups, the head has a high learning rate, the layers before it have a low one, and biases do not
decay. The images come with scikit-learn (the extra `demo`). The program takes half a minute on two
cores.
"""

import argparse
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from functional_optim import optim
from functional_optim.demo import data, model

Array = jax.Array
SHOTS = 2
"""Images of each new digit."""


def pieces() -> dict[str, tuple[Array, Array]]:
    """Divides the digits into old ones, a few new ones to train on, and new ones to test."""
    digits = data.load(seed=0)
    labels, tested = np.asarray(digits.train_labels), np.asarray(digits.test_labels)
    few = np.concatenate([np.flatnonzero(labels == digit)[:SHOTS] for digit in range(5, 10)])
    return {
        "old": (digits.train_images[labels < 5], digits.train_labels[labels < 5]),
        "few": (digits.train_images[few], digits.train_labels[few]),
        "new": (digits.test_images[tested >= 5], digits.test_labels[tested >= 5]),
    }


def train(opt: optim.Optimizer, images: Array, labels: Array, steps: int) -> model.Params:
    """Takes steps on random batches, and returns the parameters."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        chosen = rng.integers(len(images), size=64)
        opt.minimize(model.loss_fn, images[chosen], labels[chosen])
    return opt.params


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fine-tunes in three ways, and returns the accuracy of each on new digits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args(arguments).steps
    parts = pieces()
    fresh = model.init(jax.random.key(0))
    known = train(optim.AdamW(fresh, lr=1e-3), *parts["old"], steps)
    # The old head has only learned to give new digits low scores, so it starts again.
    start = known | {"readout": jax.tree.map(jnp.zeros_like, known["readout"])}
    body = {"lr": 2e-4, "weight_decay": 0.01}
    groups = optim.path_groups(
        start,
        [
            (r"^readout", {"lr": 3e-3, "weight_decay": 0.0}),
            (r"bias$", body | {"weight_decay": 0.0}),
            (r"", body),  # all others: the first pattern that matches decides
        ],
    )
    head = [(r"^readout", {"lr": 3e-3}), (r"", {"lr": 0.0})]
    ways = {
        "from the beginning": optim.AdamW(fresh, lr=1e-3),
        "only a new head": optim.AdamW(optim.path_groups(start, head), weight_decay=0.0),
        "three groups": optim.AdamW(groups),
    }
    for group in ways["three groups"].state_dict()["param_groups"]:
        names = ", ".join(group["param_names"])
        print(f"rate {group['lr']:g}, decay {group['weight_decay']:g}: {names}")
    accuracy = {}
    for name, opt in ways.items():
        params = train(opt, *parts["few"], steps)
        accuracy[name] = float(model.accuracy(params, *parts["new"]))
        print(f"{name}: {accuracy[name]:.1%} of the new digits are right")
    return accuracy


if __name__ == "__main__":
    main()
