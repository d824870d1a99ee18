"""The type of an entry in the table of factories."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax

import functional_optim as fo
from functional_optim.testing import case as kit

from ..oracles.common import Step

NEEDS = {"dampening": "momentum"}
"""An argument that is refused without another."""

COUNTS = {
    "axis",
    "block_size",
    "every",
    "every_k_schedule",
    "exponent",
    "fraction",
    "key",
    "max_consecutive_errors",
    "max_precond_dim",
    "max_size",
    "max_size_triangular",
    "max_skew_triangular",
    "memory_size",
    "min_dim_size_to_factor",
    "min_size",
    "ns_steps",
    "num_betas",
    "rank",
    "rank_fraction",
    "rank_multiple_of",
    "safety_factor",
    "sync_period",
    "update_proj_gap",
    "window_size",
}
"""Numbers that shape the program."""

NAMED = {"empty_trees": "labels name leaves, which must be there"}
"""Checks of the conformance kit that do not apply to masks given as trees -> why."""

Bad = tuple[Mapping[str, Any], type[Exception], str]


def matrices(params: Any) -> Any:
    """Masks matrices, as a function of the parameters."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A factory.

    Attributes:
      factory: the exported function.
      valid: name of a variant -> its arguments.
      bad: arguments with the error that they must raise, its type and a pattern of its text.
      oracle: the factory's namesake in `oracles`, if it has one.
      extra: arguments that `update` needs beyond gradients and parameters, or a function of
        those two that makes them.
      leave_out: checks of the conformance kit that it need not pass -> why.
      drift: how far, in units of the parameters, 1000 updates in float32 may be from the oracle's.
        It is more where updates answer to parameters, whose sum in float32 rounds at each step.
    """

    factory: Callable[..., fo.GradientTransformation]
    valid: Mapping[str, Mapping[str, Any]]
    bad: tuple[Bad, ...] = ()
    oracle: Callable[..., Step] | None = None
    extra: Mapping[str, Any] | Callable[[Any, Any], Mapping[str, Any]] | None = None
    leave_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    drift: float = 5e-7


@dataclasses.dataclass(frozen=True)
class Case:
    """One variant of one factory."""

    name: str
    factory: Callable[..., fo.GradientTransformation]
    arguments: Mapping[str, Any]
    oracle: Callable[..., Step] | None
    extra: Mapping[str, Any] | Callable[[Any, Any], Mapping[str, Any]] | None = None
    leave_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    drift: float = 5e-7

    def make(self, **other: Any) -> fo.GradientTransformation:
        """Makes the transformation, with some of its arguments changed."""
        return self.factory(**{**self.arguments, **other})

    def update(self, tx: fo.GradientTransformation, grads: Any, state: Any, params: Any) -> Any:
        """Returns updates and state after an update of `tx`, given all that this case needs."""
        return kit.Case(tx, extra=self.extra).update(grads, state, params)

    def expected(self) -> Step:
        """Makes the oracle of these arguments."""
        assert self.oracle is not None
        return self.oracle(**self.arguments)

    @property
    def signature(self) -> Mapping[str, inspect.Parameter]:
        """The factory's arguments."""
        return inspect.signature(self.factory).parameters

    @property
    def numbers(self) -> dict[str, float]:
        """The numeric arguments: those given, and the defaults of the others."""
        defaults = {k: p.default for k, p in self.signature.items()}
        given = {**defaults, **self.arguments}
        without = [k for k, other in NEEDS.items() if given.get(other, 0) is None] + [*COUNTS]
        return {
            k: v
            for k, v in given.items()
            if isinstance(v, (int, float)) and not isinstance(v, bool) and k not in without
        }


def out_of_range(argument: str, value: float, interval: str, **others: Any) -> Bad:
    """Gives an argument a number outside its interval; the message says which."""
    text = rf"\w+: {argument} must be in {interval}, got {value}. Pass a number in that range."
    escaped = text.replace("[", r"\[").replace(")", r"\)").replace("(", r"\(")
    return {**others, argument: value}, ValueError, escaped


RATE_RANGES = (
    ("learning_rate", -0.1, "[0, inf)"),
    ("learning_rate", float("nan"), "[0, inf)"),
    ("learning_rate", float("inf"), "[0, inf)"),
)


def ranges(*triples: tuple[str, float, str], **others: Any) -> tuple[Bad, ...]:
    return tuple(out_of_range(*triple, **others) for triple in triples)
