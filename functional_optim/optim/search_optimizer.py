"""Optimizers whose step is a search: they evaluate the loss, and keep one state for all."""

from collections.abc import Callable, Mapping
from typing import Any

from ..core.protocol import PyTree
from ..core.state import State
from .group import Group
from .hook_calls import with_step_hooks
from .lbfgs_file import read_entry, write_entry
from .loss import check_closure, is_closure
from .torch_class import TorchOptimizer
from .torch_file import SavedGroup
from .torch_state import Entry

__all__ = ["SearchOptimizer"]


class SearchOptimizer(TorchOptimizer):
    """An optimizer of one group of parameters, whose step evaluates the loss as it needs."""

    def _setup(self, params: Any, defaults: Mapping[str, Any], donate: bool = True) -> None:
        super()._setup(params, defaults, donate)
        if len(self._groups) != 1:
            self._refuse_groups()

    def _refuse_groups(self) -> None:
        name = type(self).__name__
        raise ValueError(
            f"{name} doesn't support per-parameter options (parameter groups), for it searches "
            "along one direction of all parameters. Pass one tree."
        )

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Refuses: there is one group."""
        del param_group
        self._refuse_groups()

    @with_step_hooks
    def step(self, grads: Any = None, *, closure: Callable[..., Any] | None = None) -> Any:
        """Searches once, from the current parameters.

        The search is one jitted loop, compiled once for each closure: make the closure outside
        of the training loop. What it reads from elsewhere is a constant of the program; for
        data that changes, call `minimize(loss_fn, *data)`, which compiles once for all.

        Args:
          grads: the closure, by position; gradients are of no use to a search.
          closure: pure function `closure(params) -> loss`.

        Returns:
          The loss `()` before the step.

        Raises:
          TypeError: no closure is given, or it does not take the parameters.
        """
        name = f"{type(self).__name__}.step"
        closure = grads if closure is None else closure
        if closure is None or not is_closure(closure):
            raise TypeError(
                f"{name}: a search evaluates the loss at points of its own choice, and needs a "
                f"closure(params) -> loss, got {type(closure).__name__}. Pass a function of the "
                "parameters."
            )
        check_closure(name, closure, self.params)
        program = self._compiled().minimize(closure, False)
        return self._advance(name, program, (), {})

    def _entries(self, group: Group) -> list[Entry]:
        return write_entry(group.state[0], group.params)

    def _filled(
        self,
        who: str,
        saved: SavedGroup,
        options: Mapping[str, Any],
        params: PyTree,
        fresh: State,
    ) -> State:
        del options
        (name,) = fresh._fields
        return State(**{name: read_entry(who, saved, params, fresh[0])})
