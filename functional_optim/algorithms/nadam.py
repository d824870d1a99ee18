"""NAdam, and NAdamW: Adam with Nesterov momentum."""

from ..transforms.recipe import optimizer
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam

__all__ = ["nadam", "nadamw"]


@optimizer(scale_by_adam, defaults={"nesterov": True})
def nadam() -> None:
    """NAdam: `scale_by_adam` with nesterov, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p. The other arguments and the maths are those of
    `scale_by_adam`.

    Differences: the momentum is constant, as in optax. With `momentum_decay=0.004` it grows
    from b1 / 2 to b1, by the schedule of Dozat's paper: torch's NAdam, with its default.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.nadam(0.1, b1=0.5)
      >>> updates, _ = tx.update({"w": 4.0}, tx.init({"w": 0.0}))
      >>> round(float(updates["w"]), 6)
      -0.133333

    Reference: Dozat, Incorporating Nesterov Momentum into Adam, ICLR 2016 workshop,
    Algorithm 2.
    """


@optimizer(scale_by_adam, add_decayed_weights, defaults={"nesterov": True, "weight_decay": 1e-4})
def nadamw() -> None:
    """NAdamW: `nadam` with decoupled weight decay.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adam` with nesterov

    `weight_decay` `()` has the unit of u per unit of p, that is 1 / p.

    Args:
      mask: where to decay: tree of booleans or function of the parameters, see `masked`.

    Differences: as for `nadam`; torch's NAdam decays so with `decoupled_weight_decay`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.nadamw(0.1, weight_decay=0.5)
      >>> params = {"w": 4.0}
      >>> fo.apply_updates(params, tx.update({"w": 0.0}, tx.init(params), params)[0])
      {'w': Array(3.8, dtype=float32)}

    Reference: Dozat, Incorporating Nesterov Momentum into Adam, ICLR 2016 workshop,
    Algorithm 2. Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019,
    arXiv:1711.05101.
    """
