"""Edge cases of LBFGS: both rules of the step, their limits, and the ends of a step."""

from typing import Any

from ..cases import Case, case, edit
from ..losses import HILL, LOSSES

_WOLFE = {"line_search_fn": "strong_wolfe"}
_SHORT = {"history_size": 3}
"""One length and one loss, as each is a program to compile."""


def _case(origin: str, kwargs: dict[str, Any], problem: str, *events: Any) -> Case:
    return case("LBFGS", origin, kwargs, {}, events) | {"problem": problem}


_EVERY = {
    "one iteration": {"max_iter": 1},
    "few evaluations": {"max_iter": 4, "max_eval": 3},
    "wolfe, few evaluations": {**_WOLFE, "max_iter": 30, "max_eval": 12},
    "wolfe, one evaluation": {**_WOLFE, "max_eval": 1},
    "wolfe, small first step": {**_WOLFE, "lr": 0.01},
    "wolfe, large first step": {**_WOLFE, "lr": 10.0},
}
_QUARTIC = {
    "small steps": {"lr": 0.1, "max_iter": 10, **_SHORT},
    "short history": {"lr": 0.5, "max_iter": 4, **_SHORT},
    "wolfe, short history": {**_WOLFE, "max_iter": 6, **_SHORT},
    "a large gradient will do": {"tolerance_grad": 1e2},
    "a large change ends a step": {"tolerance_change": 1e-1},
}
_MAXIMIZED = {
    "maximized": {"maximize": True, "lr": 0.1, "max_iter": 10, **_SHORT},
    "wolfe, maximized": {"maximize": True, **_WOLFE, "max_iter": 6, **_SHORT},
}
_TURNED = [edit(4, "maximize", True), edit(8, "maximize", False)]
_EDITED = [edit(2, "lr", 0.5), edit(3, "max_iter", 3), edit(5, "tolerance_grad", 1e-3)]

EDGES = [
    *(_case(origin, kwargs, loss) for origin, kwargs in _EVERY.items() for loss in LOSSES),
    *(_case(origin, kwargs, "quartic") for origin, kwargs in _QUARTIC.items()),
    *(_case(origin, kwargs, HILL) for origin, kwargs in _MAXIMIZED.items()),
    _case("maximize edited", {"lr": 0.1, "max_iter": 2, **_SHORT}, "quad", *_TURNED),
    _case("numbers edited", {"max_iter": 4}, "quartic", *_EDITED),
    *(
        _case("state_dict saved", {**kwargs, "max_iter": 2, **_SHORT}, "quartic")
        | {"steps": 30, "saved": 10}
        for kwargs in ({}, _WOLFE)
    ),
    _case("state_dict saved", {"maximize": True, **_WOLFE, "max_iter": 2, **_SHORT}, HILL)
    | {"steps": 30, "saved": 10},
]
