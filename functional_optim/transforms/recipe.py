"""Optimizers as recipes: links, then a step of minus the learning rate, under one signature."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..core.binding import bind
from ..core.chain import chain
from ..core.protocol import GradientTransformation, Hyperparameter
from .scaling import scale_by_learning_rate

__all__ = ["joined", "optimizer"]

_LEARNING_RATE = inspect.Parameter(
    "learning_rate", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Hyperparameter
)


def optimizer(
    *links: Callable[..., GradientTransformation],
    defaults: Mapping[str, Any] | None = None,
    order: tuple[str, ...] = (),
    names: Mapping[str, str] | None = None,
    last: Callable[[Any], GradientTransformation] = scale_by_learning_rate,
    after: tuple[Callable[..., GradientTransformation], ...] = (),
) -> Callable[[Callable[[], None]], Callable[..., GradientTransformation]]:
    """Makes an optimizer out of link factories; the decorated function gives name and docs.

    Its arguments are `learning_rate` and then those of the links, in the links' order, with
    the links' defaults: they are stated where the maths is, and nowhere else.

    Args:
      *links: factories.
      defaults: defaults that differ from the link's, by the optimizer's argument name.
      order: positional arguments that come first, where the links' order is not the field's.
      names: a link's argument -> the optimizer's, where they differ; also of `learning_rate`.
      last: makes the link that follows them, out of the learning rate.
      after: factories of links that come after that one.
    """
    defaults, names = dict(defaults or {}), dict(names or {})
    rate = names.get("learning_rate", "learning_rate")

    def decorate(describe: Callable[[], None]) -> Callable[..., GradientTransformation]:
        signature = _merge((*links, *after), defaults, order, names)

        @functools.wraps(describe)
        def factory(*args: Any, **kwargs: Any) -> GradientTransformation:
            given = bind(describe.__name__, signature, args, kwargs)

            def make(link: Callable[..., GradientTransformation]) -> GradientTransformation:
                arguments = inspect.signature(link).parameters
                return link(**{k: given[names.get(k, k)] for k in arguments})

            return chain(*map(make, links), last(given[rate]), *map(make, after))

        factory.__signature__ = signature  # type: ignore[attr-defined]
        return factory

    return decorate


def joined(
    *links: Callable[..., GradientTransformation], order: tuple[str, ...] = ()
) -> Callable[[Callable[[], None]], Callable[..., GradientTransformation]]:
    """Makes one factory of several, whose links follow one another; as `optimizer`, without a step.

    Args:
      *links: factories.
      order: positional arguments that come first.
    """

    def decorate(describe: Callable[[], None]) -> Callable[..., GradientTransformation]:
        found: dict[str, inspect.Parameter] = {}
        for p in _arguments(links):
            found.setdefault(p.name, p)
        signature = _arranged(found, order)

        @functools.wraps(describe)
        def factory(*args: Any, **kwargs: Any) -> GradientTransformation:
            given = bind(describe.__name__, signature, args, kwargs)
            return chain(
                *(
                    link(**{k: given[k] for k in inspect.signature(link).parameters})
                    for link in links
                )
            )

        factory.__signature__ = signature  # type: ignore[attr-defined]
        return factory

    return decorate


def _merge(
    links: tuple[Callable[..., Any], ...],
    defaults: Mapping[str, Any],
    order: tuple[str, ...],
    names: Mapping[str, str],
) -> inspect.Signature:
    found: dict[str, inspect.Parameter] = {}
    for p in [_LEARNING_RATE, *_arguments(links)]:
        name = names.get(p.name, p.name)
        found.setdefault(name, p.replace(name=name, default=defaults.get(name, p.default)))
    rate = names.get("learning_rate", "learning_rate")
    return _arranged(found, order if rate in order else (rate, *order))


def _arguments(links: tuple[Callable[..., Any], ...]) -> list[inspect.Parameter]:
    return [p for link in links for p in inspect.signature(link).parameters.values()]


def _arranged(found: dict[str, inspect.Parameter], first: tuple[str, ...]) -> inspect.Signature:
    for name in first:
        found[name] = found[name].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [found[k] for k in first] + [p for k, p in found.items() if k not in first]
    parameters.sort(key=lambda p: p.kind)
    return inspect.Signature(parameters, return_annotation=GradientTransformation)
