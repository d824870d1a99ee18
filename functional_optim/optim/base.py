"""Groups of parameters with their options and states, and the gradients of the next step."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.protocol import Hyperparameter, PyTree
from ..core.trees.sparse_rows import empty_rows
from ..core.trees.structure import is_sparse
from ..core.types import Params, Updates
from .clip_grad import clip_grad_norm, clip_grad_value
from .hooks import WithHooks
from .params.copies import copy_like, copy_params
from .params.duplicates import SeenArrays
from .params.layout import check_new_params, check_ordered, read_params
from .params.named_params import read_names
from .params.param_group import ParamGroup, ParamGroups
from .step.optimizer_group import OptimizerGroup
from .step.programs import OptimizerPrograms
from .step.state_layout import StateLayout

__all__ = ["OptimizerBase"]


class OptimizerBase(WithHooks):
    """Keeps groups of parameters, and accumulated gradients.

    A subclass defines `_make_group`, which makes a group's transformation from its options.
    """

    defaults: dict[str, Hyperparameter]
    grads: Updates | None
    step_count: int

    def _init_groups(
        self, params: Params, defaults: Mapping[str, object], donate: bool = True
    ) -> None:
        """Makes the groups and their states; a subclass calls it once its options are known."""
        self._init_hooks()
        self.defaults = dict(defaults)
        self.grads = None
        self.step_count = 0
        self._donate = donate
        self._groups: list[OptimizerGroup] = []
        self._seen_arrays = SeenArrays()
        self._programs: OptimizerPrograms | None = None
        self._state_layouts: tuple[StateLayout, ...] = ()
        self._param_layout, groups = read_params(type(self).__name__, params, self.defaults)
        for group in groups:
            self._append_group(group)

    def _append_group(self, group: Mapping[str, PyTree]) -> None:
        """Makes a group and its state; an error leaves the optimizer unchanged."""
        where = f"{type(self).__name__}: group {len(self._groups)}"
        group = read_names(where, group, [other.options for other in self._groups])
        # Check before the arrays are copied, because a copy has another identity.
        self._seen_arrays.check(where, group["params"], [other.params for other in self._groups])
        options = ParamGroup(where, self.defaults, {**self.defaults, **group})
        # The first step overwrites the arrays, and the caller may still use theirs.
        if self._donate:
            options.put_params(copy_params(where, options["params"]))
        self._groups.append(self._make_group(where, options))
        self._seen_arrays.add(group["params"])

    def _make_group(self, where: str, options: ParamGroup) -> OptimizerGroup:
        """Makes a group with the state before its first step."""
        raise NotImplementedError

    def add_param_group(self, param_group: Mapping[str, PyTree]) -> None:
        """Adds a group; `params` is a list of trees from then on, with the new tree last.

        Args:
          param_group: a dict with a pytree under `params`, or a list of pairs (name, tree), and
            options. The dict itself is not changed.

        Raises:
          TypeError: not a dict with `params`.
          ValueError: an array is in another group, or only some groups have names.
        """
        name = f"{type(self).__name__}.add_param_group"
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(
                f"{name}: param_group must be a dict with a pytree under 'params', but got "
                f"{type(param_group).__name__}."
            )
        check_ordered(name, param_group["params"])
        self._append_group(param_group)
        if self.grads is not None:
            grads = list(self.grads) if self._param_layout.as_list else [self.grads]
            self.grads = [*grads, None]
        self._param_layout = self._param_layout.extended()
        self._programs = None

    @property
    def param_groups(self) -> ParamGroups:
        """The groups: dicts of parameters and options, whose options may be edited."""
        return ParamGroups(group.options for group in self._groups)

    @property
    def params(self) -> Params:
        """The current parameters, in the structure that was passed."""
        return self._param_layout.join([group.params for group in self._groups])

    @params.setter
    def params(self, params: Params) -> None:
        check_new_params(self.params, params)
        for group, tree in zip(self._groups, self._param_layout.split(params), strict=True):
            group.options.put_params(jax.tree.map(copy_like, group.params, tree))

    def copy_params(self) -> Params:
        """Returns a copy of the current parameters, which later steps do not overwrite."""
        return jax.tree.map(jnp.copy, self.params)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the accumulated gradients, or sets them to zero."""
        if set_to_none or self.grads is None:
            self.grads = None
        else:
            self.grads = jax.tree.map(_zeros_like, self.grads, is_leaf=is_sparse)

    def clip_grad_norm_(
        self, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
    ) -> jax.Array:
        """Scales the accumulated gradients down to a norm of `max_norm`; see `clip_grad_norm`.

        Returns:
          The norm `()` before clipping; 0 without gradients.
        """
        self.grads, norm = clip_grad_norm(self.grads, max_norm, norm_type, error_if_nonfinite)
        return norm

    def clip_grad_value_(self, clip_value: float) -> None:
        """Clips every element of the accumulated gradients to [-clip_value, clip_value]."""
        self.grads = clip_grad_value(self.grads, clip_value)

    def __getstate__(self) -> dict[str, object]:
        # Programs do not pickle; they are compiled again, or found in jit's cache. A shallow copy
        # shares the existing groups, but not those that are added to either later.
        return {
            **self.__dict__,
            "_programs": None,
            "_state_layouts": (),
            "_groups": list(self._groups),
        }

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self._groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.options.options.items())]
        return "\n".join([*lines, ")"])


def _zeros_like(g: PyTree) -> PyTree:
    return empty_rows(g) if is_sparse(g) else jnp.zeros_like(g)
