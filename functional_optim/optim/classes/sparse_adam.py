"""torch.optim.SparseAdam."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ...algorithms.sparse_adam import scale_by_sparse_adam
from ...core.chain import chain
from ...core.protocol import GradientTransformation, PyTree
from ...core.signatures import named_init
from ...core.state import State
from ...core.trees.structure import is_sparse, leaf_paths
from ...core.types import Params, ScalarOrSchedule
from ...transforms.scaling import scale_by_learning_rate
from ..state_dict.entries import StateEntry
from ..torch_optimizer import TorchOptimizer
from ..torch_options import Options
from .common import Pair, negate_if, pair

__all__ = ["SparseAdam"]


@named_init
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
    updates: PyTree, state: State, params: PyTree | None = None, **extra: object
) -> tuple[PyTree, State]:
    """Raises RuntimeError for dense gradients, which Adam handles better."""
    del params, extra
    leaves = jax.tree.leaves(updates, is_leaf=is_sparse)
    for path, g in zip(leaf_paths(updates), leaves, strict=True):
        if not is_sparse(g):
            raise RuntimeError(
                f"SparseAdam does not support dense gradients, and that at '{path}' is. Pass what "
                "row_sparse makes, or use Adam for this parameter."
            )
    return updates, state


class SparseAdam(TorchOptimizer):
    """torch.optim.SparseAdam: `scale_by_sparse_adam`, then a step of minus `lr`.

    Gradients are sparse, one `row_sparse` for each parameter; a dense one is an error, as in
    torch. The functional `sparse_adam` accepts both.

    Args:
      See `Adam`.

    Example:
      >>> import jax.numpy as jnp
      >>> import functional_optim as fo
      >>> from functional_optim import optim
      >>> opt = optim.SparseAdam({"table": jnp.zeros((3, 1))}, lr=0.5)
      >>> opt.step({"table": fo.row_sparse(jnp.array([[-7.0]]), jnp.array([2]), (3, 1))})
      >>> opt.params["table"].round(4).tolist()
      [[0.0], [0.0], [0.5]]
    """

    entries: ClassVar = {
        "step": StateEntry("scale_by_sparse_adam", "leaf_counts", is_int=True),
        "exp_avg": StateEntry("scale_by_sparse_adam", "m"),
        "exp_avg_sq": StateEntry("scale_by_sparse_adam", "v"),
    }

    def __init__(
        self,
        params: Params,
        lr: ScalarOrSchedule = 1e-3,
        betas: Pair = (0.9, 0.999),
        eps: ScalarOrSchedule = 1e-8,
        maximize: bool = False,
    ) -> None:
        self._initialize(params, locals())

    @staticmethod
    def _check_options(options: Options) -> None:
        for name in ("lr", "eps"):
            value = options[name]
            if not callable(value) and not value > 0:
                raise ValueError(f"SparseAdam: {name} must be in (0, inf), got {value}.")

    @staticmethod
    def transformation(options: Options) -> GradientTransformation:
        """Composes the links of `SparseAdam`."""
        return chain(
            GradientTransformation(_OnlySparseInit(), _only_sparse_update),
            negate_if(options["maximize"]),
            scale_by_sparse_adam(*pair(options["betas"]), eps=options["eps"]),
            scale_by_learning_rate(options["lr"]),
        )
