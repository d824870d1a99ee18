"""What an optimizer holds: groups of parameters with their options and states, and gradients."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.rows import is_sparse, no_rows
from .clip_grad import clip_grad_norm, clip_grad_value
from .form import Form
from .group import Group
from .groups import check_new_params, read_params, refuse_unordered
from .hooks import Hooked
from .named import read_names
from .own import own, own_like
from .param_group import ParamGroup, ParamGroups
from .programs import Programs
from .tied import Given

__all__ = ["Holder"]


class Holder(Hooked):
    """Groups of parameters, and the gradients that wait for a step.

    A subclass says how a group's options make its transformation.
    """

    def _setup(self, params: Any, defaults: Mapping[str, Any], donate: bool = True) -> None:
        """Makes groups and states; what a subclass calls once its options are known."""
        self._setup_hooks()
        self.defaults = dict(defaults)
        self.grads: PyTree | None = None
        self.step_count = 0
        self._donate = donate
        self._groups: list[Group] = []
        self._given = Given()
        self._programs: Programs | None = None
        self._forms: tuple[Form, ...] = ()
        self._layout, given = read_params(type(self).__name__, params, self.defaults)
        for group in given:
            self._append(group)

    def _append(self, given: Mapping[str, Any]) -> None:
        """Makes a group and its state; where that fails, there is none."""
        where = f"{type(self).__name__}: group {len(self._groups)}"
        given = read_names(where, given, [group.options for group in self._groups])
        self._given.check(where, given["params"], [group.params for group in self._groups])
        options = ParamGroup(where, self.defaults, {**self.defaults, **given})
        if self._donate:
            options.put_params(own(where, options["params"]))
        self._groups.append(self._make(where, options))
        self._given.add(given["params"])

    def _make(self, where: str, options: ParamGroup) -> Group:
        """A new group, with the state before the first step."""
        raise NotImplementedError

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Adds a group; `params` is from then on a list of trees, the new one last.

        Args:
          param_group: a dict with a pytree under `params`, or a list of pairs (name, tree), and
            options. It stays as it is.

        Raises:
          TypeError: not a dict with `params`.
          ValueError: an array is in another group, or some groups have names and some none.
        """
        name = f"{type(self).__name__}.add_param_group"
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(
                f"{name}: param_group must be a dict with a pytree under 'params', but got "
                f"{type(param_group).__name__}."
            )
        refuse_unordered(name, param_group["params"])
        self._append(param_group)
        if self.grads is not None:
            grads = list(self.grads) if self._layout.as_list else [self.grads]
            self.grads = [*grads, None]
        self._layout = self._layout.extended()
        self._programs = None

    @property
    def param_groups(self) -> ParamGroups:
        """The groups: dicts of parameters and options, whose options may be edited."""
        return ParamGroups(group.options for group in self._groups)

    @property
    def params(self) -> PyTree:
        """The current parameters, in the structure that was passed."""
        return self._layout.join([group.params for group in self._groups])

    @params.setter
    def params(self, params: PyTree) -> None:
        check_new_params(self.params, params)
        for group, tree in zip(self._groups, self._layout.split(params), strict=True):
            group.options.put_params(jax.tree.map(own_like, group.params, tree))

    def copy_params(self) -> PyTree:
        """A copy of the current parameters, which later steps leave alone."""
        return jax.tree.map(jnp.copy, self.params)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the accumulated gradients, or makes them zero."""
        if set_to_none or self.grads is None:
            self.grads = None
        else:
            self.grads = jax.tree.map(_zeros, self.grads, is_leaf=is_sparse)

    def clip_grad_norm_(
        self, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
    ) -> jax.Array:
        """Scales the accumulated gradients down to a norm of `max_norm`; see `clip_grad_norm`.

        Returns:
          Their norm before `()`; 0 where there are none.
        """
        self.grads, norm = clip_grad_norm(self.grads, max_norm, norm_type, error_if_nonfinite)
        return norm

    def clip_grad_value_(self, clip_value: float) -> None:
        """Clips every element of the accumulated gradients to [-clip_value, clip_value]."""
        self.grads = clip_grad_value(self.grads, clip_value)

    def __getstate__(self) -> dict[str, Any]:
        # Programs are compiled again, or found. A shallow copy shares the groups that there are.
        return {**self.__dict__, "_programs": None, "_forms": (), "_groups": list(self._groups)}

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self._groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.options.options.items())]
        return "\n".join([*lines, ")"])


def _zeros(g: Any) -> Any:
    return no_rows(g) if is_sparse(g) else jnp.zeros_like(g)
