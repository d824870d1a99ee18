"""The table of all factories: arguments that are valid, arguments that are not, and oracles.

Whoever adds a factory adds it here; the conformance tests then run on it.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import pytest

import functional_optim as fo

from . import oracles

NEEDS = {"dampening": "momentum"}
"""An argument that is refused without another."""

Bad = tuple[Mapping[str, Any], type[Exception], str]


def matrices(params: Any) -> Any:
    """A mask that is a function of the parameters."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A factory.

    Attributes:
      factory: what the package exports.
      valid: name of a variant -> its arguments.
      bad: arguments with the error that they must raise, its type and a pattern of its text.
      oracle: the factory's namesake in `oracles`, if it has one.
    """

    factory: Callable[..., fo.GradientTransformation]
    valid: Mapping[str, Mapping[str, Any]]
    bad: tuple[Bad, ...] = ()
    oracle: Callable[..., oracles.Step] | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """One variant of one factory."""

    name: str
    factory: Callable[..., fo.GradientTransformation]
    arguments: Mapping[str, Any]
    oracle: Callable[..., oracles.Step] | None

    def make(self, **other: Any) -> fo.GradientTransformation:
        """The transformation, with some of its arguments changed."""
        return self.factory(**{**self.arguments, **other})

    def expected(self) -> oracles.Step:
        """The oracle of these arguments."""
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
        without = [k for k, other in NEEDS.items() if given.get(other, 0) is None]
        return {
            k: v
            for k, v in given.items()
            if isinstance(v, (int, float)) and not isinstance(v, bool) and k not in without
        }


def out_of_range(argument: str, value: float, interval: str, **others: Any) -> Bad:
    """A number outside its interval; the message says which."""
    text = rf"\w+: {argument} must be in {interval}, got {value}. Pass a number in that range."
    escaped = text.replace("[", r"\[").replace(")", r"\)").replace("(", r"\(")
    return {**others, argument: value}, ValueError, escaped


ADAM_RANGES = (
    ("b1", 1.2, "[0, 1)"),
    ("b1", 1.0, "[0, 1)"),
    ("b2", -0.1, "[0, 1)"),
    ("eps", -1e-8, "[0, inf)"),
    ("eps_root", -1.0, "[0, inf)"),
)
RMS_RANGES = (
    ("decay", 1.5, "[0, 1]"),
    ("eps", -1.0, "[0, inf)"),
    ("initial_scale", -1.0, "[0, inf)"),
)
LION_RANGES = (("b1", 1.0, "[0, 1)"), ("b2", 2.0, "[0, 1)"))
TRACE_RANGES = (("dampening", float("inf"), "(-inf, inf)"),)
RATE_RANGES = (
    ("learning_rate", -0.1, "[0, inf)"),
    ("learning_rate", float("nan"), "[0, inf)"),
    ("learning_rate", float("inf"), "[0, inf)"),
)


def ranges(*triples: tuple[str, float, str], **others: Any) -> tuple[Bad, ...]:
    return tuple(out_of_range(*triple, **others) for triple in triples)


RULES = (
    # Links.
    Entry(fo.scale, {"": {"step_size": -0.5}}, oracle=oracles.scale),
    Entry(
        fo.scale_by_learning_rate,
        {"": {"learning_rate": 0.1}, "ascent": {"learning_rate": 0.1, "flip_sign": False}},
        bad=ranges(*RATE_RANGES),
        oracle=oracles.scale_by_learning_rate,
    ),
    Entry(
        fo.scale_by_schedule,
        {"": {"step_size_fn": fo.linear_schedule(1.0, 0.0, 10)}},
        bad=(({"step_size_fn": 0.1}, TypeError, "scale_by_schedule: step_size_fn must be a fun"),),
    ),
    Entry(
        fo.clip,
        {"": {"max_delta": 0.5}},
        bad=ranges(("max_delta", -1.0, "[0, inf)")),
        oracle=oracles.clip,
    ),
    Entry(
        fo.clip_by_global_norm,
        {"": {"max_norm": 1.0}, "loose": {"max_norm": 100.0}},
        bad=ranges(("max_norm", -1.0, "[0, inf)")),
        oracle=oracles.clip_by_global_norm,
    ),
    Entry(
        fo.add_decayed_weights,
        {"": {"weight_decay": 1e-3}},
        bad=ranges(("weight_decay", -0.1, "[0, inf)")),
        oracle=oracles.add_decayed_weights,
    ),
    Entry(
        fo.trace,
        {
            "": {"decay": 0.9},
            "dampening": {"decay": 0.9, "dampening": 0.3},
            "nesterov": {"decay": 0.9, "nesterov": True},
            "off": {"decay": 0.0},
        },
        bad=ranges(("decay", -0.1, "[0, inf)")) + ranges(*TRACE_RANGES, decay=0.9),
        oracle=oracles.trace,
    ),
    Entry(
        fo.ema,
        {"": {"decay": 0.9}, "biased": {"decay": 0.9, "debias": False}},
        bad=ranges(("decay", 1.0, "[0, 1)")),
        oracle=oracles.ema,
    ),
    # Directions.
    Entry(
        fo.scale_by_adam,
        {
            "": {},
            "b1=0": {"b1": 0.0},
            "nesterov": {"nesterov": True},
            "amsgrad": {"amsgrad": True},
            "nesterov-amsgrad": {"nesterov": True, "amsgrad": True, "b2": 0.9},
            "eps_root": {"eps_root": 1e-3, "eps": 1e-2},
        },
        bad=ranges(*ADAM_RANGES),
        oracle=oracles.scale_by_adam,
    ),
    Entry(
        fo.scale_by_rms,
        {
            "": {},
            "centered": {"centered": True, "eps": 1e-2},
            "torch": {"eps_in_sqrt": False, "decay": 0.99},
            "bias_correction": {"bias_correction": True, "decay": 0.99},
            # A variance of 0 is a difference of equal squares: eps must outweigh its rounding.
            "centered-bias_correction": {"bias_correction": True, "centered": True, "eps": 0.5},
            "initial_scale": {"initial_scale": 1.0},
        },
        bad=ranges(*RMS_RANGES),
        oracle=oracles.scale_by_rms,
    ),
    Entry(fo.scale_by_lion, {"": {}}, bad=ranges(*LION_RANGES), oracle=oracles.scale_by_lion),
    # Optimizers.
    Entry(
        fo.sgd,
        {
            "": {"learning_rate": 0.1},
            "momentum": {"learning_rate": 1e-2, "momentum": 0.9},
            "dampening": {"learning_rate": 1e-2, "momentum": 0.9, "dampening": 0.5},
            "nesterov": {"learning_rate": 1e-2, "momentum": 0.9, "nesterov": True},
        },
        bad=ranges(*RATE_RANGES) + ranges(("momentum", -0.9, "[0, inf)"), learning_rate=0.1),
        oracle=oracles.sgd,
    ),
    Entry(
        fo.adam,
        {
            "": {"learning_rate": 1e-3},
            "nesterov": {"learning_rate": 1e-3, "nesterov": True},
            "amsgrad": {"learning_rate": 1e-3, "amsgrad": True, "b2": 0.99},
        },
        bad=ranges(*RATE_RANGES) + ranges(*ADAM_RANGES, learning_rate=0.1),
        oracle=oracles.adam,
    ),
    Entry(
        fo.adamw,
        {
            "": {"learning_rate": 1e-3},
            "mask": {"learning_rate": 1e-3, "weight_decay": 0.1, "mask": matrices},
        },
        bad=ranges(*RATE_RANGES) + ranges(("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
        oracle=oracles.adamw,
    ),
    Entry(
        fo.rmsprop,
        {
            "": {"learning_rate": 1e-3},
            "momentum": {"learning_rate": 1e-3, "momentum": 0.9},
            "torch": {
                "learning_rate": 1e-3,
                "decay": 0.99,
                "eps": 1e-2,
                "eps_in_sqrt": False,
                "centered": True,
                "momentum": 0.9,
                "nesterov": True,
            },
        },
        bad=ranges(*RATE_RANGES) + ranges(*RMS_RANGES, learning_rate=0.1),
        oracle=oracles.rmsprop,
    ),
    Entry(
        fo.lion,
        {
            "": {"learning_rate": 1e-3},
            "mask": {"learning_rate": 1e-3, "weight_decay": 0.1, "mask": matrices},
        },
        bad=ranges(*RATE_RANGES) + ranges(*LION_RANGES, learning_rate=0.1),
        oracle=oracles.lion,
    ),
    # Combinators.
    Entry(fo.identity, {"": {}}),
    Entry(fo.set_to_zero, {"": {}}),
    Entry(
        fo.masked,
        {
            "": {"inner": fo.adam(1e-3), "mask": matrices},
            "tree": {"inner": fo.trace(0.9), "mask": {"w": True, "b": False}},
            "zero": {"inner": fo.trace(0.9), "mask": matrices, "otherwise": "zero"},
        },
        bad=(
            ({"inner": 3, "mask": True}, TypeError, "masked: inner must be a pair of functions"),
            (
                {"inner": fo.scale(1.0), "mask": True, "otherwise": "keep"},
                ValueError,
                "masked: otherwise must be 'pass' or 'zero', got 'keep'",
            ),
        ),
    ),
    Entry(
        fo.freeze,
        {
            "": {"mask": {"w": False, "b": True}},
            "inner": {"mask": matrices, "inner": fo.sgd(0.1, momentum=0.9)},
        },
        bad=(({"mask": True, "inner": 3}, TypeError, "must be a pair of functions"),),
    ),
    Entry(
        fo.partition,
        {
            "": {
                "transforms": {"fast": fo.adam(1e-3), "slow": fo.sgd(0.1, momentum=0.9)},
                "param_labels": {"w": "fast", "b": "slow"},
            },
            "paths": {
                "transforms": {"fast": fo.adam(1e-3), "rest": fo.set_to_zero()},
                "param_labels": fo.path_labels({"^w": "fast"}, default="rest"),
            },
        },
        bad=(
            (
                {"transforms": {"a": fo.clip}, "param_labels": "a"},
                TypeError,
                "partition: the transform 'a' must be a pair of functions",
            ),
        ),
    ),
)

CHAINS = {
    "empty": (),
    "clip-adam-schedule": (
        fo.clip_by_global_norm(1.0),
        fo.scale_by_adam(),
        fo.scale_by_learning_rate(fo.linear_schedule(1e-2, 1e-3, 10)),
    ),
    "clip-in-between": (fo.trace(0.9), fo.clip_by_global_norm(1.0), fo.sgd(0.1)),
}
"""`chain` takes no names: these are its positional arguments."""


def cases() -> list[Case]:
    """All variants of all factories."""
    named = [
        Case(f"{entry.factory.__name__}{'-' * bool(variant)}{variant}", entry.factory, *rest)
        for entry in RULES
        for variant, *rest in ((k, v, entry.oracle) for k, v in entry.valid.items())
    ]
    chained = [Case(f"chain-{k}", _chain, {"links": v}, None) for k, v in CHAINS.items()]
    return named + chained


def _chain(links: tuple[fo.GradientTransformation, ...]) -> fo.GradientTransformation:
    return fo.chain(*links)


def _each(chosen: Iterable[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in chosen])


each = _each(cases())
"""Runs a test on every variant of every factory."""

each_factory = _each(c for c in cases() if c.factory is _chain or "-" not in c.name)
"""Runs a test on the plain variant of every factory, and on every chain."""

each_link = _each(c for c in cases() if c.oracle and "learning_rate" not in c.arguments)
"""Runs a test on every variant of every link, of which the optimizers are made."""

each_on_any_tree = _each(
    c for c in cases() if c.factory not in (fo.masked, fo.freeze, fo.partition)
)
"""Runs a test on every variant that does not name the leaves of the parameters."""

each_with_oracle = _each(c for c in cases() if c.oracle)
"""Runs a test on every variant that has an oracle."""
