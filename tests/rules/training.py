"""Arguments with which each optimizer trains."""

from collections.abc import Mapping
from typing import Any

import functional_optim as fo

__all__ = ["NO_DESCENT", "TRAINING"]

TRAINING: dict[str, Mapping[str, Any]] = {
    "acprop": {"learning_rate": 1e-3, "eps_root": 1e-8},
    "adabelief": {"learning_rate": 0.01},
    "adabound": {"learning_rate": 0.1, "final_learning_rate": 1e-3},
    "adadelta": {"learning_rate": 0.1},
    "adafactor": {"learning_rate": 5e-3},
    "adagrad": {"learning_rate": 1.0},
    "adam": {"learning_rate": 0.1},
    "adam_hd": {"learning_rate": 0.01},
    "adam_mini": {"learning_rate": 0.01},
    "adamax": {"learning_rate": 0.1},
    "adamaxw": {"learning_rate": 0.1},
    "adamw": {"learning_rate": 0.1},
    "adan": {"learning_rate": 0.1},
    "ademamix": {"learning_rate": 0.01},
    "adopt": {"learning_rate": 0.05},
    "amsgrad": {"learning_rate": 0.1},
    "apollo": {"learning_rate": 0.01},
    "apollo_mini": {"learning_rate": 1e-3},
    "asgd": {"learning_rate": 1e-3},
    "cocob": {},
    "dadapt_adamw": {"learning_rate": 0.1},
    "dadapt_sgd": {"learning_rate": 0.01, "momentum": 0.9},
    "dog": {},
    "dowg": {},
    "came": {"learning_rate": 5e-3},
    "cautious_adamw": {"learning_rate": 0.01},
    "cautious_lion": {"learning_rate": 0.01, "weight_decay": 1e-4},
    "fromage": {"learning_rate": 5e-3},
    "galore": {"learning_rate": 0.1},
    "lamb": {"learning_rate": 1e-3},
    "laprop": {"learning_rate": 0.01},
    "lars": {"learning_rate": 1.0},
    "lbfgs": {},
    "ldog": {},
    "lion": {"learning_rate": 0.01, "weight_decay": 1e-4},
    "momo": {"learning_rate": 0.1},
    "momo_adam": {"learning_rate": 0.1},
    "madgrad": {"learning_rate": 0.02},
    "mars": {"learning_rate": 0.01, "adam_weight_decay": 0.0},
    "muon": {"learning_rate": 0.01},
    "nadam": {"learning_rate": 0.01},
    "nadamw": {"learning_rate": 0.01},
    "noisy_sgd": {"learning_rate": 1e-3, "eta": 1e-4, "key": 0},
    "novograd": {"learning_rate": 1e-3},
    "optimistic_adam": {"learning_rate": 2e-3},
    "optimistic_adam_v2": {"learning_rate": 2e-3},
    "optimistic_gradient_descent": {"learning_rate": 2e-3, "alpha": 0.7, "beta": 0.1},
    "polyak_sgd": {"max_learning_rate": 1.0},
    "prodigy": {"learning_rate": 0.1},
    "psgd_kron": {"learning_rate": 0.01},
    "radam": {"learning_rate": 5e-3},
    "rmsprop": {"learning_rate": 5e-3},
    "rprop": {"learning_rate": 0.1},
    "schedule_free": {"base_optimizer": fo.adam(0.05, b1=0.0), "learning_rate": 0.05},
    "schedule_free_adamw": {"learning_rate": 0.01, "warmup_steps": 5000},
    "schedule_free_radam": {"learning_rate": 0.01},
    "schedule_free_sgd": {"learning_rate": 0.01, "warmup_steps": 5000},
    "sgd": {"learning_rate": 1e-3, "momentum": 0.9},
    "sgd_hd": {"learning_rate": 1e-3, "momentum": 0.9, "hypergrad_lr": 1e-10},
    "sign_sgd": {"learning_rate": 0.1},
    "signum": {"learning_rate": 0.01},
    "simplified_ademamix": {"learning_rate": 1e-3},
    "sm3": {"learning_rate": 1.0},
    "spam": {"learning_rate": 0.1},
    "sophia": {"learning_rate": 0.01},
    "sparse_adam": {"learning_rate": 0.01},
    "stable_adamw": {"learning_rate": 0.01, "weight_decay": 0.0},
    "yogi": {"learning_rate": 0.1},
}
"""The rates at which optax tests its own, and ours for those that it has not."""

_IN_PROPORTION = "steps are in proportion to a parameter, and that of y is 0 on the way"

NO_DESCENT: dict[str, Mapping[str, str]] = {
    "dadapt_sgd": {"rosenbrock": "steps are in units of the first gradient, the largest there"},
    "lamb": {"rosenbrock": _IN_PROPORTION},
    "lars": {"rosenbrock": _IN_PROPORTION},
    "sign_sgd": {"rosenbrock": "steps of one size need a schedule there"},
}
"""Which of the kit's functions an optimizer need not lower -> why."""
