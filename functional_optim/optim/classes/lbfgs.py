"""torch.optim.LBFGS."""

from collections.abc import Mapping

import numpy as np

from ...algorithms.lbfgs_search import search_by_lbfgs
from ...core.chain import chain
from ...core.protocol import GradientTransformation, Hyperparameter
from ...core.types import Params, ScalarOrSchedule
from ..search_optimizer import SearchOptimizer
from ..torch_options import Options

__all__ = ["LBFGS"]


class LBFGS(SearchOptimizer):
    """torch.optim.LBFGS: several iterations of L-BFGS in a step, with or without line search.

    A step evaluates the loss and goes through at most `max_iter` iterations. With x all
    parameters as one vector, g the gradient, and H the inverse Hessian that the
    last `history_size` pairs of steps and changes of g approximate:

        d = -H g
        x <- x + t d

    where t is `lr` (in the very first iteration lr min(1, 1 / sum|g|)). With
    `line_search_fn="strong_wolfe"`, a search begins at this t, and finds a t with
    f(x + t d) <= f(x) + 1e-4 t g.d and |f'(t)| <= 0.9 |g.d|. A pair (s, y) is kept if
    s.y > 1e-10, so that H is positive definite.

    A step ends after `max_iter` iterations or `max_eval` evaluations (default: 5/4 of
    max_iter), or where max|g| <= tolerance_grad, max|t d| <= tolerance_change,
    |change of the loss| < tolerance_change, or g.d > -tolerance_change. With `maximize`, all of
    this applies to the negative loss; `step` returns the loss itself.

    The step is one jitted loop; see `step` for what is compiled when, and
    `functional_optim.minimize` for a function that iterates to convergence. The state holds
    2 history_size + 2 times the parameters from the start; an edit of history_size drops the
    pairs.

    Args:
      lr: t, or the first t of a search.
      max_iter: the largest number of iterations in a step.
      max_eval: the largest number of evaluations in a step; None for 5/4 of max_iter.
      tolerance_grad: a step ends if no element of g is larger.
      tolerance_change: a step ends if no element of x changes by more, or the loss by less.
      history_size: number of pairs that are kept.
      line_search_fn: `"strong_wolfe"`, or None for no search.
      See `Adam` for the others.

    Differences: torch allocates pairs as they come, and ends in an exception or NaN where the
    loss becomes NaN; here a search treats such a point like a high loss, and the iterations
    end.

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

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: ScalarOrSchedule = 1e-7,
        tolerance_change: ScalarOrSchedule = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
        *,
        maximize: bool = False,
    ) -> None:
        self._initialize(params, locals())

    def _init_groups(
        self, params: Params, defaults: Mapping[str, Hyperparameter], donate: bool = True
    ) -> None:
        # As in torch, the default of max_eval becomes an option like any other.
        max_eval = _max_evaluations(defaults["max_iter"], defaults["max_eval"])
        super()._init_groups(params, {**defaults, "max_eval": max_eval}, donate)

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Makes the search of `LBFGS`."""
        return chain(
            search_by_lbfgs(
                options["lr"],
                options["max_iter"],
                _max_evaluations(options["max_iter"], options["max_eval"]),
                options["tolerance_grad"],
                options["tolerance_change"],
                options["history_size"],
                options["line_search_fn"],
                options["maximize"],
            )
        )


def _max_evaluations(max_iter: int, max_eval: int | None) -> int:
    if not isinstance(max_iter, (int, np.integer)):
        raise TypeError(
            f"max_iter must be an integer, got {max_iter!r}. It shapes the program, so it "
            "cannot follow a schedule."
        )
    return max_iter * 5 // 4 if max_eval is None else max_eval
