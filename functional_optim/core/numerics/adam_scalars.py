"""Scalars of a step that Adam and its variants share: weights, and bias corrections within them."""

import jax
import jax.numpy as jnp

from .moments import bias_correction, bias_root

__all__ = ["adam_scalars", "mean_scalars"]

Array = jax.Array


def adam_scalars(
    t: Array,
    b1: Array,
    b2: Array,
    eps: Array,
    eps_root: Array | None = None,
    nesterov: bool = False,
) -> dict[str, Array]:
    """Computes the scalars of Adam's update number t, of the moments m and v.

    Both bias corrections are in the scalars; see `bias_root`:

        m / (1 - b1^t) / (sqrt(v / (1 - b2^t) + eps_root) + eps)
            = mu_weight m / (sqrt(v + scaled_eps_root) + scaled_eps)

    With `nesterov`, the scalars of the numerator are those of `mean_scalars`. `eps_root` is None
    for rules that do not have it.
    """
    root = bias_root(b2, t)
    scalars = {"mu_gain": 1 - b1, "nu_gain": 1 - b2, "scaled_eps": eps * root}
    if eps_root is not None:
        scalars["scaled_eps_root"] = eps_root * jnp.square(root)
    return scalars | mean_scalars(t, b1, root, nesterov)


def mean_scalars(t: Array, b1: Array, factor: Array, nesterov: bool) -> dict[str, Array]:
    """Computes the scalars of a numerator: `factor` times the bias-corrected mean.

        mu_weight m = factor m / (1 - b1^t)
        ahead_mean m + ahead_gain g = factor (b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t))

    The second line, Nesterov's look-ahead, is what `nesterov` selects.
    """
    if not nesterov:
        return {"mu_weight": factor * bias_correction(b1, t)}
    return {
        "ahead_mean": factor * (b1 * bias_correction(b1, t + 1)),
        "ahead_gain": factor * ((1 - b1) * bias_correction(b1, t)),
    }
