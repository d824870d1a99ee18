"""Edges of Adam, AdamW, Adamax, NAdam and RAdam."""

from ..cases import STEPS, array, case, edit, flagged, in_both, off_and_on, saved

_LR = {"lr": 0.01}
_DECAYED = {"lr": 0.01, "weight_decay": 0.1}
_DECOUPLED = {**_DECAYED, "decoupled_weight_decay": True}
_BETAS_TWICE = in_both(edit(6, "betas", [0.5, 0.9]), edit(13, "betas", [0.95, 0.9999]))
_BETAS_TO_ZERO = in_both(edit(6, "betas", [0.0, 0.0]), edit(12, "betas", [0.9, 0.99]))
_BETAS_ALWAYS = in_both(
    *(edit(t, "betas", [0.9 - 0.04 * t, 0.99 + 0.0004 * t]) for t in range(1, STEPS))
)
_FLAGS = ("foreach", "differentiable", "capturable")

ADAM = [
    case("Adam", "betas and eps 0", {"betas": [0.0, 0.0], "eps": 0.0}),
    case(
        "Adam",
        "amsgrad takes the maximum before the correction",
        {**_DECAYED, "amsgrad": True, "maximize": True},
        {"betas": [0.8, 0.9]},
    ),
    case("Adam", "amsgrad by group", _LR, {"amsgrad": True}),
    case("Adam", "amsgrad on late", _LR, {}, [edit(5, "amsgrad", True)]),
    case(
        "Adam",
        "amsgrad off and on",
        {"lr": 0.01, "amsgrad": True},
        {},
        off_and_on("amsgrad", False, True),
    ),
    case("Adam", "amsgrad off", {"lr": 0.01, "amsgrad": True}, {}, [edit(8, "amsgrad", False)]),
    case("Adam", "arrays", {"lr": array(0.01), "betas": [array(0.9), array(0.99)]}),
    case("Adam", "array of one element", {"lr": array([0.01])}),
    case(
        "Adam",
        "decoupled by group, and edited",
        _DECOUPLED,
        {"decoupled_weight_decay": False},
        [edit(10, "decoupled_weight_decay", False)],
    ),
    case("Adam", "lr 0", {"lr": 0.0}),
    case("Adam", "betas edited", _LR, {}, _BETAS_TWICE),
    case("Adam", "betas edited at every step", _LR, {}, _BETAS_ALWAYS),
    case("Adam", "betas edited with amsgrad", {"lr": 0.01, "amsgrad": True}, {}, _BETAS_TWICE),
    case("Adam", "betas edited to 0 and back", _LR, {}, _BETAS_TO_ZERO),
    case("Adam", "eps edited", _LR, {}, [edit(4, "eps", 1e-3)]),
    case("Adam", "maximize edited", _LR, {}, [edit(9, "maximize", True, group=1)]),
    flagged("Adam", *_FLAGS),
    flagged("Adam", "fused"),
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
    flagged("AdamW", *_FLAGS),
    saved("Adam", {"lr": 0.01, "amsgrad": True}, {"amsgrad": False}),
    saved("Adam", _DECAYED, {}, [*_BETAS_TWICE, edit(20, "betas", [0.8, 0.9])]),
    saved("AdamW", _DECAYED, {"betas": [0.5, 0.9]}),
]

ADAMAX = [
    case("Adamax", "betas and eps 0", {"betas": [0.0, 0.0], "eps": 0.0}),
    case("Adamax", "eps within the maximum", {"lr": 0.01, "eps": 0.5}, {"eps": 3.0}),
    case("Adamax", "betas edited", _DECAYED, {}, _BETAS_TWICE),
    case("Adamax", "betas edited to 0 and back", _LR, {}, _BETAS_TO_ZERO),
    case("Adamax", "eps edited", _LR, {}, [edit(4, "eps", 1.0), edit(12, "eps", 0.0)]),
    case("Adamax", "betas by group", _LR, {"betas": [0.0, 0.5], "maximize": True}),
    case("Adamax", "array", {"lr": array(0.01)}),
    flagged("Adamax", *_FLAGS),
    saved("Adamax", _DECAYED, {"betas": [0.5, 0.9]}),
    saved("Adamax", {"lr": 0.01, "maximize": True}, {}, [*_BETAS_TWICE, edit(20, "lr", 0.1)]),
]

NADAM = [
    case("NAdam", "betas 0", {"betas": [0.0, 0.0]}),
    case("NAdam", "momentum decay 0", {"lr": 0.01, "momentum_decay": 0.0}, {"momentum_decay": 0.5}),
    case(
        "NAdam",
        "momentum decay edited",
        _LR,
        {},
        in_both(edit(5, "momentum_decay", 0.1), edit(12, "momentum_decay", 0.0)),
    ),
    case("NAdam", "betas edited", _DECAYED, {}, _BETAS_TWICE),
    case("NAdam", "betas edited at every step", _LR, {}, _BETAS_ALWAYS),
    case(
        "NAdam",
        "decoupled by group, and edited",
        _DECOUPLED,
        {"decoupled_weight_decay": False},
        [edit(10, "decoupled_weight_decay", False)],
    ),
    case("NAdam", "maximize edited", _DECAYED, {}, [edit(9, "maximize", True)]),
    case("NAdam", "array", {"lr": array(0.01)}),
    flagged("NAdam", *_FLAGS),
    saved("NAdam", _DECOUPLED, {"betas": [0.5, 0.9]}),
    saved("NAdam", {"lr": 0.01, "momentum_decay": 0.1}, {}, [*_BETAS_TWICE, edit(20, "lr", 0.1)]),
]

RADAM = [
    case("RAdam", "betas 0", {"betas": [0.0, 0.0]}),
    case("RAdam", "never rectified", {"lr": 0.01, "betas": [0.9, 0.6]}, {"betas": [0.9, 0.99]}),
    case("RAdam", "rho at infinity 7, 5.67", {"betas": [0.9, 0.75]}, {"betas": [0.9, 0.7]}),
    case("RAdam", "rho at infinity 2", {"betas": [0.9, 1 / 3]}, {"betas": [0.5, 0.9]}),
    case("RAdam", "eps before the correction", {"lr": 0.01, "betas": [0.9, 0.9], "eps": 0.1}),
    case("RAdam", "betas edited", _DECAYED, {}, _BETAS_TWICE),
    case("RAdam", "betas edited to 0 and back", _LR, {}, _BETAS_TO_ZERO),
    case(
        "RAdam",
        "decoupled by group, and edited",
        {**_DECOUPLED, "betas": [0.9, 0.9]},
        {"decoupled_weight_decay": False},
        [edit(10, "decoupled_weight_decay", False)],
    ),
    case("RAdam", "maximize edited", _DECAYED, {}, [edit(9, "maximize", True)]),
    case("RAdam", "array", {"lr": array(0.01)}),
    flagged("RAdam", *_FLAGS),
    saved("RAdam", {**_DECOUPLED, "betas": [0.9, 0.9]}, {"betas": [0.5, 0.99]}),
    saved("RAdam", _LR, {}, [*_BETAS_TWICE, edit(20, "lr", 0.1)]),
]

EDGES = [*ADAM, *ADAMAX, *NADAM, *RADAM]
