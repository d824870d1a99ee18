"""Shampoo, as compared with Meta's: name of a run -> transformation here."""

from typing import Any

import functional_optim as fo

from .make_shampoo import RATE


def chained(weight_decay: float = 0.0, **options: Any) -> fo.GradientTransformation:
    """Makes Shampoo of all parameters, vectors too, as Meta's."""
    return fo.chain(
        fo.scale_by_shampoo(**options),
        fo.add_decayed_weights(weight_decay),
        fo.scale_by_learning_rate(RATE),
    )


ADAM = {"grafting": "adam", "graft_b2": 0.97, "graft_eps": 1e-8}

CASES = {
    "shampoo": chained(),
    "shampoo-frequency": chained(eps=1e-6, precondition_frequency=2),
    "shampoo-adam": chained(0.1, b2=0.99, eps=1e-9, **ADAM),
    "shampoo-adam-frequency": chained(0.1, b2=0.99, eps=1e-6, precondition_frequency=2, **ADAM),
    "shampoo-late": chained(
        b1=None,
        b2=0.9,
        precondition_frequency=2,
        start_preconditioning_step=5,
        use_bias_correction=False,
    ),
    "shampoo-late-adagrad": chained(
        b1=0.5, b2=0.9, start_preconditioning_step=4, grafting="adagrad"
    ),
    "shampoo-rmsprop": chained(b2=0.9, grafting="rmsprop", graft_b2=0.9),
    "shampoo-sgd": chained(grafting="sgd", start_preconditioning_step=3),
    "shampoo-exponent": chained(exponent=0.3, eps=1e-3),
    "shampoo-newton": chained(b2=0.9, root="newton", eps=1e-2, precondition_frequency=3),
    "shampoo-qr": chained(root="qr", eps=1e-2, precondition_frequency=2),
    "shampoo-pseudo": chained(eps=0.0, pseudo_inverse=True),
    "shampoo-momentum": fo.shampoo(
        RATE, b2=0.9, eps=1e-6, weight_decay=0.1, momentum=0.75, grafting="sgd"
    ),
    "shampoo-nesterov": fo.shampoo(
        RATE, b2=0.9, eps=1e-6, weight_decay=0.1, momentum=0.75, nesterov=True, grafting="sgd"
    ),
    "shampoo-blocks": fo.shampoo(
        RATE, eps=1e-6, block_size=2, precondition_frequency=2, weight_decay=0.1, **ADAM
    ),
}
