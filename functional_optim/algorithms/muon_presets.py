"""Arguments of `muon` that reproduce published implementations."""

from typing import Any

import jax.numpy as jnp

from ..core.rules.schedule import check_choice

__all__ = ["muon_preset"]

_PRESETS: dict[str, dict[str, Any]] = {
    # KellerJordan/Muon, muon.py, MuonWithAuxAdam.
    "keller_jordan": {
        "ns_dtype": jnp.bfloat16,
        "adam_b2": 0.95,
        "adam_eps": 1e-10,
        "adam_learning_rate": 3e-4,
    },
    # MoonshotAI/Moonlight, examples/toy_train.py. Its momentum is a sum, 1 / (1 - beta) times the
    # mean, and eps is added to the norm of that.
    "moonlight": {
        "eps": 0.05 * 1e-7,
        "weight_decay": 0.1,
        "ns_dtype": jnp.bfloat16,
        "scale": "match_rms",
        "adam_b2": 0.95,
        "adam_weight_decay": 0.1,
    },
    # torch/optim/_muon.py.
    "torch": {"weight_decay": 0.1, "ns_dtype": jnp.bfloat16, "eps_as_floor": True},
    # optax/contrib/_muon.py.
    "optax": {"eps": 1e-8, "bias_correction": True, "adam_nesterov": True},
    # microsoft/dion, dion/muon.py. Its momentum is a sum, too.
    "dion": {
        "ns_coeffs": "polar_express",
        "eps": 0.05 * 1e-8,
        "weight_decay": 0.01,
        "nesterov": False,
        "ns_dtype": jnp.bfloat16,
        "scale": "unit_rms",
        "adam_b2": 0.95,
        "adam_weight_decay": 0.01,
    },
}


def muon_preset(name: str) -> dict[str, Any]:
    """Returns the arguments with which `muon` reproduces a published implementation.

    They are the arguments that differ from the defaults of `muon`, except the learning rate:

        name              learning rate   what differs
        "keller_jordan"   0.02            bfloat16; Adam has b2 0.95, eps 1e-10 and 3e-4 as its rate
        "moonlight"       1e-3            bfloat16, scale "match_rms", weight decay 0.1 for all
        "torch"           1e-3            bfloat16, weight decay 0.1, eps as the least norm
        "optax"           none            bias correction, and Adam with nesterov
        "dion"            0.01            bfloat16, Polar Express, scale "unit_rms", no nesterov

    Args:
      name: one of the names above.

    Differences: in torch, `torch.optim.Muon` has no Adam for other parameters, and matrices are
    `(outputs, inputs)`: the layout is not part of a preset. In Moonlight and Dion, the momentum is
    a sum. Their eps is multiplied by 0.05 here, for a beta of 0.95. Moonlight's eps for Adam is
    added to the root without bias correction. optax treats every parameter with two axes as a
    matrix.

    Raises:
      ValueError: the name is unknown.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.muon(1e-3, **fo.muon_preset("moonlight") | {"weight_decay": 0.05})
      >>> fo.muon_preset("optax")
      {'eps': 1e-08, 'bias_correction': True, 'adam_nesterov': True}

    Reference: github.com/KellerJordan/Muon, github.com/MoonshotAI/Moonlight,
    github.com/microsoft/dion, torch.optim.Muon, optax.contrib.muon.
    """
    return dict(_PRESETS[check_choice(name, "muon_preset: name", tuple(_PRESETS))])
