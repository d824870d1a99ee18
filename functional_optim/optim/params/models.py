"""Refuses models of other libraries, and says where their parameters are."""

from collections.abc import Mapping

import jax

from ...core.protocol import PyTree

__all__ = ["check_not_model"]

_STATISTICS = ("BatchStat", "Cache", "Intermediate", "Perturbation")
"""Types of `flax.nnx.Variable` that are not parameters."""

_COLLECTIONS = ("batch_stats", "cache", "intermediates", "perturbations")
"""Collections of Flax linen that are not parameters."""


def check_not_model(owner: str, params: PyTree) -> None:
    """Raises TypeError for models without arrays, and for Flax's statistics among parameters."""
    if hasattr(params, "named_parameters"):
        raise TypeError(
            f"{owner}: parameters must be arrays, got a module of torch, {type(params).__name__}. "
            "Pass {name: p.detach().numpy() for name, p in model.named_parameters()}, or bring it "
            "to a model of JAX by functional_optim.interop.torch.import_model."
        )
    if _is_from(type(params), "flax.linen"):
        raise TypeError(
            f"{owner}: parameters must be arrays, got a module of Flax, {type(params).__name__}, "
            "which has none. Pass variables['params'], where variables = model.init(key, inputs)."
        )
    if isinstance(params, Mapping) and "params" in params:
        others = [k for k in _COLLECTIONS if k in params]
        if others:
            raise TypeError(
                f"{owner}: the tree contains Flax's {', '.join(others)} next to its params, and "
                "weight decay and moments would change them. Pass variables['params'], and pass "
                "the others to the loss as an argument."
            )
    statistics = {type(x).__name__ for x in jax.tree.leaves(params, is_leaf=_is_statistic)}
    kinds = sorted(statistics & {*_STATISTICS})
    if kinds:
        raise TypeError(
            f"{owner}: the tree contains variables of the kind {', '.join(kinds)} next to "
            "parameters. Pass nnx.state(model, nnx.Param)."
        )


def _is_statistic(x: object) -> bool:
    return type(x).__name__ in _STATISTICS and _is_from(type(x), "flax.nnx")


def _is_from(kind: type, module: str) -> bool:
    return any(c.__module__.startswith(module) for c in kind.__mro__)
