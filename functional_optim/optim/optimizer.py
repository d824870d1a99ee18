"""The stateful optimizer: torch.optim's interface over any pair of pure functions."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.hyperparams import get_hyperparams, set_hyperparams
from ..core.link import check_pair
from ..core.protocol import GradientTransformation, PyTree
from . import programs
from .groups import ParamGroup, check_new_params, read_params
from .named_state import load_named_state, named_state

__all__ = ["Optimizer"]


class Optimizer:
    """Holds parameters and the state of a transformation, and updates them in place.

    Each group of parameters has a state of its own; all groups are updated by one jitted
    step. The arrays that you pass in stay valid; those of `params` do not outlive a step,
    which gives their memory to the new ones: to keep a copy, take
    `jax.tree.map(jnp.copy, opt.params)`.

    Args:
      params: a pytree of arrays; or a list of dicts, each with a pytree under `params` and
        options of that group; or `path_groups(tree, rules)`.
      tx: any pair `(init, update)`: of this package, of optax, or your own. The options of a
        group are the names of `get_hyperparams` (for a schedule, of its numbers).

    Attributes:
      params: the current parameters, in the structure that was passed: a tree for a tree, a
        list of the groups' trees for a list of groups. May be assigned.
      grads: the gradients that `backward` has accumulated, structured like params, or None.
        They are what `jax.grad` gives, also for complex parameters.
      param_groups: list of dicts; `param_groups[0]["lr"] = 1e-4` takes effect at the next
        step and compiles nothing.
      defaults: options of a group that names none.
      step_count: number of steps that were made.

    Example:
      >>> import functional_optim as fo
      >>> from functional_optim import optim
      >>> def loss_fn(params, x, y):
      ...     return jnp.mean((x @ params["w"] - y) ** 2)
      >>> x, y = jnp.eye(2), jnp.array([1.0, -1.0])
      >>> opt = optim.Optimizer({"w": jnp.zeros(2)}, fo.sgd(0.5))
      >>> for _ in range(30):
      ...     loss = opt.minimize(loss_fn, x, y)
      >>> opt.params["w"].round(2).tolist()
      [1.0, -1.0]
    """

    def __init__(self, params: Any, tx: GradientTransformation):
        check_pair(f"{type(self).__name__}: tx", tx)
        self._tx = tx
        names = get_hyperparams(tx.init({}))
        scheduled = {k for k in names if any(n.startswith(f"{k}.") for n in names)}
        self._setup(params, {k: _number(v) for k, v in names.items() if k not in scheduled})

    def _setup(self, params: Any, defaults: Mapping[str, Any], donate: bool = True) -> None:
        """Makes groups and states; what a subclass calls once its options are known."""
        self.defaults = dict(defaults)
        self.param_groups: list[ParamGroup] = []
        self.grads: PyTree | None = None
        self.step_count = 0
        self._donate = donate
        self._states: list[PyTree] = []
        self._updates: tuple[Callable[..., Any], ...] = ()
        self._layout, groups = read_params(params)
        for group in groups:
            self._append(group)

    # How a group's options reach its transformation. A subclass that makes the
    # transformation out of the options overrides these two.

    def _make(self, index: int, group: ParamGroup) -> tuple[Callable[..., Any], PyTree]:
        """The update and the state of a new group."""
        return self._tx.update, self._renumber(self._tx.init(group["params"]), group)

    def _refresh(self, index: int, group: ParamGroup) -> tuple[Callable[..., Any], PyTree]:
        """The update and the state of a group whose options were edited."""
        return self._tx.update, self._renumber(self._states[index], group)

    def _renumber(self, state: PyTree, group: ParamGroup) -> PyTree:
        values = {k: v for k, v in group.options.items() if k in self.defaults}
        return set_hyperparams(state, values) if values else state

    def _append(self, given: Mapping[str, Any]) -> None:
        group = ParamGroup({**self.defaults, **given})
        params = group["params"]
        group.put_params(jax.tree.map(_own, params) if self._donate else params)
        for key in given:
            self._check_option(key)
        update, state = self._make(len(self.param_groups), group)
        group.edited = False
        self.param_groups.append(group)
        self._states.append(state)
        self._updates = (*self._updates, update)

    def _check_option(self, key: str) -> None:
        """Refuses what looks like a misspelt option; other keys are the user's, and kept."""
        close = difflib.get_close_matches(key, self.defaults, n=1, cutoff=0.8)
        if key not in ("params", *self.defaults) and close:
            raise ValueError(
                f"{type(self).__name__}: group {len(self.param_groups)} has the unknown option "
                f"{key!r}. Did you mean {close[0]!r}?"
            )

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Adds a group; `params` is from then on a list of trees, the new one last.

        Args:
          param_group: a dict with a pytree under `params`, and options.

        Raises:
          TypeError: not a dict with `params`.
        """
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(
                f"{type(self).__name__}.add_param_group: param_group must be a dict with a pytree "
                f"under 'params', got {type(param_group).__name__}."
            )
        self._append(param_group)
        if self.grads is not None:
            grads = list(self.grads) if self._layout.as_list else [self.grads]
            none = jax.tree.map(lambda _: None, self.param_groups[-1]["params"])
            self.grads = [*grads, none]
        self._layout = self._layout.extended()

    @property
    def params(self) -> PyTree:
        """The current parameters, in the structure that was passed."""
        return self._layout.join([group["params"] for group in self.param_groups])

    @params.setter
    def params(self, params: PyTree) -> None:
        check_new_params(self.params, params)
        for group, tree in zip(self.param_groups, self._layout.split(params), strict=True):
            old = group["params"]
            group.put_params(jax.tree.map(lambda a, b: _own(b).astype(a.dtype), old, tree))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the accumulated gradients, or makes them zero."""
        if set_to_none or self.grads is None:
            self.grads = None
        else:
            self.grads = jax.tree.map(jnp.zeros_like, self.grads)

    def backward(
        self, loss_fn: Callable[..., Any], *args: Any, has_aux: bool = False, **kwargs: Any
    ) -> Any:
        """Adds the gradient of `loss_fn(params, *args, **kwargs)` at `params` to `grads`.

        `loss_fn` is compiled once for each function object and shape of arguments: define it
        outside the loop, and pass what changes as arguments.

        Args:
          loss_fn: pure function that returns a scalar, or `(scalar, aux)` with has_aux.

        Returns:
          The loss `()`, or `(loss, aux)`.
        """
        program = programs.backward_program(loss_fn, self._layout, has_aux)
        value, groups = program([g["params"] for g in self.param_groups], args, kwargs)
        grads = self._layout.join(groups)
        self.grads = grads if self.grads is None else programs.accumulate(self.grads, grads)
        return value

    def step(self, grads: Any = None, *, closure: Callable[..., Any] | None = None) -> Any:
        """Updates parameters and state once.

        Args:
          grads: gradients structured like `params`, None where there is none; or a closure.
            Without either, `grads` of this optimizer; where those are None, nothing moves.
          closure: pure function `closure(params) -> loss`, differentiated here. It is not
            jitted, for it may read what changes between calls; jit what it calls.

        Returns:
          The loss of the closure, or None.
        """
        loss = None
        if callable(grads) or closure is not None:
            loss, grads = jax.value_and_grad(closure or grads)(self.params)
            self.grads = grads
        grads = self.grads if grads is None else grads
        if grads is not None:
            params, states = self._current()
            program = programs.step_program(self._updates, self._donate)
            self._take(*program(params, states, self._layout.split(grads)))
        return loss

    def minimize(
        self, loss_fn: Callable[..., Any], *args: Any, has_aux: bool = False, **kwargs: Any
    ) -> Any:
        """Makes one step on `loss_fn(params, *args, **kwargs)`: the fast path.

        Forward, backward and update are one jitted call, compiled once for each function
        object and shape of arguments. `grads` is left alone.

        Returns:
          The loss `()` before the step, or `(loss, aux)` with has_aux.
        """
        params, states = self._current()
        program = programs.minimize_program(
            loss_fn, self._layout, has_aux, self._updates, self._donate
        )
        value, params, states = program(params, states, args, kwargs)
        self._take(params, states)
        return value

    def _current(self) -> tuple[list[PyTree], list[PyTree]]:
        """Parameters and states of the groups, with the edits of their options."""
        for i, group in enumerate(self.param_groups):
            if group.edited:
                update, self._states[i] = self._refresh(i, group)
                group.edited = False
                if update is not self._updates[i]:
                    self._updates = (*self._updates[:i], update, *self._updates[i + 1 :])
        return [group["params"] for group in self.param_groups], self._states

    def _take(self, params: list[PyTree], states: list[PyTree]) -> None:
        """Takes over what a step made."""
        for group, p in zip(self.param_groups, params, strict=True):
            group.put_params(p)
        self._states = states
        self.step_count += 1

    @property
    def state(self) -> list[PyTree]:
        """The state of each group, as its transformation keeps it; for reading."""
        return self._current()[1]

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data: NumPy arrays under the paths of the state, and the options."""
        groups = [group.options for group in self.param_groups]
        return {"state": named_state(self.state), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave; parameters are not part of it.

        Raises:
          ValueError: paths or shapes differ; the message lists them.
        """
        name = type(self).__name__
        groups = state_dict["param_groups"]
        if len(groups) != len(self.param_groups):
            raise ValueError(
                f"{name}.load_state_dict: the loaded state has {len(groups)} parameter groups, "
                f"and this optimizer {len(self.param_groups)}."
            )
        states = load_named_state(name, self.state, state_dict["state"])
        for group, options in zip(self.param_groups, groups, strict=True):
            group.update(options)
            group.edited = False
        self._states = states

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.options.items())]
        return "\n".join([*lines, ")"])


def _own(x: Any) -> jax.Array:
    """A copy that a step may overwrite."""
    return jnp.array(x, copy=True)


def _number(x: jax.Array) -> float:
    """The shortest decimal that this precision reads as x: 0.001, not 0.0010000000474974513."""
    return float(str(np.asarray(x)))
