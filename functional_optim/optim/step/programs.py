"""The compiled programs of the stateful interface, shared by optimizers of one structure."""

import collections
import functools
from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp

from ...core.apply_gradients import step
from ...core.functions import dependencies_of
from ...core.protocol import PyTree, TransformUpdateFn
from ...core.trees.sparse_rows import dense
from ...core.trees.structure import align, is_absent, is_sparse, leaf_paths
from ..params.layout import ParamLayout
from .closures import check_loss, warn_of_constant
from .compile_cache import CompileCache, GetFunction
from .scalar_packing import Arrays
from .state_layout import StateLayout

__all__ = ["MissingGradientError", "OptimizerPrograms", "SharedPrograms", "accumulate"]

Updates = tuple[TransformUpdateFn, ...]
"""The `update` of each group."""

Objective = tuple[jax.Array, Callable[[list[PyTree]], jax.Array]]
"""The loss `()`, and the loss as a function of the parameters of all groups."""

_SEQUENCES = (list, tuple)


class MissingGradientError(Exception):
    """Some group has a parameter without a gradient, and one count for all parameters.

    It is raised while a step is traced, so that the check costs the compiled step nothing.
    """


class SharedPrograms:
    """The programs of optimizers of one structure, each compiled when it is first called.

    All take `params` and `states`: lists with the tree of parameters, and the arrays of the state,
    of each group.
    """

    def __init__(
        self,
        updates: Updates,
        state_layouts: tuple[StateLayout, ...],
        param_layout: ParamLayout,
        donate: bool,
        frozen: tuple[bool, ...],
        counts_leaves: tuple[bool, ...],
    ):
        self._updates, self._state_layouts, self._frozen = updates, state_layouts, frozen
        self._param_layout, self._counts_leaves = param_layout, counts_leaves
        self._donated = (0, 1) if donate else ()
        self.backward = CompileCache(self._make_backward)
        self.minimize = CompileCache(self._make_minimize)

    @classmethod
    @functools.lru_cache(maxsize=256)
    def of(cls, *structure: Hashable) -> "SharedPrograms":
        """Returns the programs for a structure, which are made once."""
        return cls(*structure)  # type: ignore[arg-type]

    @functools.cached_property
    def step(self) -> Callable[..., PyTree]:
        """The program `(params, states, grads) -> (params, states)`, grads structured as passed."""

        def optimizer_step(
            params: list[PyTree], states: list[Arrays], grads: PyTree
        ) -> tuple[list[PyTree], list[Arrays]]:
            tree = self._param_layout.join(params)
            grads = _broadcast_none(_in_order(grads, tree), tree)
            return self._step(params, states, self._param_layout.split(grads), None)

        return jax.jit(optimizer_step, donate_argnums=self._donated)

    def _make_backward(
        self, get_function: GetFunction, has_aux: bool, seen: Hashable = None
    ) -> Callable[..., PyTree]:
        """Makes `(params, args, kwargs) -> (value, grads)`, grads as `optimizer.params`."""
        del seen  # only part of the key under which the program is cached
        value_and_grad = self._value_and_grad("backward", get_function, has_aux)

        def optimizer_backward(params: list[PyTree], args: PyTree, kwargs: PyTree) -> PyTree:
            value, grads = value_and_grad(params, args, kwargs)
            return value, self._param_layout.join(grads)

        return jax.jit(optimizer_backward)

    def _make_minimize(
        self, get_function: GetFunction, has_aux: bool, seen: Hashable = None
    ) -> Callable[..., PyTree]:
        """Makes `(params, states, args, kwargs) -> (params, states, value)`."""
        del seen  # only part of the key under which the program is cached
        value_and_grad = self._value_and_grad("minimize", get_function, has_aux)

        def optimizer_minimize(
            params: list[PyTree], states: list[Arrays], args: PyTree, kwargs: PyTree
        ) -> PyTree:
            def loss_of(params: list[PyTree]) -> jax.Array:
                result = get_function()(self._param_layout.join(params), *args, **kwargs)
                return result[0] if has_aux else result

            value, grads = value_and_grad(params, args, kwargs)
            objective = value[0] if has_aux else value, loss_of
            return (*self._step(params, states, grads, objective), value)

        return jax.jit(optimizer_minimize, donate_argnums=self._donated)

    def _value_and_grad(
        self, method: str, get_function: GetFunction, has_aux: bool
    ) -> Callable[..., PyTree]:
        where = f"optimizer: {method}"

        def value_and_grad(params: list[PyTree], args: PyTree, kwargs: PyTree) -> PyTree:
            def loss(trained: list[PyTree]) -> PyTree:
                tree = self._param_layout.join(self._with_frozen(params, trained))
                result = get_function()(tree, *args, **kwargs)
                check_loss(where, result, has_aux)
                warn_of_constant(where, result[0] if has_aux else result, trained)
                return result

            # Only the trained groups are differentiated, so that frozen ones cost no backward pass.
            trained = [p for p, frozen in zip(params, self._frozen, strict=True) if not frozen]
            value, grads = jax.value_and_grad(loss, has_aux=has_aux)(trained)
            none = [jax.tree.map(lambda _: None, p) for p in params]
            return value, self._with_frozen(none, grads)

        return value_and_grad

    def _with_frozen(self, groups: list[PyTree], trained: list[PyTree]) -> list[PyTree]:
        """Returns the trees of all groups: frozen ones from `groups`, the others from `trained`."""
        remaining = iter(trained)
        pairs = zip(groups, self._frozen, strict=True)
        return [group if frozen else next(remaining) for group, frozen in pairs]

    def _step(
        self,
        params: list[PyTree],
        states: list[Arrays],
        grads: list[PyTree],
        objective: Objective | None,
    ) -> tuple[list[PyTree], list[Arrays]]:
        """Updates all groups; `objective` is passed to the transformations that search."""
        aligned = [
            _align_gradients(i, p, g) for i, (p, g) in enumerate(zip(params, grads, strict=True))
        ]
        # Check all groups before any is updated: the caller then adds counts, and calls again.
        for leaves, frozen, counts in zip(aligned, self._frozen, self._counts_leaves, strict=True):
            if not frozen and not counts and any(map(is_absent, leaves)):
                raise MissingGradientError
        new_params, new_states = [], []
        groups = zip(self._updates, self._state_layouts, params, states, aligned, strict=True)
        for i, (update, layout, p, arrays, leaves) in enumerate(groups):
            if self._frozen[i]:
                new_params.append(p)
                new_states.append(arrays)
                continue
            extra = {} if objective is None else _extra_arguments(i, params, grads[i], *objective)
            # jax.grad gives the conjugate of the direction of steepest ascent, torch's .grad.
            g = jax.tree.map(_conjugate, jax.tree.unflatten(jax.tree.structure(p), leaves))
            try:
                p, state = step(update, g, layout.unpack(arrays), p, extra)
            except Exception as error:
                error.add_note(f"In the group {i} of the optimizer.")
                raise
            # Another structure would not fit the layout, and would compile again at each step.
            structure = jax.tree.structure(state)
            if structure != layout.stored_treedef:
                raise ValueError(
                    f"optimizer: after update, the state of group {i} has another structure than "
                    f"after init: {structure} instead of {layout.stored_treedef}. An update must "
                    "keep the structure."
                )
            new_params.append(p)
            new_states.append(layout.pack(state))
        return new_params, new_states


class OptimizerPrograms:
    """The programs of one optimizer.

    It shares the program of a loss function with other optimizers only if the variables that the
    function captures have the same values as when the program was compiled.
    """

    def __init__(self, shared: SharedPrograms):
        self.step = shared.step
        self.backward = _cached_by_captures(shared.backward)
        self.minimize = _cached_by_captures(shared.minimize)


def _cached_by_captures(shared: CompileCache) -> CompileCache:
    def find(get_function: GetFunction, has_aux: bool) -> Callable[..., PyTree]:
        seen = dependencies_of(get_function())
        # The captured variables cannot be compared, so the program is not shared.
        if seen is None:
            return shared.make(get_function, has_aux)
        return shared(get_function(), has_aux, seen)

    return CompileCache(find, warns=False)


def _extra_arguments(
    index: int,
    params: list[PyTree],
    grad: PyTree,
    value: jax.Array,
    loss_of: Callable[[list[PyTree]], jax.Array],
) -> dict[str, PyTree]:
    """Returns the extra arguments for one group; the other groups' parameters are constants."""

    def value_fn(group_params: PyTree) -> jax.Array:
        return loss_of([*params[:index], group_params, *params[index + 1 :]])

    return {"value": value, "grad": grad, "value_fn": value_fn}


def _align_gradients(index: int, params: PyTree, grads: PyTree) -> list[PyTree]:
    """Returns the gradient of each parameter of a group, with its shape checked."""
    link = f"optimizer: group {index}"
    leaves = align(params, grads, link=link, name="the gradient")
    for path, g, p in zip(leaf_paths(params), leaves, jax.tree.leaves(params), strict=True):
        if not is_absent(g) and jnp.shape(g) != jnp.shape(p):
            raise ValueError(
                f"{link}: the gradient at '{path}' has shape {jnp.shape(g)}, and the parameter "
                f"{jnp.shape(p)}. Pass the gradient with respect to these parameters."
            )
    return leaves


def _in_order(grads: PyTree, params: PyTree) -> PyTree:
    """Returns gradients in the containers of the parameters.

    A tuple may take the place of a list, because torch.autograd.grad returns one; a plain dict is
    sorted in the order of named parameters.
    """
    if type(grads) in _SEQUENCES and type(params) in _SEQUENCES and len(grads) == len(params):
        return type(params)(map(_in_order, grads, params))
    if type(grads) is dict and type(params) in (dict, collections.OrderedDict):
        names = [k for k in params if k in grads] + [k for k in grads if k not in params]
        return type(params)((k, _in_order(grads[k], params.get(k))) for k in names)
    return grads


def _broadcast_none(grads: PyTree, params: PyTree) -> PyTree:
    """Replaces a None in the place of a subtree by a None at each of its leaves."""

    def broadcast(g: PyTree, p: PyTree) -> PyTree:
        return jax.tree.map(lambda _: None, p) if g is None else g

    try:
        return jax.tree.map(broadcast, grads, params, is_leaf=lambda x: x is None or is_sparse(x))
    except ValueError:  # another structure: `align` raises the error with the path
        return grads


def _conjugate(g: PyTree) -> PyTree:
    return jnp.conj(g) if jnp.iscomplexobj(g) else g


@jax.jit
def accumulate(total: PyTree, grads: PyTree) -> PyTree:
    """Adds two trees of gradients; None counts as zero."""
    return jax.tree.map(_sum, total, grads, is_leaf=lambda x: x is None or is_sparse(x))


def _sum(a: PyTree, b: PyTree) -> PyTree:
    if a is None or b is None:
        return b if a is None else a
    return dense(a) + dense(b)
