"""LAMB: Adam with updates as long as their parameters."""

from ..core.protocol import GradientTransformation
from ..transforms.recipe import optimizer
from ..transforms.trust_ratio import scale_by_trust_ratio
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam

__all__ = ["lamb"]


def _trust_ratio() -> GradientTransformation:
    return scale_by_trust_ratio()


@optimizer(
    scale_by_adam,
    add_decayed_weights,
    _trust_ratio,
    defaults={"eps": 1e-6},
    order=("b1", "b2", "eps", "eps_root", "weight_decay", "mask"),
)
def lamb() -> None:
    """LAMB: `scale_by_adam`, decoupled weight decay, `scale_by_trust_ratio`, then a step.

        p <- p - learning_rate r |p| / |r|,    r = u + weight_decay p, u from `scale_by_adam`

    with norms of whole parameters; r itself where one is 0. `learning_rate` `()` has no unit:
    it is the relative change of a parameter's norm.

    Args:
      mask: where to decay: tree of booleans or function of the parameters, see `masked`.

    Differences: the paper bounds |p| by a function, which its experiments leave out.

    Example:
      >>> import jax.numpy as jnp
      >>> import functional_optim as fo
      >>> tx, params = fo.lamb(0.1), {"w": jnp.array([3.0, 4.0])}
      >>> updates, _ = tx.update({"w": jnp.array([1.0, 1.0])}, tx.init(params), params)
      >>> print(jnp.linalg.norm(updates["w"]).round(4))
      0.5

    Reference: You et al., Large batch optimization for deep learning: training BERT in 76
    minutes, ICLR 2020, Algorithm 2, arXiv:1904.00962.
    """
