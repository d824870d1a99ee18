"""Rules with the same numbers in each library."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

import functional_optim as fo
from functional_optim import optim

__all__ = ["RULES", "Rule"]


class Rule(NamedTuple):
    """One rule, as users of each library write it.

    Attributes:
      torch: name of the class in torch.optim, which `optim` has, too; None where torch has none.
      options: its options there.
      fused: whether torch has a kernel for all of it.
    """

    ours: Callable[[], Any]
    optax: Callable[[], Any]
    torch: str | None
    options: Mapping[str, Any]
    fused: bool = True

    def stateful(self, params: Any) -> Any:
        """Makes our stateful optimizer."""
        if self.torch is None:
            return optim.Optimizer(params, self.ours())
        return getattr(optim, self.torch)(params, **self.options)


RULES = {
    "SGD, momentum": Rule(
        lambda: fo.sgd(1e-3, momentum=0.9),
        lambda: optax.sgd(1e-3, momentum=0.9),
        "SGD",
        {"lr": 1e-3, "momentum": 0.9},
    ),
    "Adam": Rule(lambda: fo.adam(1e-3), lambda: optax.adam(1e-3), "Adam", {"lr": 1e-3}),
    "AdamW": Rule(
        lambda: fo.adamw(1e-3, weight_decay=0.01),
        lambda: optax.adamw(1e-3, weight_decay=0.01),
        "AdamW",
        {"lr": 1e-3, "weight_decay": 0.01},
    ),
    "Lion": Rule(
        lambda: fo.lion(1e-4, weight_decay=0.01),
        lambda: optax.lion(1e-4, weight_decay=0.01),
        None,
        {},
    ),
    "Adafactor": Rule(
        lambda: fo.adafactor(1e-3), lambda: optax.adafactor(1e-3), "Adafactor", {}, fused=False
    ),
    "Muon": Rule(
        lambda: fo.muon(1e-3), lambda: optax.contrib.muon(1e-3), "Muon", {"lr": 1e-3}, fused=False
    ),
}
