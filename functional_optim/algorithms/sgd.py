"""Stochastic gradient descent, with momentum."""

from ..core.rule import renamed
from ..transforms.momentum import trace
from ..transforms.recipe import optimizer

__all__ = ["sgd"]


@optimizer(renamed(trace, decay="momentum"), defaults={"momentum": None})
def sgd() -> None:
    """Gradient descent, with momentum where `momentum` is given.

    For one parameter of shape `*p`, with b its trace:

        b <- g                                 at its first update
        b <- momentum b + (1 - dampening) g    after that
        p <- p - learning_rate b               or (g + momentum b) with nesterov

    `learning_rate` `()` is in units of p per unit of g; `momentum` and `dampening` `()` have
    no unit. Without momentum no trace is kept.

    Args:
      momentum: decay of the trace; None keeps no trace.
      accumulator_dtype: dtype in which the trace is kept.

    Differences: as torch's SGD; optax has no dampening. Sutskever et al. multiply the
    gradient by the learning rate before it enters the trace, which differs where the
    learning rate changes.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.sgd(0.1, momentum=0.9)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 2.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(0.8, dtype=float32)}

    Reference: Sutskever, Martens, Dahl & Hinton, On the importance of initialization and
    momentum in deep learning, ICML 2013, equations 1 to 4.
    """
