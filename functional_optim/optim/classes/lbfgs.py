"""torch.optim.LBFGS."""

from typing import Any

import numpy as np

from ...algorithms.lbfgs_search import search_by_lbfgs
from ...core.chain import chain
from ...core.protocol import GradientTransformation
from ..search_optimizer import SearchOptimizer
from ..torch_class import torch_class

__all__ = ["LBFGS"]


class _FilledIn(SearchOptimizer):
    """Makes the default of `max_eval` an option as any other, as torch does."""

    def _setup(self, params: Any, defaults: Any, donate: bool = True) -> None:
        max_eval = _evaluations(defaults["max_iter"], defaults["max_eval"])
        super()._setup(params, {**defaults, "max_eval": max_eval}, donate)


def _evaluations(max_iter: int, max_eval: int | None) -> int:
    if not isinstance(max_iter, (int, np.integer)):
        raise TypeError(
            f"max_iter must be an integer, got {max_iter!r}. It shapes the program, and follows "
            "no schedule."
        )
    return max_iter * 5 // 4 if max_eval is None else max_eval


@torch_class(kept={}, base=_FilledIn)
def LBFGS(
    lr: Any = 1,
    max_iter: int = 20,
    max_eval: int | None = None,
    tolerance_grad: Any = 1e-7,
    tolerance_change: Any = 1e-9,
    history_size: int = 100,
    line_search_fn: str | None = None,
) -> GradientTransformation:
    """torch.optim.LBFGS: several iterations of L-BFGS in a step, with or without line search.

    A step evaluates the loss and goes through at most `max_iter` iterations. With x all
    parameters as one vector, g the gradient, and H the inverse Hessian that the last
    `history_size` pairs of steps and changes of g stand for:

        d = -H g
        x <- x + t d

    where t is `lr` (in the first iteration of all, lr min(1, 1 / sum|g|)), or with
    `line_search_fn="strong_wolfe"` a step with f(x + t d) <= f(x) + 1e-4 t g.d and
    |f'(t)| <= 0.9 |g.d|, for which the search begins there. A pair (s, y) is kept where
    s.y > 1e-10, and so H is positive definite.

    A step ends after `max_iter` iterations or `max_eval` evaluations (default: 5/4 of
    max_iter), or where max|g| <= tolerance_grad, max|t d| <= tolerance_change,
    |change of the loss| < tolerance_change, or g.d > -tolerance_change.

    The step is one jitted loop; see `step` for what is compiled when, and
    `functional_optim.minimize` for a function that does the same to the end. The state holds
    2 history_size + 2 times the parameters, from the start on; with another history_size, its
    pairs are gathered anew.

    Differences: torch makes room for pairs as they come, and ends in an exception or NaN where
    the loss becomes NaN; here a search turns back from such a point as from a high one, and
    iterations end.

    Raises:
      ValueError: more than one group, line_search_fn neither None nor "strong_wolfe", or a
        number out of its range.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> def closure(params):
      ...     x, y = params["x"], params["y"]
      ...     return (1 - x) ** 2 + 100 * (y - x**2) ** 2
      >>> opt = optim.LBFGS({"x": -1.2, "y": 1.0}, max_iter=60, line_search_fn="strong_wolfe")
      >>> loss = opt.step(closure)
      >>> round(float(loss), 3), round(float(opt.params["x"]), 3)
      (24.2, 1.0)

    Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithms 7.4 and 7.5.
    """
    return chain(
        search_by_lbfgs(
            lr,
            max_iter,
            _evaluations(max_iter, max_eval),
            tolerance_grad,
            tolerance_change,
            history_size,
            line_search_fn,
        )
    )
