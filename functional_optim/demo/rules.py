"""The optimizer of a run: its learning rate over the steps, and the clipping in front of it."""

import difflib
import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

import functional_optim as fo

from .optimizers import EXCLUDED, make, names

__all__ = [
    "PEAKS",
    "RACED",
    "REFERENCE",
    "describe_rules",
    "learning_rate_of",
    "make_optimizer",
    "make_schedule",
    "refusal",
]

RACED = ("adam", "adamw", "lion", "rmsprop", "sgd")
"""The rules of the race over learning rates."""

REFERENCE = "soap"
"""The rule that `--compare` trains: one of the best on the digits in docs/race.md."""

PEAKS: Mapping[str, float] = {
    "acprop": 5e-3,
    "adabelief": 0.01,
    "adabound": 0.02,
    "adadelta": 4.0,
    "adafactor": 0.05,
    "adagrad": 0.3,
    "adam": 4e-3,
    "adam_hd": 5e-3,
    "adam_mini": 5e-3,
    "adamax": 0.03,
    "adamaxw": 0.03,
    "adamuon": 0.02,
    "adamw": 4e-3,
    "adan": 0.03,
    "ademamix": 0.01,
    "adopt": 0.01,
    "amsgrad": 0.01,
    "apollo": 0.04,
    "apollo_mini": 0.02,
    "asgd": 1.0,
    "came": 6e-4,
    "cautious_adamw": 0.01,
    "cautious_lion": 3e-3,
    "cocob": 1.0,
    "dadapt_adamw": 1.0,
    "dadapt_sgd": 1.0,
    "dion": 0.02,
    "dion2": 0.02,
    "dog": 2.0,
    "dowg": 1.0,
    "fromage": 0.02,
    "galore": 0.04,
    "generalized_primal_averaging": 0.03,
    "kl_shampoo": 0.04,
    "kl_soap": 0.01,
    "lamb": 0.02,
    "laprop": 0.01,
    "lars": 8.0,
    "lbfgs": 0.0,
    "ldog": 2.0,
    "lion": 1e-3,
    "madgrad": 0.03,
    "mars": 0.02,
    "mechanize": 1.0,
    "momo": 2.0,
    "momo_adam": 0.03,
    "muon": 0.03,
    "nadam": 0.01,
    "nadamw": 0.01,
    "noisy_sgd": 0.5,
    "normuon": 0.03,
    "novograd": 0.1,
    "optimistic_adam": 5e-3,
    "optimistic_adam_v2": 5e-3,
    "optimistic_gradient_descent": 0.7,
    "polyak_sgd": 2.0,
    "prodigy": 1.0,
    "psgd_kron": 0.6,
    "radam": 0.1,
    "rmsprop": 6e-3,
    "rprop": 1e-3,
    "schedule_free": 0.02,
    "schedule_free_adamw": 0.02,
    "schedule_free_radam": 0.1,
    "schedule_free_sgd": 2.0,
    "scion": 0.04,
    "sgd": 0.2,
    "sgd_hd": 0.2,
    "shampoo": 0.05,
    "sign_sgd": 4e-3,
    "signum": 3e-3,
    "simplified_ademamix": 2e-4,
    "sm3": 0.1,
    "soap": 0.01,
    "soap_muon": 0.02,
    "sophia": 4e-3,
    "spam": 0.01,
    "sparse_adam": 5e-3,
    "stable_adamw": 0.01,
    "yogi": 0.02,
}
"""The largest learning rate of each rule, which trains this network well; 0 where a rule has none.

Each is near the best of a sweep on this network; for rules that estimate their own rate, it is a
factor of the estimate.
"""


def _kernels(params: fo.Params) -> fo.Params:
    """Makes a mask: True for kernels, False for biases."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


_CHANGES: Mapping[str, Mapping[str, Any]] = {
    # In a run of some hundred steps, the default of a decay does nothing.
    "adamw": {"weight_decay": 0.1, "mask": _kernels},
    "lion": {"weight_decay": 1.0, "mask": _kernels},
    # Factorizations of full rank would take most of the time of a run.
    "dion": {"rank_fraction": 0.0625},
    # Rprop is for the whole data set: the signs of small batches agree by chance, and steps grow.
    "rprop": {"max_step_size": 3e-3},
}
"""Arguments that suit this network and its number of steps."""

_WITHOUT_DECAY = {name for name in PEAKS if name.startswith("schedule_free")}
"""Rules whose average of the parameters takes the place of a decay of the learning rate."""

_FIRST_STEP_ONLY = {"rprop"}
"""Rules that read the learning rate at the first step, where a warmup would begin with 0."""

_UNCLIPPED = {"lbfgs", "momo", "momo_adam", "polyak_sgd"}
"""Rules that take the size of a step from the loss and the gradient, which must belong together."""


def make_optimizer(rule: str, learning_rate: fo.ScalarOrSchedule) -> fo.GradientTransformation:
    """Chains clipping, and an optimizer of the package."""
    max_norm = jnp.inf if rule in _UNCLIPPED else 1.0
    tx = make(rule, learning_rate, **_CHANGES.get(rule, {}))
    return fo.chain(fo.clip_by_global_norm(max_norm), tx)


def make_schedule(rule: str, steps: int) -> fo.ScalarOrSchedule:
    """Makes a schedule: for most rules, warmup for a tenth of the steps, then cosine decay to 0.

    Args:
      rule: name of an optimizer.
      steps: number of updates of the whole training.

    Returns:
      The schedule, or a number, which stays the same.
    """
    peak, warmup = PEAKS[rule], steps // 10
    if rule in _FIRST_STEP_ONLY:
        return peak
    if rule in _WITHOUT_DECAY:
        return fo.warmup_constant_schedule(0.0, peak, warmup)
    return fo.warmup_cosine_decay_schedule(0.0, peak, warmup, steps)


def learning_rate_of(opt_state: fo.State) -> jax.Array:
    """Returns the learning rate `()` of the last step; NaN where a line search finds it."""
    for name, value in fo.get_hyperparams(opt_state).items():
        if name.rpartition(".")[2] in ("learning_rate", "max_learning_rate"):
            return value
    return jnp.array(math.nan)


def refusal(rule: str) -> str | None:
    """Returns why a rule cannot be used; None if it can."""
    if rule in names():
        return None
    if rule in EXCLUDED:
        return f"{rule} cannot train the network ({EXCLUDED[rule]}); --list-rules lists the others"
    close = difflib.get_close_matches(rule, names(), n=5)
    hint = f" (similar: {', '.join(close)})" if close else ""
    return f"must be one of the {len(names())} rules that --list-rules lists, got {rule!r}{hint}"


def describe_rules() -> Iterator[str]:
    """Yields a line for each rule: its name, its largest learning rate, and what it is."""
    width = max(map(len, names()))
    yield f"{'rule':{width}}  rate     what it is"
    for name in names():
        first = (inspect.getdoc(getattr(fo, name)) or "").partition("\n")[0]
        rate = f"{PEAKS[name]:g}" if PEAKS[name] else "none"
        yield f"{name:{width}}  {rate:<7}  {first}"
