"""L-BFGS and line searches."""

import jax
import jax.numpy as jnp

import functional_optim as fo

from .table import Entry, ranges


def ascended(updates, params):
    """Makes a loss whose gradient the updates are, as for an optimizer."""
    return _searched(updates, params, 1.0)


def descended(updates, params):
    """Makes a loss that decreases in the direction of the updates, as a line search needs."""
    return _searched(updates, params, -1.0)


def _searched(updates, params, sign):
    def value_fn(x):
        def leaf(g, x, x0):
            if g is None:
                return 0.0
            d = (x - x0).astype(g.dtype)
            bowl = 0.5 * (jnp.square(jnp.real(d)) + jnp.square(jnp.imag(d)))
            return jnp.sum(jnp.real(sign * g * d) + bowl)

        parts = jax.tree.map(leaf, updates, x, params, is_leaf=lambda g: g is None)
        return sum(jax.tree.leaves(parts))

    grad = jax.tree.map(lambda g: sign * g, updates)
    return {"value": value_fn(params), "grad": grad, "value_fn": value_fn}


WHOLE = {"traces": "its maths is of the whole tree, and grows with it"}

SIZE = (({"memory_size": 0}, ValueError, "memory_size must be an integer from 1, got 0"),)

RULES = (
    Entry(
        fo.scale_by_lbfgs,
        {"": {}, "plain": {"memory_size": 2, "scale_init_precond": False}},
        bad=SIZE,
        leave_out=WHOLE,
    ),
    Entry(
        fo.lbfgs,
        {"": {}, "backtracking": {"linesearch": fo.scale_by_backtracking_linesearch(5)}},
        bad=SIZE + ranges(("learning_rate", -0.1, "[0, inf)")),
        extra=ascended,
        leave_out=WHOLE,
    ),
    Entry(
        fo.scale_by_backtracking_linesearch,
        {
            "": {"max_backtracking_steps": 5},
            "stored": {"max_backtracking_steps": 5, "store_grad": True, "rtol": 1e-3},
        },
        bad=ranges(("max_backtracking_steps", -1, "[0, inf)"))
        + ranges(
            ("slope_rtol", 1.0, "[0, 1)"),
            ("decrease_factor", 1.0, "(0, 1)"),
            ("increase_factor", 0.5, "[1, inf]"),
            ("max_learning_rate", 0.0, "(0, inf)"),
            ("atol", -1.0, "[0, inf)"),
            ("rtol", -1.0, "[0, inf)"),
            max_backtracking_steps=5,
        ),
        extra=descended,
        leave_out=WHOLE,
    ),
    Entry(
        fo.scale_by_zoom_linesearch,
        {
            "": {"max_linesearch_steps": 5},
            "bounded": {
                "max_linesearch_steps": 5,
                "max_learning_rate": 0.5,
                "approx_dec_rtol": None,
                "initial_guess_strategy": "one",
            },
        },
        bad=ranges(("max_linesearch_steps", 0, "[1, inf)"))
        + ranges(
            ("max_learning_rate", 0.0, "(0, inf)"),
            ("tol", -1.0, "[0, inf)"),
            ("increase_factor", 1.0, "(1, inf)"),
            ("slope_rtol", 1.0, "[0, 1)"),
            ("curv_rtol", -1.0, "[0, inf]"),
            ("approx_dec_rtol", -1.0, "[0, inf)"),
            ("stepsize_precision", -1.0, "[0, inf)"),
            max_linesearch_steps=5,
        )
        + (
            (
                {"max_linesearch_steps": 5, "initial_guess_strategy": "two"},
                ValueError,
                "initial_guess_strategy must be one of 'keep', 'one', got 'two'",
            ),
        ),
        extra=descended,
        leave_out=WHOLE,
    ),
)
