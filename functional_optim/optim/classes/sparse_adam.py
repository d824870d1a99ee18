"""torch.optim.SparseAdam."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...algorithms.sparse_adam import scale_by_sparse_adam
from ...core.chain import chain
from ...core.protocol import GradientTransformation, PyTree
from ...core.rows import is_sparse
from ...core.state import State
from ...core.trees import leaf_paths
from ...transforms.scaling import scale_by_learning_rate
from ..torch_class import torch_class
from ..torch_state import Kept
from .common import pair, signed

__all__ = ["SparseAdam"]


@dataclasses.dataclass(frozen=True)
class _OnlySparseInit:
    """Refuses the parameters that torch's SparseAdam refuses."""

    name = "only_sparse"

    def __call__(self, params: PyTree) -> State:
        leaves = jax.tree.leaves(params, is_leaf=is_sparse)
        for path, p in zip(leaf_paths(params), leaves, strict=True):
            if jnp.iscomplexobj(p):
                raise ValueError(
                    f"SparseAdam does not support complex parameters, and that at '{path}' is. "
                    "Pass real ones, or use sparse_adam of the functional interface."
                )
        return State()


def _only_sparse_update(
    updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
) -> tuple[PyTree, State]:
    """Refuses dense gradients; what is dense and meant to be is better off with Adam."""
    del params, extra
    leaves = jax.tree.leaves(updates, is_leaf=is_sparse)
    for path, g in zip(leaf_paths(updates), leaves, strict=True):
        if not is_sparse(g):
            raise RuntimeError(
                f"SparseAdam does not support dense gradients, and that at '{path}' is. Pass what "
                "row_sparse makes, or use Adam for this parameter."
            )
    return updates, state


def _check_positive(options: Mapping[str, Any]) -> None:
    for name in ("lr", "eps"):
        value = options[name]
        if not callable(value) and not value > 0:
            raise ValueError(f"SparseAdam: {name} must be in (0, inf), got {value}.")


@torch_class(
    kept={
        "step": Kept("scale_by_sparse_adam", "steps", plain=True),
        "exp_avg": Kept("scale_by_sparse_adam", "m"),
        "exp_avg_sq": Kept("scale_by_sparse_adam", "v"),
    },
    check=_check_positive,
)
def SparseAdam(
    lr: Any = 1e-3,
    betas: tuple[Any, Any] = (0.9, 0.999),
    eps: Any = 1e-8,
    maximize: bool = False,
) -> GradientTransformation:
    """torch.optim.SparseAdam: `scale_by_sparse_adam`, then a step of minus `lr`.

    Gradients are sparse, one `row_sparse` for each parameter; a dense one is an error, as in
    torch. The functional `sparse_adam` takes both.

    Example:
      >>> import jax.numpy as jnp
      >>> import functional_optim as fo
      >>> from functional_optim import optim
      >>> opt = optim.SparseAdam({"table": jnp.zeros((3, 1))}, lr=0.5)
      >>> opt.step({"table": fo.row_sparse(jnp.array([[-7.0]]), jnp.array([2]), (3, 1))})
      >>> opt.params["table"].round(4).tolist()
      [[0.0], [0.0], [0.5]]
    """
    return chain(
        GradientTransformation(_OnlySparseInit(), _only_sparse_update),
        signed(maximize),
        scale_by_sparse_adam(*pair(betas), eps=eps),
        scale_by_learning_rate(lr),
    )
