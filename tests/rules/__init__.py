"""The table of all factories: arguments that are valid, arguments that are not, and oracles.

Whoever adds a factory adds it to the file of its family; the conformance tests then run on it.
"""

from collections.abc import Callable, Container, Iterable
from typing import Any

import pytest

import functional_optim as fo
from functional_optim.core.chain import ChainInit
from functional_optim.core.rules.init import RuleInit

from . import (
    adadelta,
    adafactor,
    adagrad,
    adam,
    adamax,
    adaptive,
    around,
    asgd,
    combinators,
    dion,
    layerwise,
    lbfgs,
    learning_rate_free,
    links,
    lion,
    low_rank,
    master,
    muon,
    plateau,
    psgd,
    radam,
    recent,
    rmsprop,
    rprop,
    schedule_free,
    scion,
    sgd,
    shampoo,
    signs,
    soap,
    sparse,
)
from .table import Bad, Case, Entry, matrices

__all__ = [
    "Bad",
    "Case",
    "Entry",
    "REPRESENTATIVES",
    "RULES",
    "cases",
    "cases_with_extra",
    "each",
    "each_argument",
    "each_factory",
    "each_link",
    "each_of",
    "each_own_rule",
    "each_with_extra",
    "each_with_oracle",
    "matrices",
]

FAMILIES = (
    links,
    plateau,
    adafactor,
    adam,
    adamax,
    radam,
    lion,
    muon,
    soap,
    shampoo,
    dion,
    scion,
    low_rank,
    psgd,
    rmsprop,
    sgd,
    adadelta,
    adagrad,
    asgd,
    rprop,
    sparse,
    adaptive,
    recent,
    layerwise,
    signs,
    lbfgs,
    combinators,
    around,
    master,
    schedule_free,
    learning_rate_free,
)

RULES = tuple(entry for family in FAMILIES for entry in family.RULES)

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

NAMED_LINKS = (("clip", fo.clip_by_global_norm(1.0)), ("adam", fo.adam(1e-2)))
"""The links that `named_chain` gets, with their names."""


def _named(needs_extra: bool) -> list[Case]:
    return [
        Case(
            f"{entry.factory.__name__}{'-' * bool(variant)}{variant}",
            entry.factory,
            arguments,
            entry.oracle,
            entry.extra,
            entry.leave_out,
            entry.drift,
        )
        for entry in RULES
        if (entry.extra is not None) == needs_extra
        for variant, arguments in entry.valid.items()
    ]


def cases() -> list[Case]:
    """Returns all variants of all factories whose `update` needs only gradients and parameters."""
    chained = [Case(f"chain-{k}", _chain, {"links": v}, None) for k, v in CHAINS.items()]
    named = Case("named_chain", _named_chain, {"links": NAMED_LINKS}, None)
    return [*_named(needs_extra=False), *chained, named]


def cases_with_extra() -> list[Case]:
    """Returns all variants of all factories whose `update` needs more than that."""
    return _named(needs_extra=True)


def _chain(links: tuple[fo.GradientTransformation, ...]) -> fo.GradientTransformation:
    return fo.chain(*links)


def _named_chain(links: tuple[tuple[str, fo.GradientTransformation], ...]) -> Any:
    return fo.named_chain(*links)


def each_of(chosen: Iterable[Case]) -> pytest.MarkDecorator:
    """Runs a test on each of these cases."""
    return pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in chosen])


def each_argument(names: Callable[[Case], Iterable[str]]) -> pytest.MarkDecorator:
    """Runs a test on some arguments of every factory, each with the first variant that names it."""
    seen: dict[tuple[Any, str], Any] = {}
    for case in [*cases(), *cases_with_extra()]:
        for name in names(case):
            seen.setdefault(
                (case.factory, name), pytest.param(case, name, id=f"{case.name}-{name}")
            )
    return pytest.mark.parametrize(("case", "name"), list(seen.values()))


each = each_of(cases())
"""Runs a test on every variant of every factory."""

each_with_extra = each_of(cases_with_extra())
"""Runs a test on every variant of every factory whose `update` needs more than that."""


REPRESENTATIVES = {
    "adafactor",
    "adam",
    "asgd",
    "centralize",
    "clip_by_global_norm",
    "dog",
    "lamb",
    "lion",
    "muon",
    "prodigy",
    "scale_by_factored_rms",
    "schedule_free_adamw",
    "sgd",
    "sm3",
    "sparse_adam",
}
"""One rule of each kind that the engine treats in its own way."""

FACTORIZING = {
    entry.factory
    for family in (soap, shampoo, dion, scion, low_rank, psgd)
    for entry in family.RULES
}
"""Rules that decompose matrices, of which a step takes a hundred times as long as of others."""


def affordable(chosen: Iterable[Case]) -> list[Case]:
    """Drops all but the plain variant of rules that decompose matrices, whose steps are slow."""
    return [c for c in chosen if c.factory not in FACTORIZING or "-" not in c.name]


def plain(chosen: Iterable[Case]) -> list[Case]:
    """Returns the plain variant of every factory, and every chain.

    Variants of one factory share the engine's code, and their states hold what that of the plain
    variant holds, or fewer arrays, so properties of the engine are tested once. Optimizers that
    decompose matrices consist of their link and Adam, so only one of them is tested.
    """
    return [
        c
        for c in chosen
        if (c.factory is _chain or "-" not in c.name)
        and (c.factory not in FACTORIZING or hasattr(c.factory, "spec") or c.factory is fo.soap)
    ]


def unchained(chosen: Iterable[Case], also: Container[str] = REPRESENTATIVES) -> list[Case]:
    """Returns all but the rules that are a chain of links of the table, and of these those `also`.

    Such a rule has no state or maths of its own: it has a property if chains and all its links
    have it. The chains of the table are kept; so are wrappers, which may return the wrapped
    transformation, and rules with extra arguments, which a chain has to pass on.
    """
    names = {entry.factory.__name__: entry.factory for entry in RULES}
    links = {k for k, f in names.items() if hasattr(f, "spec") or k.startswith("scale_by_")}

    def is_chain_of_links(c: Case) -> bool:
        init = c.make().init
        return isinstance(init, ChainInit) and all(
            isinstance(link, RuleInit) and link.name in links for link in init.inits
        )

    def kept(c: Case) -> bool:
        wraps = any(isinstance(x, fo.GradientTransformation) for x in c.arguments.values())
        own = wraps or c.extra is not None or c.factory in (_chain, _named_chain)
        return own or c.name in also or not is_chain_of_links(c)

    return [c for c in chosen if kept(c)]


each_factory = each_of(plain(cases()))
"""Runs a test on the plain variant of every factory, and on every chain."""

each_factory_with_extra = each_of(plain(cases_with_extra()))
"""The same for factories whose `update` needs more than gradients and parameters."""

each_own_rule = each_of(unchained(plain(cases())))
"""Runs a test on the plain variant of every factory that is not a chain of others."""

each_link = each_of(c for c in affordable(cases()) if c.oracle and hasattr(c.factory, "spec"))
"""Runs a test on every variant of every link, of which the optimizers are made."""

each_with_oracle = each_of(c for c in cases() if c.oracle)
"""Runs a test on every variant that has an oracle."""
