"""Edges of SGD and Rprop."""

from ..cases import array, case, edit, flagged, in_both, off_and_on, saved

_MOMENTUM = {"lr": 0.1, "momentum": 0.9}
_DAMPED = {**_MOMENTUM, "dampening": 0.5}

SGD = [
    case("SGD", "dampening waits for the second step", _DAMPED, {"momentum": 0.0}),
    case("SGD", "dampening edited", _DAMPED, {}, [edit(8, "dampening", 0.0)]),
    case("SGD", "momentum on late", {"lr": 0.1}, {}, [edit(6, "momentum", 0.9)]),
    case("SGD", "momentum on before a start", {"lr": 0.1}, {}, [edit(1, "momentum", 0.9)]),
    case("SGD", "momentum off and on", _MOMENTUM, {}, off_and_on("momentum", 0.0, 0.5)),
    case(
        "SGD",
        "momentum off while a parameter starts",
        _DAMPED,
        {},
        in_both(edit(1, "momentum", 0.0), edit(12, "momentum", 0.5)),
    ),
    case("SGD", "nesterov on and off", _MOMENTUM, {}, off_and_on("nesterov", True, False)),
    case(
        "SGD",
        "maximize leaves the decay its sign",
        {**_MOMENTUM, "nesterov": True, "weight_decay": 0.1, "maximize": True},
        {"maximize": False},
        [edit(10, "maximize", False)],
    ),
    case("SGD", "arrays", {"lr": array([0.05]), "momentum": 0.9}),
    flagged("SGD", "foreach", "differentiable"),
    flagged("SGD", "fused"),
    saved("SGD", {"lr": 0.1}),
    saved("SGD", _DAMPED, {"momentum": 0.0}),
    saved("SGD", {**_MOMENTUM, "nesterov": True}, {}, [edit(20, "lr", 0.01)]),
]

RPROP = [
    case("Rprop", "step sizes at their bounds", {"lr": 0.1, "step_sizes": [0.09, 0.11]}),
    case("Rprop", "first step out of its bounds", {"lr": 1.0, "step_sizes": [1e-3, 0.5]}),
    case("Rprop", "etas by group", {"lr": 0.1}, {"etas": [0.3, 3.0]}),
    case(
        "Rprop",
        "lr edited: only who starts later sees it",
        {"lr": 0.1},
        {},
        in_both(edit(1, "lr", 0.5), edit(4, "lr", 5.0)),
    ),
    case(
        "Rprop",
        "etas and step sizes edited",
        {"lr": 0.1},
        {},
        in_both(edit(6, "etas", [0.1, 2.0]), edit(13, "step_sizes", [1e-2, 1.0])),
    ),
    case("Rprop", "maximize edited", {"lr": 0.1}, {}, [edit(9, "maximize", True)]),
    case("Rprop", "array", {"lr": array(0.05)}),
    flagged("Rprop", "foreach", "differentiable", "capturable"),
    saved("Rprop", {"lr": 0.1}, {"etas": [0.3, 1.5]}, [edit(20, "lr", 0.01)]),
    saved("Rprop", {"lr": 0.01, "step_sizes": [1e-3, 0.1], "maximize": True}),
]

EDGES = [*SGD, *RPROP]
