"""Edges of RMSprop, Adadelta, Adagrad and ASGD."""

from ..cases import array, case, edit, flagged, in_both, off_and_on, saved

_MOMENTUM = {"lr": 0.1, "momentum": 0.9}
_LR = {"lr": 0.01}
_FLAGS = ("foreach", "differentiable", "capturable")

RMSPROP = [
    case("RMSprop", "alpha 0 and centered", {"centered": True, "alpha": 0.0, "eps": 1e-2}),
    case("RMSprop", "alpha 0", {"alpha": 0.0, "eps": 1e-2}),
    case("RMSprop", "alpha 1", {"alpha": 1.0, "eps": 1e-2}),
    case("RMSprop", "momentum on late", _LR, {}, [edit(5, "momentum", 0.9)]),
    case("RMSprop", "momentum off and on", _MOMENTUM, {}, off_and_on("momentum", 0.0, 0.5)),
    case(
        "RMSprop",
        "centered off and on",
        {"lr": 0.01, "centered": True, "eps": 1e-3},
        {},
        off_and_on("centered", False, True),
    ),
    case(
        "RMSprop",
        "alpha, eps and lr edited",
        _LR,
        {},
        [edit(4, "alpha", 0.5), edit(9, "eps", 1e-2), edit(12, "lr", 0.1)],
    ),
    flagged("RMSprop", *_FLAGS),
    saved("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9, "eps": 1e-3}),
    saved("RMSprop", _LR, {"momentum": 0.5}),
]

ADADELTA = [
    case("Adadelta", "rho 0 and 1", {"rho": 0.0}, {"rho": 1.0}),
    case("Adadelta", "eps 0", {"eps": 0.0}),
    case("Adadelta", "eps within both roots", {"eps": 0.5}, {"eps": 1e-10}),
    case("Adadelta", "the sum is of steps without lr", {"lr": 0.1}, {"lr": 3.0}),
    case(
        "Adadelta",
        "rho, eps and lr edited",
        {"weight_decay": 0.1},
        {},
        in_both(edit(4, "rho", 0.5), edit(9, "eps", 1e-2), edit(12, "lr", 0.1)),
    ),
    case("Adadelta", "maximize edited", {}, {}, [edit(9, "maximize", True)]),
    case("Adadelta", "array", {"lr": array(0.5)}),
    flagged("Adadelta", *_FLAGS),
    saved("Adadelta", {"rho": 0.5, "weight_decay": 0.1}, {"rho": 0.95}),
    saved("Adadelta", {"lr": 0.1}, {}, [edit(6, "rho", 0.5), edit(20, "rho", 0.8)]),
]

_SUM = {"lr": 0.1, "initial_accumulator_value": 0.1, "lr_decay": 0.1}

ADAGRAD = [
    case("Adagrad", "initial value of a group", _SUM, {"initial_accumulator_value": 3.0}),
    case("Adagrad", "initial value edited", _SUM, {}, [edit(1, "initial_accumulator_value", 9.0)]),
    case("Adagrad", "eps 0", {"eps": 0.0}, {"eps": 0.5}),
    case(
        "Adagrad",
        "lr, its decay and eps edited",
        _SUM,
        {},
        in_both(edit(4, "lr_decay", 0.5), edit(9, "eps", 1e-2), edit(12, "lr", 0.5)),
    ),
    case("Adagrad", "lr decay by group", {"lr": 0.1}, {"lr_decay": 1.0}),
    case("Adagrad", "maximize edited", {"weight_decay": 0.1}, {}, [edit(9, "maximize", True)]),
    flagged("Adagrad", "foreach", "differentiable"),
    flagged("Adagrad", "fused"),
    saved("Adagrad", {**_SUM, "weight_decay": 0.1}, {"lr_decay": 0.0}),
    saved("Adagrad", {"lr": 0.1}, {}, [edit(6, "lr", 0.5), edit(20, "lr_decay", 0.5)]),
]

_AVERAGED = {"lr": 0.05, "lambd": 0.1, "alpha": 0.5, "t0": 5}

ASGD = [
    case("ASGD", "averages from within the run", _AVERAGED, {"t0": 2}),
    case("ASGD", "averages from the start", {"lr": 0.05, "t0": 0}, {"t0": 1.5}),
    case("ASGD", "lr edited, one step late", {"lr": 0.05}, {}, [edit(4, "lr", 0.5)]),
    case("ASGD", "lr edited before a start", {"lr": 0.05}, {}, in_both(edit(1, "lr", 0.5))),
    case("ASGD", "alpha 0 and lambd 0", {"alpha": 0.0}, {"lambd": 0.0}),
    case(
        "ASGD",
        "alpha, lambd and t0 edited",
        _AVERAGED,
        {},
        in_both(edit(3, "t0", 8), edit(6, "alpha", 1.0), edit(12, "lambd", 0.5)),
    ),
    case("ASGD", "maximize edited", {"weight_decay": 0.1}, {}, [edit(9, "maximize", True)]),
    case("ASGD", "array", {"lr": array(0.05)}),
    flagged("ASGD", *_FLAGS),
    saved("ASGD", {**_AVERAGED, "t0": 15}, {"t0": 4, "weight_decay": 0.1}),
    saved("ASGD", {"lr": 0.05}, {}, [edit(6, "lr", 0.5), edit(20, "lambd", 0.1)]),
]

EDGES = [*RMSPROP, *ADADELTA, *ADAGRAD, *ASGD]
