"""The stateful optimizer: torch.optim's interface over any pair of pure functions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..core.adapter import check_pair
from ..core.functions import as_function
from ..core.hyperparams import get_hyperparams, scheduled_hyperparams, set_hyperparams
from ..core.numerics.validation import as_number
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.bounds import bounds_of
from ..core.types import OptState, Params, Updates
from ..serialization.writing import to_state_dict
from ..transforms.evaluation import eval_params
from .base import OptimizerBase
from .hooks import with_load_hooks, with_state_dict_hooks, with_step_hooks
from .params.copies import deduplicate
from .params.layout import check_new_states, read_params
from .params.named_params import read_names
from .params.param_group import REQUIRES_GRAD, ParamGroup
from .state_dict.entries import COUNT, load_named_state, read_state_dict
from .step.closures import differentiate, is_closure, refuse_loss
from .step.donation import check_not_traced, explain_arguments, run_donating, run_keeping
from .step.group_state import GroupState
from .step.leaf_counts import has_leaf_counts
from .step.optimizer_group import OptimizerGroup, StatePosition
from .step.programs import MissingGradientError, OptimizerPrograms, SharedPrograms, accumulate
from .step.state_layout import StateLayout

__all__ = ["Optimizer"]


Aux = TypeVar("Aux")


class Optimizer(OptimizerBase):
    """Keeps parameters and the state of a transformation, and updates both at each step.

    Each group of parameters has its own state; one jitted step updates all groups. The arrays
    that you pass in stay valid. The arrays that you read from `params` are donated to the next
    step, which overwrites them: to keep a copy, call `copy_params()`.

    Args:
      params: a pytree of arrays (a single array is one too); or a list of dicts, each with a
        pytree under `params` and options of that group; or `path_groups(tree, rules)`. A list
        of pairs (name, tree), as torch's named_parameters, becomes an ordered dict. An array
        that occurs twice in a group becomes two, with a warning; in two groups it is an error.
      tx: any pair `(init, update)` of pure functions: of this package, of optax, or your own.
        The options of a group are the hyperparameters that `get_hyperparams` names; for a
        schedule, the numbers that define it.

    Attributes:
      params: the current parameters, in the structure that was passed: a tree for a tree, a
        list of the groups' trees for a list of groups. May be assigned.
      grads: the gradients that `backward` has accumulated, structured like params, or None.
        They follow the convention of `jax.grad`, also for complex parameters.
      param_groups: list of dicts; `param_groups[0]["lr"] = 1e-4` takes effect at the next
        step and compiles nothing. A group with `requires_grad` False is frozen: it gets no
        gradients, and neither its parameters nor its state change.
      defaults: options of a group that does not set them.
      step_count: number of steps made.

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

    def __init__(self, params: Params, tx: GradientTransformation) -> None:
        name = type(self).__name__
        check_pair(f"{name}: tx", tx)
        self._tx = GradientTransformation(tx.init, as_function(tx.update))
        _, groups = read_params(name, params, ())
        first = read_names(name, groups[0], [])["params"]
        state = self._tx.init(first)
        hyperparams = get_hyperparams(state, default={})
        scheduled = scheduled_hyperparams(state)
        self._bounds = bounds_of(self._tx, list(hyperparams))
        options = {k: _as_decimal(v) for k, v in hyperparams.items() if k not in scheduled}
        self._init_groups(params, options)

    # The next two methods define how a group's options reach its transformation. A subclass that
    # makes the transformation from the options overrides them.

    def _make_group(self, where: str, options: ParamGroup) -> OptimizerGroup:
        """Makes a group with the state before its first step."""
        leaves, treedef = jax.tree.flatten(self._tx.init(options["params"]))
        # A step donates both, and a buffer can be donated only once.
        leaves = deduplicate(leaves, options["params"])
        group = OptimizerGroup(options, self._tx, GroupState(leaves, treedef))
        # Find the scalars by reading the hyperparameters of a state whose leaves are their indices.
        leaf_indices = jax.tree.unflatten(treedef, range(len(leaves)))
        positions = get_hyperparams(leaf_indices, default={})
        group.positions = {
            k: (StatePosition(None, int(i), self._bounds.get(k)),)
            for k, i in positions.items()
            if k in self.defaults and not jnp.shape(leaves[int(i)])
        }
        self._refresh(where, group, options.keys())
        return group

    def _refresh(self, where: str, group: OptimizerGroup, edited: Iterable[str]) -> None:
        """Updates the state and the transformation of a group after some of its options changed."""
        options = {k: v for k, v in group.options.options.items() if k in edited}
        if not options.keys().isdisjoint(self.defaults):
            group.state = self._with_options(where, group.state, options)

    def _with_options(
        self, where: str, state: OptState, options: Mapping[str, Hyperparameter]
    ) -> OptState:
        """Returns a state whose hyperparameters have the values of a group's options."""
        values = {
            k: v if np.ndim(v) else as_number(v, f"{where}: {k}", self._bounds.get(k))
            for k, v in options.items()
            if k in self.defaults
        }
        return set_hyperparams(state, values)

    @overload
    def backward(
        self,
        loss_fn: Callable[..., ArrayLike],
        *args: PyTree,
        has_aux: Literal[False] = False,
        **kwargs: PyTree,
    ) -> jax.Array: ...

    @overload
    def backward(
        self,
        loss_fn: Callable[..., tuple[ArrayLike, Aux]],
        *args: PyTree,
        has_aux: Literal[True],
        **kwargs: PyTree,
    ) -> tuple[jax.Array, Aux]: ...

    def backward(
        self, loss_fn: Callable[..., PyTree], *args: PyTree, has_aux: bool = False, **kwargs: PyTree
    ) -> PyTree:
        """Adds the gradient of `loss_fn` to `grads`; pass everything that changes as an argument.

        It is the gradient of `loss_fn(params, *args, **kwargs)` with respect to `params`.
        `loss_fn` is compiled once for each function object and shape of arguments, and
        everything else that it reads is a constant of that program. So the loss of a discriminator
        takes the generator's parameters as an argument:

            def loss_fn(d, g, x): ...
            discriminator.backward(loss_fn, generator.params, x)

        Args:
          loss_fn: pure function that returns a scalar, or `(scalar, aux)` with has_aux. Make it
            outside of the training loop.

        Returns:
          The loss `()`, or `(loss, aux)`.
        """
        name = f"{type(self).__name__}.backward"
        if not callable(loss_fn):
            refuse_loss(name, loss_fn)
        program = self._compiled().backward(loss_fn, has_aux)
        params = [group.params for group in self._groups]
        try:
            value, grads = program(params, args, kwargs)
        except Exception as error:
            explain_arguments(name, (args, kwargs), error)
            raise
        if self._donate:
            check_not_traced(name, params, grads)
        self.grads = grads if self.grads is None else accumulate(self.grads, grads)
        return value

    @with_step_hooks
    def step(
        self,
        grads: Updates | Callable[[Params], ArrayLike] | None = None,
        *,
        closure: Callable[[Params], ArrayLike] | None = None,
    ) -> jax.Array | None:
        """Updates parameters and state once.

        Args:
          grads: gradients structured like `params`, or a closure. None in place of an array, a
            subtree or a group means that it has no gradient. Without gradients and closure, the
            accumulated `grads` of this optimizer are used; if these are None, nothing changes.
          closure: pure function `closure(params) -> loss`, which is differentiated. It is not
            jitted, because it may read values that change between calls; jit the functions that it
            calls.

        Returns:
          The loss of the closure, or None.

        Raises:
          TypeError: gradients and a closure are passed, or the closure does not take the
            parameters.
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
            try:
                self._advance(name, self._compiled().step, grads)
            # One count for all parameters no longer suffices: compile another program, in which
            # each parameter has a count.
            except MissingGradientError:
                self._count_leaves()
                self._advance(name, self._compiled().step, grads)
        return loss

    @overload
    def minimize(
        self,
        loss_fn: Callable[..., ArrayLike],
        *args: PyTree,
        has_aux: Literal[False] = False,
        **kwargs: PyTree,
    ) -> jax.Array: ...

    @overload
    def minimize(
        self,
        loss_fn: Callable[..., tuple[ArrayLike, Aux]],
        *args: PyTree,
        has_aux: Literal[True],
        **kwargs: PyTree,
    ) -> tuple[jax.Array, Aux]: ...

    @with_step_hooks
    def minimize(
        self, loss_fn: Callable[..., PyTree], *args: PyTree, has_aux: bool = False, **kwargs: PyTree
    ) -> PyTree:
        """Makes one step on `loss_fn`; pass everything that changes as an argument.

        The loss is `loss_fn(params, *args, **kwargs)`. This is the fast path: forward,
        backward and update are one jitted call, compiled once for each function object and
        shape of arguments. Everything that loss_fn reads apart from its arguments is a constant
        of the program (see `backward`). `grads` does not change.

        Returns:
          The loss `()` before the step, or `(loss, aux)` with has_aux.
        """
        name = f"{type(self).__name__}.minimize"
        if not callable(loss_fn):
            refuse_loss(name, loss_fn)
        program = self._compiled().minimize(loss_fn, has_aux)
        return self._advance(name, program, args, kwargs)

    def _compiled(self) -> OptimizerPrograms:
        """Applies edits of the options, and returns the programs for all groups."""
        for group in self._groups:
            if group.options.edited:
                self._apply_edits(group)
        if self._programs is None:
            self._state_layouts = tuple(map(self._state_layout, self._groups))
            layouts = zip(self._state_layouts, self._groups, strict=True)
            updates = tuple(layout.update_of(group.tx) for layout, group in layouts)
            self._programs = OptimizerPrograms(
                SharedPrograms.of(
                    updates,
                    self._state_layouts,
                    self._param_layout,
                    self._donate,
                    tuple(not group.options.get(REQUIRES_GRAD, True) for group in self._groups),
                    tuple(group.counts_leaves for group in self._groups),
                )
            )
        return self._programs

    def _count_leaves(self) -> None:
        """Gives each parameter of all groups a separate count, from this step on."""
        for group in self._groups:
            if not group.counts_leaves:
                group.count_leaves()
        self._programs = None

    def _state_layout(self, group: OptimizerGroup) -> StateLayout:
        if not self._donate:
            return StateLayout.plain(group.stored.treedef)
        return StateLayout.of(group.tx, group.params, group.state)

    def _apply_edits(self, group: OptimizerGroup) -> None:
        if REQUIRES_GRAD in group.options.edited:
            group.options.edited.discard(REQUIRES_GRAD)
            self._programs = None
        # A plain number is written into the state; any other edit may change the transformation.
        if not group.write_edits():
            update, treedef = group.tx.update, group.stored.treedef
            index = next(i for i, other in enumerate(self._groups) if other is group)
            where = f"{type(self).__name__}: group {index}"
            self._refresh(where, group, group.options.edited)
            if update is not group.tx.update or treedef != group.stored.treedef:
                self._programs = None
        group.options.edited.clear()

    def _advance(self, name: str, program: Callable[..., PyTree], *arguments: PyTree) -> PyTree:
        """Runs a program that makes a step, stores the new parameters and states, and counts it.

        Returns what the program returns after these two, such as the loss; None if nothing.
        """
        params = [group.params for group in self._groups]
        states = [
            group.stored.in_layout(layout)
            for group, layout in zip(self._groups, self._state_layouts, strict=True)
        ]
        outputs: list[PyTree] = []
        # Assigned after the arrays, so that an interrupt cannot count a step that is not stored.
        step_count, interrupt = self.step_count + 1, None
        # The program appends its result to `outputs`. From then on the old arrays are deleted,
        # because they were donated, so the new ones must be stored even if Ctrl-C interrupts.
        try:
            if self._donate:
                check_not_traced(name, params, (states, arguments))  # before they are donated
                run_donating(name, program, params, states, arguments, outputs)
            else:
                run_keeping(name, program, params, states, arguments, outputs)
        finally:
            while outputs:  # a second round only after an interrupt of the first
                new, states, *returned = outputs[0]
                try:
                    if self._donate:  # either all outputs are traced or none: check one
                        check_not_traced(name, params, states[0][:1] or new)
                    for group, p, s in zip(self._groups, new, states, strict=True):
                        group.options.put_params(p)
                        group.stored.arrays = s
                    self.step_count = step_count
                    break
                except KeyboardInterrupt as error:  # some groups are not stored: begin again
                    interrupt = error
            if interrupt is not None:
                raise interrupt
        return returned[0] if returned else None

    @property
    def state(self) -> Sequence[OptState]:
        """The state of each group, as its transformation makes it.

        May be assigned: states of the same structure, shapes and dtypes, which are copied.
        `param_groups` still decides the hyperparameters. A step donates the state, which deletes
        arrays that were read before it: copy those that you need later.
        """
        self._compiled()
        return tuple(group.state for group in self._groups)

    @state.setter
    def state(self, states: Sequence[OptState]) -> None:
        name = f"{type(self).__name__}: state"
        new = check_new_states(name, self.state, states)
        for i, (group, state) in enumerate(zip(self._groups, new, strict=True)):
            group.state = state
            self._refresh(f"{type(self).__name__}: group {i}", group, group.options.keys())
        self._programs = None

    def eval_params(self) -> Params:
        """Returns the parameters to evaluate at, structured like `params`.

        They are the point that `functional_optim.eval_params` returns, such as the averaged point
        of a schedule-free optimizer. A group whose state has no such point is evaluated at its
        parameters.
        """
        self._compiled()
        points = [eval_params(g.state, g.params, default=g.params) for g in self._groups]
        return self._param_layout.join(points)

    def reset_state(self) -> None:
        """Resets all states to their values before the first step; parameters and options stay."""
        self._compiled()
        for i, group in enumerate(self._groups):
            leaves, treedef = jax.tree.flatten(group.tx.init(group.params))
            group.state = jax.tree.unflatten(treedef, deduplicate(leaves, group.params))
            group.dormant_slots, group.loaded = {}, frozenset()
            self._refresh(f"{type(self).__name__}: group {i}", group, group.options.keys())
        self.step_count = 0
        self._programs = None

    @with_state_dict_hooks
    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain data: NumPy arrays by their paths, and the options."""
        groups = [{**group.options.options, COUNT: self.step_count} for group in self._groups]
        return {"state": to_state_dict(self.state), "param_groups": groups}

    @with_load_hooks
    def load_state_dict(self, state_dict: Mapping[str, PyTree]) -> None:
        """Restores the state and options that `state_dict` returned; it has no parameters.

        If it raises, nothing has been loaded.

        Raises:
          TypeError: `state_dict` is not a dict of state and param_groups.
          ValueError: paths or shapes differ, and the message lists them; or an option is out of
            its range.
        """
        name = f"{type(self).__name__}.load_state_dict"
        saved, groups = read_state_dict(name, state_dict)
        if len(groups) != len(self._groups):
            raise ValueError(
                f"{name}: the loaded state has {len(groups)} parameter groups, "
                f"and this optimizer {len(self._groups)}."
            )
        # Everything that can fail comes before the first assignment.
        loaded = load_named_state(name, self.state, saved)
        states = [
            self._with_options(f"{name}: group {i}", state, options)
            for i, (state, options) in enumerate(zip(loaded, groups, strict=True))
        ]
        for group, options, state in zip(self._groups, groups, states, strict=True):
            group.options.load({k: v for k, v in options.items() if k != COUNT})
            if has_leaf_counts(state) and not group.counts_leaves:
                group.count_leaves()
            group.state = state
        self._programs = None
        self.step_count = max(int(options.get(COUNT, 0)) for options in groups)


def _as_decimal(x: jax.Array) -> float:
    """Returns the shortest decimal that rounds to x: 0.001, not 0.0010000000474974513."""
    return float(str(np.asarray(x)))
