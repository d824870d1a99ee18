"""Optimizers whose step is a search, which evaluates the loss at several points."""

from collections.abc import Callable, Mapping
from typing import NoReturn

import jax
from jax.typing import ArrayLike

from ..core.protocol import PyTree
from ..core.state import State
from ..core.types import Params, Updates
from .hooks import with_step_hooks
from .state_dict.entries import ParamState
from .state_dict.lbfgs import read_lbfgs_state, write_lbfgs_states
from .state_dict.match import SavedGroup
from .step.closures import check_closure
from .step.optimizer_group import OptimizerGroup
from .torch_optimizer import TorchOptimizer

__all__ = ["SearchOptimizer"]


class SearchOptimizer(TorchOptimizer):
    """An optimizer of one group of parameters, whose step evaluates the loss as often as needed."""

    def _init_groups(
        self, params: Params, defaults: Mapping[str, object], donate: bool = True
    ) -> None:
        super()._init_groups(params, defaults, donate)
        if len(self._groups) != 1:
            self._refuse_groups()

    def _refuse_groups(self) -> NoReturn:
        name = type(self).__name__
        raise ValueError(
            f"{name} doesn't support per-parameter options (parameter groups), because it "
            "searches along one direction of all parameters. Pass one tree."
        )

    def add_param_group(self, param_group: Mapping[str, PyTree]) -> None:
        """Raises ValueError: a search has one group."""
        del param_group
        self._refuse_groups()

    @with_step_hooks
    def step(
        self,
        grads: Updates | Callable[[Params], ArrayLike] | None = None,
        *,
        closure: Callable[[Params], ArrayLike] | None = None,
    ) -> jax.Array:
        """Searches once, from the current parameters.

        The search is one jitted loop, compiled once for each closure: make the closure outside
        of the training loop. All that it reads besides its argument is constant in the program;
        for data that changes, call `minimize(loss_fn, *data)`, which compiles once.

        Args:
          grads: the closure, as a positional argument; a search does not take gradients.
          closure: pure function `closure(params) -> loss`.

        Returns:
          The loss `()` before the step.

        Raises:
          TypeError: there is no closure, or it does not take the parameters.
        """
        name = f"{type(self).__name__}.step"
        closure = grads if closure is None else closure
        if not callable(closure):
            raise TypeError(
                f"{name}: a search evaluates the loss at points that it chooses, and needs a "
                f"closure(params) -> loss, got {type(closure).__name__}. Pass a function of the "
                "parameters."
            )
        check_closure(name, closure, self.params)
        program = self._compiled().minimize(closure, False)
        return self._advance(name, program, (), {})

    def _param_states(self, group: OptimizerGroup) -> list[ParamState]:
        return write_lbfgs_states(group.state[0], group.params)

    def _fill(self, owner: str, saved: SavedGroup, params: Params, fresh: State) -> State:
        (name,) = fresh._fields
        return State(**{name: read_lbfgs_state(owner, saved, params, fresh[0])})
