"""Edges of Adafactor and Muon."""

from ..cases import case, edit, flagged, in_both, saved

ADAFACTOR = [
    case("Adafactor", "lr above and below 1 / sqrt(t)", {"lr": 10.0}, {"lr": 0.4}),
    case("Adafactor", "beta2_decay 0", {"eps": [1e-3, 1e-1], "beta2_decay": 0.0}),
    case("Adafactor", "eps by group", {"eps": [None, 1.0]}, {"eps": [1e-2, 1e-8]}),
    case("Adafactor", "d by group", {"d": 1.0}, {"d": 5.0}),
    case("Adafactor", "weight decay", {"lr": 0.5, "weight_decay": 0.5}),
    case(
        "Adafactor",
        "all numbers edited",
        {"lr": 0.1},
        {},
        in_both(
            edit(3, "beta2_decay", -0.3),
            edit(6, "eps", [1e-4, 1e-2]),
            edit(10, "d", 2.0),
            edit(13, "lr", 0.5),
            edit(16, "eps", [None, 1e-3]),
        ),
    ),
    case("Adafactor", "maximize edited", {"weight_decay": 0.1}, {}, [edit(9, "maximize", True)]),
    case("Adafactor", "parameter without elements", {}) | {"problem": "small"},
    flagged("Adafactor", "foreach"),
    saved("Adafactor", {"lr": 0.1, "weight_decay": 0.1}, {"beta2_decay": -0.5}),
    saved("Adafactor", {"d": 2.0}, {}, [edit(6, "lr", 0.5), edit(20, "d", 1.0)]),
]

MUON = [
    case("Muon", "original rates", {"adjust_lr_fn": "original"}),
    case("Muon", "rates of AdamW", {"adjust_lr_fn": "match_rms_adamw"}),
    case("Muon", "rates of the spectral norm", {"adjust_lr_fn": "spectral_unclamped"}),
    case("Muon", "rates by group", {}, {"adjust_lr_fn": "match_rms_adamw"}),
    case("Muon", "without nesterov", {"nesterov": False}, {"nesterov": True}),
    case("Muon", "momentum 0", {"momentum": 0.0}),
    case("Muon", "no steps", {"ns_steps": 0}, {"ns_steps": 1}),
    case("Muon", "eps 1", {"eps": 1.0}),
    case(
        "Muon",
        "numbers edited",
        {"lr": 0.1},
        {},
        in_both(
            edit(4, "momentum", 0.5),
            edit(8, "weight_decay", 0.5),
            edit(10, "ns_coefficients", [2.0, -1.5, 0.5]),
            edit(12, "lr", 0.5),
            edit(14, "eps", 1e-2),
        ),
    ),
    case(
        "Muon",
        "nesterov and ns_steps edited",
        {"lr": 0.1},
        {},
        in_both(edit(6, "nesterov", False), edit(12, "ns_steps", 3)),
    ),
    saved("Muon", {"lr": 0.1}, {"momentum": 0.5}),
    saved("Muon", {"nesterov": False}, {}, [edit(6, "lr", 0.1), edit(20, "momentum", 0.5)]),
]

EDGES = [*ADAFACTOR, *MUON]
