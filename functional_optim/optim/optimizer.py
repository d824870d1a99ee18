"""The stateful optimizer: torch.optim's interface over any pair of pure functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.bounds import bounds_of
from ..core.hyperparams import get_hyperparams, set_hyperparams
from ..core.link import check_pair
from ..core.numbers import as_number
from ..core.protocol import GradientTransformation, PyTree
from ..serialization.writing import to_state_dict
from .form import Form
from .group import Group, Place
from .groups import read_params
from .held import Held
from .holder import Holder
from .hook_calls import with_load_hooks, with_state_dict_hooks, with_step_hooks
from .loss import differentiate, is_closure
from .named import read_names
from .named_state import COUNT, load_named_state, read_state_dict
from .own import each_once
from .param_group import ParamGroup
from .programs import Programs, accumulate
from .run import refuse_traced, run

__all__ = ["Optimizer"]


class Optimizer(Holder):
    """Holds parameters and the state of a transformation, and updates them in place.

    Each group of parameters has a state of its own; all groups are updated by one jitted
    step. The arrays that you pass in stay valid; those of `params` do not outlive a step,
    which gives their memory to the new ones: to keep a copy, take `copy_params()`.

    Args:
      params: a pytree of arrays, of which one array is the smallest; or a list of dicts, each
        with a pytree under `params` and options of that group; or `path_groups(tree, rules)`.
        A pytree may be given as a list of pairs (name, tree), as torch's named_parameters, and
        is an ordered dict then. One array at two places of a group becomes two, with a warning;
        in two groups it is an error.
      tx: any pair `(init, update)` of pure functions: of this package, of optax, or your own.
        The options of a group are the names of `get_hyperparams` (for a schedule, of its
        numbers).

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
        name = type(self).__name__
        check_pair(f"{name}: tx", tx)
        self._tx = tx
        _, groups = read_params(name, params, ())
        first = read_names(name, groups[0], [])["params"]
        names = get_hyperparams(tx.init(first))
        self._bounds = bounds_of(tx, list(names))
        scheduled = {k for k in names if any(n.startswith(f"{k}.") for n in names)}
        self._setup(params, {k: _number(v) for k, v in names.items() if k not in scheduled})

    # How a group's options reach its transformation. A subclass that makes the
    # transformation out of the options overrides these two.

    def _make(self, where: str, options: ParamGroup) -> Group:
        """A new group, with the state before the first step."""
        treedef: Any
        leaves, treedef = jax.tree.flatten(self._tx.init(options["params"]))
        leaves = each_once(leaves)
        group = Group(options, self._tx, Held(leaves, treedef))
        numbers = get_hyperparams(treedef.unflatten(range(len(leaves))))
        group.places = {
            k: (Place(None, int(i), self._bounds.get(k)),)
            for k, i in numbers.items()
            if k in self.defaults and not jnp.shape(leaves[int(i)])
        }
        self._refresh(where, group, options.keys())
        return group

    def _refresh(self, where: str, group: Group, edited: Any) -> None:
        """Brings state and transformation of a group to its edited options."""
        options = {k: v for k, v in group.options.options.items() if k in edited}
        values = {
            k: v if np.ndim(v) else as_number(v, f"{where}: {k}", self._bounds.get(k))
            for k, v in options.items()
            if k in self.defaults
        }
        if values:
            group.state = set_hyperparams(group.state, values)

    def backward(
        self, loss_fn: Callable[..., Any], *args: Any, has_aux: bool = False, **kwargs: Any
    ) -> Any:
        """Adds the gradient of `loss_fn`; all that changes between calls must be an argument.

        The gradient of `loss_fn(params, *args, **kwargs)` at `params` is added to `grads`.
        `loss_fn` is compiled once for each function object and shape of arguments, and what
        it reads from elsewhere is a constant of that program. The loss of a discriminator
        reads the generator's parameters from its arguments:

            def loss_fn(d, g, x): ...
            discriminator.backward(loss_fn, generator.params, x)

        Args:
          loss_fn: pure function that returns a scalar, or `(scalar, aux)` with has_aux; made
            outside the loop.

        Returns:
          The loss `()`, or `(loss, aux)`.
        """
        program = self._compiled().backward(loss_fn, has_aux)
        params = [group.params for group in self._groups]
        value, grads = program(params, args, kwargs)
        if self._donate:
            refuse_traced(f"{type(self).__name__}.backward", params, grads)
        self.grads = grads if self.grads is None else accumulate(self.grads, grads)
        return value

    @with_step_hooks
    def step(self, grads: Any = None, *, closure: Callable[..., Any] | None = None) -> Any:
        """Updates parameters and state once.

        Args:
          grads: gradients structured like `params`, None where there is none, also for a whole
            subtree or group; or a closure. Without either, `grads` of this optimizer; where
            those are None, nothing moves.
          closure: pure function `closure(params) -> loss`, differentiated here. It is not
            jitted, for it may read what changes between calls; jit what it calls.

        Returns:
          The loss of the closure, or None.

        Raises:
          TypeError: grads and a closure are given, or the closure does not take the parameters.
        """
        loss, name = None, f"{type(self).__name__}.step"
        if is_closure(grads):
            grads, closure = None, closure or grads
        if closure is not None:
            if grads is not None:
                raise TypeError(f"{name}: got gradients and a closure. Pass one of them.")
            loss, grads = differentiate(name, closure, self.params)
            self.grads = grads
        grads = self.grads if grads is None else grads
        if grads is not None:
            self._advance(name, self._compiled().step, grads)
        return loss

    @with_step_hooks
    def minimize(
        self, loss_fn: Callable[..., Any], *args: Any, has_aux: bool = False, **kwargs: Any
    ) -> Any:
        """Makes one step on `loss_fn`; all that changes between calls must be an argument.

        The loss is `loss_fn(params, *args, **kwargs)`. This is the fast path: forward,
        backward and update are one jitted call, compiled once for each function object and
        shape of arguments, and what loss_fn reads from elsewhere is a constant of it (see
        `backward`). `grads` is left alone.

        Returns:
          The loss `()` before the step, or `(loss, aux)` with has_aux.
        """
        program = self._compiled().minimize(loss_fn, has_aux)
        return self._advance(f"{type(self).__name__}.minimize", program, args, kwargs)

    def _compiled(self) -> Programs:
        """The programs for the groups with their options as edited."""
        for group in self._groups:
            if group.options.edited:
                self._apply_edits(group)
        if self._programs is None:
            updates = tuple(group.tx.update for group in self._groups)
            self._forms = tuple(self._form(group) for group in self._groups)
            self._programs = Programs.of(updates, self._forms, self._layout, self._donate)
        return self._programs

    def _form(self, group: Group) -> Form:
        if not self._donate:
            return Form.as_it_is(group.held.treedef)
        return Form.of(group.tx, group.params, group.state)

    def _apply_edits(self, group: Group) -> None:
        if not group.write_numbers():
            before = group.tx.update, group.held.treedef
            index = next(i for i, other in enumerate(self._groups) if other is group)
            where = f"{type(self).__name__}: group {index}"
            self._refresh(where, group, group.options.edited)
            if before[0] is not group.tx.update or before[1] != group.held.treedef:
                self._programs = None
        group.options.edited.clear()

    def _advance(self, name: str, program: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a program that makes a step, and takes over what it made; returns the rest."""
        params = [group.params for group in self._groups]
        held = [g.held.take(own) for g, own in zip(self._groups, self._forms, strict=True)]
        if self._donate:
            refuse_traced(name, params, (held, arguments))  # before they are donated
            new, states, *rest = run(name, program, params, held, arguments)
            refuse_traced(name, params, states[0][:1] or new)  # all are, or none
        else:
            new, states, *rest = program(params, held, *arguments)
        for group, p, s in zip(self._groups, new, states, strict=True):
            group.options.put_params(p)
            group.held.arrays = s
        self.step_count += 1
        return rest[0] if rest else None

    @property
    def state(self) -> Sequence[PyTree]:
        """The state of each group, as its transformation keeps it; for reading."""
        self._compiled()
        return tuple(group.state for group in self._groups)

    @with_state_dict_hooks
    def state_dict(self) -> dict[str, Any]:
        """The state as plain data: NumPy arrays under the paths of the state, and the options."""
        groups = [{**group.options.options, COUNT: self.step_count} for group in self._groups]
        return {"state": to_state_dict(self.state), "param_groups": groups}

    @with_load_hooks
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave; parameters are not part of it.

        Raises:
          TypeError: not a dict of state and param_groups.
          ValueError: paths or shapes differ; the message lists them.
        """
        name = f"{type(self).__name__}.load_state_dict"
        saved, groups = read_state_dict(name, state_dict)
        if len(groups) != len(self._groups):
            raise ValueError(
                f"{name}: the loaded state has {len(groups)} parameter groups, "
                f"and this optimizer {len(self._groups)}."
            )
        states = load_named_state(name, self.state, saved)
        for group, options, state in zip(self._groups, groups, states, strict=True):
            group.options.load({k: v for k, v in options.items() if k != COUNT})
            group.state = state
        self.step_count = max(int(options.get(COUNT, 0)) for options in groups)


def _number(x: jax.Array) -> float:
    """The shortest decimal that this precision reads as x: 0.001, not 0.0010000000474974513."""
    return float(str(np.asarray(x)))
