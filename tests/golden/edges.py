"""Cases made by hand: what a port gets wrong first."""

from typing import Any

from .cases import STEPS, Case, case, edit, in_both

_MOMENTUM = {"lr": 0.1, "momentum": 0.9}
_DAMPED = {**_MOMENTUM, "dampening": 0.5}
_DECAYED = {"lr": 0.01, "weight_decay": 0.1}
_BETAS_TWICE = in_both(edit(6, "betas", [0.5, 0.9]), edit(13, "betas", [0.95, 0.9999]))
_BETAS_ALWAYS = in_both(
    *(edit(t, "betas", [0.9 - 0.04 * t, 0.99 + 0.0004 * t]) for t in range(1, STEPS))
)


def _off_and_on(key: str, off: Any, on: Any) -> list[dict[str, Any]]:
    return in_both(edit(10, key, off), edit(15, key, on))


def _array(value: Any) -> dict[str, Any]:
    return {"array": value, "dtype": "float64"}


SGD = [
    case("SGD", "dampening waits for the second step", _DAMPED, {"momentum": 0.0}),
    case("SGD", "dampening edited", _DAMPED, {}, [edit(8, "dampening", 0.0)]),
    case("SGD", "momentum on late", {"lr": 0.1}, {}, [edit(6, "momentum", 0.9)]),
    case("SGD", "momentum on before a start", {"lr": 0.1}, {}, [edit(1, "momentum", 0.9)]),
    case("SGD", "momentum off and on", _MOMENTUM, {}, _off_and_on("momentum", 0.0, 0.5)),
    case(
        "SGD",
        "momentum off while a parameter starts",
        _DAMPED,
        {},
        in_both(edit(1, "momentum", 0.0), edit(12, "momentum", 0.5)),
    ),
    case("SGD", "nesterov on and off", _MOMENTUM, {}, _off_and_on("nesterov", True, False)),
    case(
        "SGD",
        "maximize leaves the decay its sign",
        {**_MOMENTUM, "nesterov": True, "weight_decay": 0.1, "maximize": True},
        {"maximize": False},
        [edit(10, "maximize", False)],
    ),
    case("SGD", "arrays", {"lr": _array([0.05]), "momentum": 0.9}),
]

ADAM = [
    case("Adam", "betas and eps 0", {"betas": [0.0, 0.0], "eps": 0.0}),
    case(
        "Adam",
        "amsgrad takes the maximum before the correction",
        {**_DECAYED, "amsgrad": True, "maximize": True},
        {"betas": [0.8, 0.9]},
    ),
    case("Adam", "amsgrad by group", {"lr": 0.01}, {"amsgrad": True}),
    case("Adam", "amsgrad on late", {"lr": 0.01}, {}, [edit(5, "amsgrad", True)]),
    case(
        "Adam",
        "amsgrad off and on",
        {"lr": 0.01, "amsgrad": True},
        {},
        _off_and_on("amsgrad", False, True),
    ),
    case("Adam", "amsgrad off", {"lr": 0.01, "amsgrad": True}, {}, [edit(8, "amsgrad", False)]),
    case("Adam", "arrays", {"lr": _array(0.01), "betas": [_array(0.9), _array(0.99)]}),
    case("Adam", "array of one element", {"lr": _array([0.01])}),
    case(
        "Adam",
        "decoupled by group, and edited",
        {**_DECAYED, "decoupled_weight_decay": True},
        {"decoupled_weight_decay": False},
        [edit(10, "decoupled_weight_decay", False)],
    ),
    case("Adam", "lr 0", {"lr": 0.0}),
    case("Adam", "betas edited", {"lr": 0.01}, {}, _BETAS_TWICE),
    case("Adam", "betas edited at every step", {"lr": 0.01}, {}, _BETAS_ALWAYS),
    case("Adam", "betas edited with amsgrad", {"lr": 0.01, "amsgrad": True}, {}, _BETAS_TWICE),
    case(
        "Adam",
        "betas edited to 0 and back",
        {"lr": 0.01},
        {},
        in_both(edit(6, "betas", [0.0, 0.0]), edit(12, "betas", [0.9, 0.99])),
    ),
    case("Adam", "eps edited", {"lr": 0.01}, {}, [edit(4, "eps", 1e-3)]),
    case("Adam", "maximize edited", {"lr": 0.01}, {}, [edit(9, "maximize", True, group=1)]),
    case("AdamW", "betas edited", _DECAYED, {}, _BETAS_TWICE),
    case(
        "AdamW",
        "decay follows the scheduled lr",
        _DECAYED,
        {},
        [edit(t, "lr", 0.01 * (1 - t / STEPS)) for t in range(STEPS)],
    ),
    case(
        "AdamW",
        "weight decay scheduled",
        _DECAYED,
        {},
        [edit(t, "weight_decay", 0.1 + 0.01 * t) for t in range(0, STEPS, 3)],
    ),
]

RMSPROP = [
    case("RMSprop", "alpha 0 and centered", {"centered": True, "alpha": 0.0, "eps": 1e-2}),
    case("RMSprop", "alpha 0", {"alpha": 0.0, "eps": 1e-2}),
    case("RMSprop", "alpha 1", {"alpha": 1.0, "eps": 1e-2}),
    case("RMSprop", "momentum on late", {"lr": 0.01}, {}, [edit(5, "momentum", 0.9)]),
    case("RMSprop", "momentum off and on", _MOMENTUM, {}, _off_and_on("momentum", 0.0, 0.5)),
    case(
        "RMSprop",
        "centered off and on",
        {"lr": 0.01, "centered": True, "eps": 1e-3},
        {},
        _off_and_on("centered", False, True),
    ),
    case(
        "RMSprop",
        "alpha, eps and lr edited",
        {"lr": 0.01},
        {},
        [edit(4, "alpha", 0.5), edit(9, "eps", 1e-2), edit(12, "lr", 0.1)],
    ),
]


def _saved(*arguments: Any) -> Case:
    """A case whose state crosses over after ten steps, and which goes on for twenty."""
    name, *rest = arguments
    return case(name, "state_dict saved", *rest) | {"steps": 30, "saved": 10}


CROSSINGS = [
    _saved("SGD", {"lr": 0.1}),
    _saved("SGD", _DAMPED, {"momentum": 0.0}),
    _saved("SGD", {**_MOMENTUM, "nesterov": True}, {}, [edit(20, "lr", 0.01)]),
    _saved("Adam", {"lr": 0.01, "amsgrad": True}, {"amsgrad": False}),
    _saved("Adam", _DECAYED, {}, [*_BETAS_TWICE, edit(20, "betas", [0.8, 0.9])]),
    _saved("AdamW", _DECAYED, {"betas": [0.5, 0.9]}),
    _saved("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9, "eps": 1e-3}),
    _saved("RMSprop", {"lr": 0.01}, {"momentum": 0.5}),
]

EDGES = [*SGD, *ADAM, *RMSPROP, *CROSSINGS]
