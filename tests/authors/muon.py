"""Muon and its variants: name of a run -> transformation; nothing is rounded to bfloat16."""

from typing import Any

import functional_optim as fo


def rows_are_outputs(params: Any) -> dict[str, Any]:
    """Declares the weight as torch has it, `(outputs, inputs)`, and perhaps a vector."""
    return {k: fo.MatrixAxes(inputs=1, outputs=0) if k == "w" else None for k in params}


AXES = {"muon_weight_dimension_numbers": rows_are_outputs}
ADAM = {"adam_b2": 0.95, "adam_eps": 1e-10}


def preset(name: str, learning_rate: float, **changes: Any) -> fo.GradientTransformation:
    """Makes Muon with the arguments of a preset, and some changes."""
    return fo.muon(learning_rate, **fo.muon_preset(name) | {"ns_dtype": None} | AXES | changes)


CASES = {
    "keller_jordan": preset("keller_jordan", 0.02),
    "keller_jordan-decay": preset(
        "keller_jordan",
        0.05,
        beta=0.9,
        weight_decay=0.1,
        adam_learning_rate=0.01,
        adam_weight_decay=0.1,
    ),
    "moonlight": preset("moonlight", 1e-3, adam_eps=0.0),
    "moonlight-plain": preset(
        "moonlight", 0.01, beta=0.8, eps=0.2 * 1e-7, weight_decay=0.0, nesterov=False
    ),
    "torch": preset("torch", 1e-3),
    "torch-rms": preset("torch", 0.01, consistent_rms=0.2, nesterov=False, ns_steps=7),
    "dion": preset("dion", 0.01),
    "dion-quintic": preset("dion", 0.05, ns_coeffs="quintic", nesterov=True, scale="match_rms"),
    "normuon": fo.normuon(0.02, axes=rows_are_outputs, adam_learning_rate=3e-4, **ADAM),
    "normuon-decay": fo.normuon(
        0.05,
        beta=0.9,
        beta2=0.8,
        weight_decay=0.1,
        axes=rows_are_outputs,
        adam_learning_rate=0.01,
        **ADAM,
    ),
    "normuon-dion": fo.normuon(
        0.01,
        "polar_express",
        eps=1e-8,
        weight_decay=0.01,
        axes=rows_are_outputs,
        nesterov=False,
        ns_eps=0.05 * 1e-8,
        scale="unit_rms",
        adam_b2=0.95,
        adam_weight_decay=0.01,
    ),
    "adamuon": fo.adamuon(0.02, axes=rows_are_outputs),
    "adamuon-plain": fo.adamuon(
        0.01, beta=0.8, beta2=0.8, weight_decay=0.0, axes=rows_are_outputs, nesterov=False
    ),
}
