"""Runs that are compared with the authors' implementations: name -> transformation here."""

import jax.numpy as jnp

import functional_optim as fo


def rows_are_outputs(params):
    """Declares the weight as torch has it, `(outputs, inputs)`."""
    return {"w": fo.MuonDimensionNumbers(reduction_axis=1, output_axis=0), "b": None}


def at_rate(tx):
    """Scales a direction by a learning rate, for vectors too: their optimizer has no other rule."""
    return fo.chain(tx, fo.scale_by_learning_rate(1e-2))


SQUARES = fo.GradientTransformation(
    lambda params: (),
    lambda updates, state, params=None, *, drawn, **extra: (
        {k: jnp.square(g) for k, g in drawn.items()},
        state,
    ),
)
"""The estimate of Sophia-G: the squares of gradients on labels that a model has drawn."""

CASES = {
    "ademamix": fo.ademamix(1e-2, weight_decay=0.1),
    "ademamix-warmup": fo.ademamix(1e-2, b2=0.99, b3=0.999, b3_warmup=8, alpha_warmup=6),
    "simplified_ademamix": fo.simplified_ademamix(1e-3, alpha=2.0, weight_decay=0.1),
    "simplified_ademamix-warmup": fo.simplified_ademamix(1e-3, b1_warmup=7, min_b1=0.5),
    "adopt": fo.adopt(1e-2),
    "adopt-unclipped": fo.adopt(1e-2, b1=0.8, b2=0.99, use_clipping=False),
    "laprop": fo.laprop(1e-2, b2=0.99),
    "stable_adamw": fo.stable_adamw(1e-2, weight_decay=0.1),
    "came": fo.came(1e-3, weight_decay=0.1),
    "cautious_adamw": fo.cautious_adamw(1e-2, eps=0.0, weight_decay=0.1),
    "madgrad": fo.madgrad(1e-2, weight_decay=0.1),
    "madgrad-alone": fo.madgrad(1e-2, momentum=0.0),
    "adabound": fo.adabound(1e-2, weight_decay=0.1),
    "adabound-amsbound": fo.adabound(1e-2, gamma=0.3, amsbound=True),
    "acprop": fo.acprop(1e-2, b2=0.99, weight_decay=0.1),
    "spam": fo.spam(1e-2, threshold=2.0, grad_accu_steps=3),
    "spam-reset": fo.spam(1e-2, threshold=2.0, grad_accu_steps=2, warmup_steps=3, delta_t=4),
    "adam_mini": fo.adam_mini(1e-2),
    "adam_mini-labels": fo.adam_mini(
        1e-2, blocks={"row": (0,), "all": None}, param_labels={"w": "row", "b": "all"}
    ),
    "mars": fo.mars(3e-3, weight_decay=0.1),
    "mars-lion": fo.mars(3e-3, base="lion"),
    "mars-shampoo": fo.mars(3e-3, base="shampoo", weight_dimension_numbers=rows_are_outputs),
    "mars-all": fo.mars(3e-3, optimize_1d=True),
    "mars-exact": fo.chain(fo.scale_by_mars(approximate=False), fo.scale_by_learning_rate(3e-3)),
    "sophia": fo.sophia(
        1e-2,
        eps=1e-15,
        weight_decay=0.1,
        gamma=1e-3 * 5120,
        update_interval=3,
        hessian_diagonal_fn=SQUARES,
        bias_correction=False,
    ),
    "sgd_hd": fo.sgd_hd(1e-2, hypergrad_lr=1e-3),
    "sgd_hd-nesterov": fo.sgd_hd(1e-2, 0.9, True, hypergrad_lr=1e-3),
    "adam_hd": fo.adam_hd(1e-2, hypergrad_lr=1e-4, eps=0.0),
    "grokfast": fo.chain(fo.grokfast(alpha=0.9), fo.sgd(1e-2)),
    "grokfast_ma": fo.chain(fo.grokfast_ma(window_size=4), fo.sgd(1e-2)),
    "soap": at_rate(fo.scale_by_soap(precondition_frequency=2)),
    "soap-every-10": at_rate(fo.scale_by_soap()),
    "soap-options": at_rate(
        fo.scale_by_soap(
            0.9,
            0.98,
            precondition_frequency=3,
            shampoo_beta=0.8,
            max_precond_dim=3,
            normalize_grads=True,
            correct_bias=False,
        )
    ),
    "kl_shampoo": fo.kl_shampoo(1e-2, weight_decay=0.0, precondition_frequency=2),
    "kl_shampoo-options": fo.kl_shampoo(
        1e-2, 0.8, 0.9, weight_decay=0.0, shampoo_beta=0.7, max_clamp=None, normalize_grads=True
    ),
    "kl_soap": fo.kl_soap(1e-2, weight_decay=0.0, precondition_frequency=2),
}
