"""Edges of sparse gradients: SparseAdam, and SGD and Adagrad with them."""

from typing import Any

from ..cases import Case, case, edit, in_both, saved


def _rows(*arguments: Any) -> Case:
    return case(*arguments) | {"problem": "rows"}


_SUM = {"lr": 0.1, "initial_accumulator_value": 0.1, "lr_decay": 0.1}

EDGES = [
    case("SparseAdam", "betas 0", {"betas": [0.0, 0.0]}),
    case("SparseAdam", "eps is not corrected", {"lr": 0.01, "eps": 0.5}, {"eps": 1e-10}),
    case("SparseAdam", "maximize by group", {"maximize": True}, {"maximize": False}),
    case(
        "SparseAdam",
        "betas and lr edited",
        {"lr": 0.01},
        {"betas": [0.5, 0.5]},
        in_both(edit(4, "betas", [0.5, 0.9]), edit(9, "lr", 0.1), edit(12, "maximize", True)),
    ),
    saved("SparseAdam", {"lr": 0.01}, {"betas": [0.5, 0.9]}),
    saved("SparseAdam", {"lr": 0.01}, {}, [edit(6, "betas", [0.5, 0.9]), edit(20, "lr", 0.1)]),
    _rows("SGD", "sparse: dampening", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    _rows("SGD", "sparse: nesterov", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    _rows("SGD", "sparse: momentum on late", {"lr": 0.1}, {}, in_both(edit(6, "momentum", 0.9))),
    _rows("Adagrad", "sparse: initial value and decay", _SUM, {"lr": 0.5}),
    _rows("Adagrad", "sparse: maximize edited", _SUM, {}, [edit(9, "maximize", True)]),
    _rows("SGD", "sparse: weight decay", {"weight_decay": 0.1}),
    _rows("Adagrad", "sparse: weight decay", {"weight_decay": 0.1}),
]
