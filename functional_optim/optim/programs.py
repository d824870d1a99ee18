"""The compiled programs of the stateful interface; optimizers of one structure share them."""

import collections
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.apply_gradients import step
from ..core.protocol import PyTree
from ..core.rows import dense, is_sparse
from ..core.trees import align, is_absent, leaf_paths
from .form import Form
from .groups import Layout
from .ledger import Arrays
from .weak import Get, WeakPrograms

__all__ = ["Programs", "accumulate"]

Updates = tuple[Callable[..., Any], ...]
"""The `update` of each group."""


class Programs:
    """The programs of optimizers of one structure, each compiled when it is first called.

    All take `params` and `states`, lists with the tree and the state's arrays of each group.
    """

    def __init__(
        self,
        updates: Updates,
        forms: tuple[Form, ...],
        layout: Layout,
        donate: bool,
    ):
        self._updates, self._forms = updates, forms
        self._layout = layout
        self._donated = (0, 1) if donate else ()
        self.backward = WeakPrograms(self._make_backward)
        self.minimize = WeakPrograms(self._make_minimize)

    @classmethod
    @functools.lru_cache(maxsize=256)
    def of(cls, *structure: Any) -> "Programs":
        """The programs of a structure, of which there is one object."""
        return cls(*structure)

    @functools.cached_property
    def step(self) -> Callable[..., Any]:
        """`(params, states, grads) -> (params, states)`; grads as the user gives them."""

        def optimizer_step(params: Any, states: Any, grads: Any) -> Any:
            whole = self._layout.join(params)
            grads = _spread(_ordered(grads, whole), whole)
            return self._step(params, states, self._layout.split(grads), None)

        return jax.jit(optimizer_step, donate_argnums=self._donated)

    def _make_backward(self, get: Get, has_aux: bool) -> Callable[..., Any]:
        """`(params, args, kwargs) -> (value, grads)`, grads structured as the user's."""
        value_and_grad = self._value_and_grad(get, has_aux)

        def optimizer_backward(params: Any, args: Any, kwargs: Any) -> Any:
            value, grads = value_and_grad(params, args, kwargs)
            return value, self._layout.join(grads)

        return jax.jit(optimizer_backward)

    def _make_minimize(self, get: Get, has_aux: bool) -> Callable[..., Any]:
        """`(params, states, args, kwargs) -> (params, states, value)`: one dispatch for a step."""
        value_and_grad = self._value_and_grad(get, has_aux)

        def optimizer_minimize(params: Any, states: Any, args: Any, kwargs: Any) -> Any:
            def loss_of(params: list[PyTree]) -> Any:
                result = get()(self._layout.join(params), *args, **kwargs)
                return result[0] if has_aux else result

            value, grads = value_and_grad(params, args, kwargs)
            objective = value[0] if has_aux else value, loss_of
            return (*self._step(params, states, grads, objective), value)

        return jax.jit(optimizer_minimize, donate_argnums=self._donated)

    def _value_and_grad(self, get: Get, has_aux: bool) -> Callable[..., Any]:
        def loss(params: list[PyTree], args: Any, kwargs: Any) -> Any:
            return get()(self._layout.join(params), *args, **kwargs)

        return jax.value_and_grad(loss, has_aux=has_aux)

    def _step(
        self,
        params: list[PyTree],
        states: list[Arrays],
        grads: list[PyTree],
        objective: tuple[Any, Callable[[list[PyTree]], Any]] | None,
    ) -> tuple[list[PyTree], list[Arrays]]:
        """One update of all groups; those that search are given the loss, and what it is here."""
        new_params, new_states = [], []
        groups = zip(self._updates, self._forms, params, states, grads, strict=True)
        for i, (update, form, p, arrays, g) in enumerate(groups):
            extra = {} if objective is None else _extra(i, params, g, *objective)
            # jax.grad gives the conjugate of the direction of steepest ascent, torch's .grad.
            g = jax.tree.map(_conjugate, _lined_up(i, p, g))
            try:
                p, state = step(update, g, form.state(arrays), p, extra)
            except Exception as error:
                error.add_note(f"In the group {i} of the optimizer.")
                raise
            structure = jax.tree.structure(state)
            if structure != form.taken:
                raise ValueError(
                    f"optimizer: the state of group {i} has after update another structure than "
                    f"after init: {structure} instead of {form.taken}. An update must keep it."
                )
            new_params.append(p)
            new_states.append(form.arrays(state))
        return new_params, new_states


def _extra(
    index: int,
    params: list[PyTree],
    grad: PyTree,
    value: Any,
    loss_of: Callable[[list[PyTree]], Any],
) -> dict[str, Any]:
    """What a search for one group asks for; the others' parameters are constants to it."""

    def value_fn(own: PyTree) -> Any:
        return loss_of([*params[:index], own, *params[index + 1 :]])

    return {"value": value, "grad": grad, "value_fn": value_fn}


def _lined_up(index: int, params: PyTree, grads: PyTree) -> PyTree:
    """The gradients of a group, checked against its parameters."""
    link = f"optimizer: group {index}"
    found = align(params, grads, link=link, name="the gradient")
    for path, g, p in zip(leaf_paths(params), found, jax.tree.leaves(params), strict=True):
        if not is_absent(g) and jnp.shape(g) != jnp.shape(p):
            raise ValueError(
                f"{link}: the gradient at '{path}' has shape {jnp.shape(g)}, and the parameter "
                f"{jnp.shape(p)}. Pass the gradient with respect to these parameters."
            )
    return jax.tree.unflatten(jax.tree.structure(params), found)


def _ordered(grads: PyTree, params: PyTree) -> PyTree:
    """The gradients with a plain dict in the order of named parameters, also those of groups."""
    if type(grads) in (list, tuple) and isinstance(params, list) and len(grads) == len(params):
        return type(grads)(map(_ordered, grads, params))
    if type(grads) is dict and isinstance(params, collections.OrderedDict):
        names = [k for k in params if k in grads] + [k for k in grads if k not in params]
        return collections.OrderedDict((k, grads[k]) for k in names)
    return grads


def _spread(grads: PyTree, params: PyTree) -> PyTree:
    """The gradients with a None that stands for a whole subtree put at each of its leaves."""

    def spread(g: Any, p: PyTree) -> PyTree:
        return jax.tree.map(lambda _: None, p) if g is None else g

    try:
        return jax.tree.map(spread, grads, params, is_leaf=lambda x: x is None or is_sparse(x))
    except ValueError:  # of another structure; what says where follows
        return grads


def _conjugate(g: Any) -> Any:
    return jnp.conj(g) if jnp.iscomplexobj(g) else g


@jax.jit
def accumulate(total: PyTree, grads: PyTree) -> PyTree:
    """Adds gradients; where one of them is None, the other stands."""
    return jax.tree.map(_sum, total, grads, is_leaf=lambda x: x is None or is_sparse(x))


def _sum(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return dense(a) + dense(b)
