"""Adadelta."""

import numpy as np

from .common import Tree, in_order, leafwise
from .links import scale


@leafwise
def scale_by_adadelta(rho=0.9, eps=1e-6):
    """Follows Zeiler, Algorithm 1, without its sign."""
    e_g = e_x = 0.0

    def step(g, p):
        nonlocal e_g, e_x
        e_g = rho * e_g + (1 - rho) * g**2
        x = np.sqrt(e_x + eps) / np.sqrt(e_g + eps) * g
        e_x = rho * e_x + (1 - rho) * x**2
        return x

    return step


def adadelta(learning_rate=1.0, weight_decay=0.0, weight_decay_mask=None, **options):
    rule = leafwise(
        lambda: in_order(scale_by_adadelta.leaf(**options), scale.leaf(-learning_rate))
    )()

    def step(grads: Tree, params: Tree) -> Tree:
        where = weight_decay_mask(params) if weight_decay_mask else dict.fromkeys(params, True)
        decay = {k: weight_decay * p * where[k] for k, p in params.items()}
        return rule({k: g + decay[k] for k, g in grads.items()}, params)

    return step
