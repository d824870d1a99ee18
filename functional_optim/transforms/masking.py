"""Transformations of part of a tree: masks, partitions, frozen leaves."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Hashable, Mapping

import jax
import numpy as np

from ..core.adapter import ExtraArgsAdapter, check_order, check_pair, check_state, link_name
from ..core.caching import Interned
from ..core.composed import argument_of_call, composed
from ..core.functions import can_be_cached
from ..core.protocol import GradientTransformation, MaskedNode, PyTree, Stateless, TransformInitFn
from ..core.signatures import bind, named_init
from ..core.state import State
from ..core.trees.apply import no_update, no_updates
from ..core.trees.labels import FrozenTree, Labeller, as_labeller, is_function, resolve_labels
from ..core.trees.placeholders import AnyParams, is_any_params
from ..core.trees.placement import place_on_mesh_of
from ..core.trees.structure import align, align_params, leaf_paths
from ..core.types import MaskOrFn, OptState
from .parts import extra_of_part

__all__ = ["freeze", "maskable", "masked", "partition", "set_to_zero"]


def partition(
    transforms: Mapping[Hashable, GradientTransformation], param_labels: PyTree | Labeller
) -> GradientTransformation:
    """Routes each leaf to the transformation of its label.

    Each transformation sees the tree with `MaskedNode` in place of the others' leaves, and keeps no
    state for them. The state has one field for each label, named by it. Extra arguments that are
    trees like the parameters (`grad`), and functions of the parameters (`value_fn`), are restricted
    in the same way: to such a function, the other parameters are constants.

    Args:
      transforms: label -> transformation.
      param_labels: tree of labels shaped like the parameters (or a prefix of that), or a
        function of the parameters that returns one, such as `path_labels`. A function is
        called with the parameters by both init and update, never with the updates; if update gets
        no params, it calls the function with placeholders that have their paths and shapes.

    Raises:
      ValueError: a leaf has a label that is not in `transforms`; labels and parameters differ in
        structure; or labels are a function of dtypes or values and update is called without
        params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.partition({"fast": fo.sgd(1.0), "slow": fo.sgd(0.1)}, {"a": "fast", "b": "slow"})
      >>> params = {"a": 1.0, "b": 1.0}
      >>> tx.update({"a": 1.0, "b": 1.0}, tx.init(params), params)[0]
      {'a': Array(-1., dtype=float32), 'b': Array(-0.1, dtype=float32)}
    """
    pairs = {k: check_pair(f"partition: the transform {k!r}", tx) for k, tx in transforms.items()}
    texts = [str(k) for k in pairs]
    if len(set(texts)) < len(texts):
        raise ValueError(
            f"partition: two labels of {list(pairs)!r} have the same text, which names their "
            "fields in the state. Rename one."
        )
    labeller = as_labeller(param_labels)
    links = tuple((k, ExtraArgsAdapter.to(update)) for k, (_, update) in pairs.items())
    inits = tuple((k, init) for k, (init, _) in pairs.items())
    router = Router("partition", "param_labels", labeller, tuple(pairs))
    return GradientTransformation(PartitionInit(router, inits), PartitionUpdate.of(router, links))


@dataclasses.dataclass(frozen=True)
class Router:
    """Splits trees by the labels of the parameters."""

    link: str
    argument: str
    labeller: Labeller
    allowed: tuple[Hashable, ...]
    boolean: bool = False

    def labels(self, params: PyTree | None, updates: PyTree | None = None) -> PyTree:
        """Returns the labels of all leaves, checked; params may be None for a tree of labels."""
        if is_any_params(params):
            return params
        labels = resolve_labels(self.link, self.argument, self.labeller, params, updates)
        for i, label in enumerate(jax.tree.leaves(labels)):
            # 1 == True, but a mask of numbers is probably a mistake.
            if label not in self.allowed or (self.boolean and not isinstance(label, bool)):
                raise ValueError(
                    f"{self.link}: {self.argument} has {label!r} at '{leaf_paths(labels)[i]}'; it "
                    f"must be one of {', '.join(map(repr, self.allowed))}."
                )
        return labels

    def split(self, labels: PyTree, leaves: list[PyTree], label: Hashable) -> PyTree:
        """Returns the tree with only the leaves of one label."""
        if isinstance(labels, AnyParams):
            return AnyParams(*leaves)
        flat, treedef = jax.tree.flatten(labels)
        pairs = zip(flat, leaves, strict=True)
        return jax.tree.unflatten(treedef, [x if k == label else MaskedNode() for k, x in pairs])

    @property
    def is_cacheable(self) -> bool:
        """Whether it may be kept alive: a tree of labels may, a user's function may hold arrays."""
        return isinstance(self.labeller, FrozenTree) or can_be_cached(self.labeller)


@named_init
@dataclasses.dataclass(frozen=True)
class PartitionInit:
    """`init` of a partition."""

    router: Router
    inits: tuple[tuple[Hashable, TransformInitFn], ...]
    name = "partition"

    def __call__(self, params: PyTree) -> State:
        """Makes the state: one field for each label."""
        labels = self.router.labels(params)
        leaves = align(labels, params, link=self.name, name="params", reference_name="the labels")
        states = {str(k): init(self.router.split(labels, leaves, k)) for k, init in self.inits}
        # The state of a transformation without leaves must be on the same mesh, too.
        return place_on_mesh_of(params, State(**states))

    def __repr__(self) -> str:
        return f"partition({{{', '.join(f'{k!r}: {init!r}' for k, init in self.inits)}}})"


@dataclasses.dataclass(frozen=True)
class PartitionUpdate(Interned):
    """`update` of a partition."""

    router: Router
    links: tuple[tuple[Hashable, ExtraArgsAdapter], ...]

    @property
    def is_cacheable(self) -> bool:
        """Whether the labels and all transformations may be kept alive."""
        inner = [getattr(link.function, "is_cacheable", False) for _, link in self.links]
        return self.router.is_cacheable and all(inner)

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Routes each leaf to the transformation of its label."""
        router = self.router
        check_state(router.link, updates, state, params)
        labels = router.labels(params, updates)
        flat, treedef = jax.tree.flatten(labels)
        result = align(labels, updates, link=router.link, name="updates")
        values = None if params is None else align_params(labels, params, link=router.link)
        gradients = list(result)
        states = {}
        for label, link in self.links:
            cut = functools.partial(router.split, labels, label=label)
            inner, states[str(label)] = link(
                cut(gradients),
                state[str(label)],
                None if values is None else cut(values),
                extra_of_part(extra, treedef, values, gradients, cut),
            )
            new = align(labels, inner, link=router.link, name=f"the updates of {label!r}")
            result = [u if k == label else r for k, u, r in zip(flat, new, result, strict=True)]
        return jax.tree.unflatten(treedef, result), State(**states)


def masked(
    inner: GradientTransformation, mask: PyTree | Labeller, *, otherwise: str = "pass"
) -> GradientTransformation:
    """Applies a transformation to the leaves where the mask is True, and keeps state for them only.

    The state is the state of `inner`, so that its paths are the same with and without a mask. Extra
    arguments that are trees like the parameters, or functions of them, are restricted to these
    leaves, as in `partition`.

    Args:
      inner: transformation of the leaves where the mask is True.
      mask: tree of booleans shaped like the parameters (or a prefix of that), or a function
        of the parameters that returns one. A function is called with the parameters by both init
        and update, never with the updates; if update gets no params, it calls the function with
        placeholders that have their paths and shapes.
      otherwise: the updates of the other leaves: `"pass"` returns them unchanged, as in optax;
        `"zero"` makes them zero, so that the parameters do not move.

    Raises:
      ValueError: mask and parameters differ in structure, an entry is not a boolean, or the
        mask is a function of dtypes or values and update is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.masked(fo.scale(-1.0), {"a": True, "b": False})
      >>> params = {"a": 1.0, "b": 1.0}
      >>> tx.update({"a": 2.0, "b": 2.0}, tx.init(params), params)[0]
      {'a': Array(-2., dtype=float32), 'b': 2.0}
    """
    if otherwise not in ("pass", "zero"):
        raise ValueError(f"masked: otherwise must be 'pass' or 'zero', got {otherwise!r}.")
    init, update = check_pair("masked: inner", inner)
    where = argument_of_call(mask, f"masked({link_name(init, update)})", "mask")
    return _masked(inner, mask, otherwise, where)


def _masked(
    inner: GradientTransformation, mask: PyTree | Labeller, otherwise: str, where: tuple[str, str]
) -> GradientTransformation:
    """Makes a masked transformation, whose errors name this factory and argument."""
    init, update = inner
    name = link_name(init, update)
    router = Router(*where, as_labeller(mask), (True, False), boolean=True)
    link = ExtraArgsAdapter.to(update)
    return GradientTransformation(
        MaskedInit(router, init, name), MaskedUpdate.of(router, link, otherwise)
    )


@named_init
@dataclasses.dataclass(frozen=True)
class MaskedInit:
    """`init` of a masked transformation."""

    router: Router
    init: TransformInitFn
    name: str

    def __call__(self, params: PyTree) -> OptState:
        """Makes the inner state, for the leaves where the mask is True."""
        labels = self.router.labels(params)
        link = self.router.link
        leaves = align(labels, params, link=link, name="params", reference_name="the mask")
        return place_on_mesh_of(params, self.init(self.router.split(labels, leaves, True)))

    def __repr__(self) -> str:
        return f"masked({self.init!r}, {self.router.labeller!r})"


@dataclasses.dataclass(frozen=True)
class MaskedUpdate(Interned):
    """`update` of a masked transformation."""

    router: Router
    link: ExtraArgsAdapter
    otherwise: str

    @property
    def is_cacheable(self) -> bool:
        """Whether the mask and the transformation may be kept alive."""
        return self.router.is_cacheable and getattr(self.link.function, "is_cacheable", False)

    def __call__(
        self, updates: PyTree, state: OptState, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, OptState]:
        """Transforms the leaves where the mask is True."""
        router = self.router
        check_order(router.link, updates, state, params)
        labels = router.labels(params, updates)
        flat, treedef = jax.tree.flatten(labels)
        gradients = align(labels, updates, link=router.link, name="updates")
        values = None if params is None else align_params(labels, params, link=router.link)
        cut = functools.partial(router.split, labels, label=True)
        inner, state = self.link(
            cut(gradients),
            state,
            None if values is None else cut(values),
            extra_of_part(extra, treedef, values, gradients, cut),
        )
        new = align(labels, inner, link=router.link, name="the inner updates")
        others = gradients if self.otherwise == "pass" else [no_update(g) for g in gradients]
        merged = [u if k else g for k, u, g in zip(flat, new, others, strict=True)]
        return jax.tree.unflatten(treedef, merged), state


def set_to_zero_update(
    updates: PyTree, state: State, params: PyTree | None = None, **extra: object
) -> tuple[PyTree, State]:
    """Makes every update zero."""
    del params, extra
    return no_updates(updates), state


setattr(set_to_zero_update, "is_cacheable", True)  # noqa: B010 (functions have no attributes for mypy)


def set_to_zero() -> GradientTransformation:
    """Makes every update zero, and keeps no state."""
    return GradientTransformation(Stateless("set_to_zero"), set_to_zero_update)


@composed
def freeze(
    mask: PyTree | Labeller, inner: GradientTransformation | None = None
) -> GradientTransformation:
    """Freezes parameters: makes their updates zero.

    Args:
      mask: tree of booleans, or a function of the parameters that returns one; True freezes.
      inner: transformation of all other leaves, which keeps no state for the frozen ones. Without
        it, freeze is one link of a chain, as in optax: put it last, because a link after it (such
        as weight decay) would move the frozen leaves again.

    Raises:
      ValueError: mask and parameters differ in structure, or the mask is a function of dtypes
        or values and update is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.freeze({"a": True, "b": False}, fo.sgd(0.5, momentum=0.9))
      >>> params = {"a": 1.0, "b": 1.0}
      >>> state = tx.init(params)
      >>> state.trace.trace
      {'a': MaskedNode(), 'b': Array(0., dtype=float32)}
    """
    where = argument_of_call(mask, "freeze", "mask")
    if inner is None:
        return _masked(set_to_zero(), mask, "pass", where)
    check_pair("freeze: inner", inner)
    trained = _Not(mask) if is_function(mask) else _negate(mask)
    return _masked(inner, trained, "zero", where)


@dataclasses.dataclass(frozen=True)
class _Not:
    """An inverted mask."""

    mask: Labeller

    def __call__(self, params: PyTree) -> PyTree:
        return _negate(self.mask(params))


def _negate(mask: PyTree) -> PyTree:
    """Inverts a mask; entries that are not booleans are kept, so that the error shows them."""
    return jax.tree.map(lambda x: not x if isinstance(x, (bool, np.bool_)) else x, mask)


def maskable(
    factory: Callable[..., GradientTransformation],
) -> Callable[..., GradientTransformation]:
    """Adds an argument `mask` to a factory of transformations; see `masked`."""
    signature = inspect.signature(factory)
    parameter = inspect.Parameter(
        "mask", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=MaskOrFn
    )
    positional = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    keyword_only = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    extended = signature.replace(parameters=[*positional, parameter, *keyword_only])

    @functools.wraps(factory)
    def with_mask(*args: object, **kwargs: object) -> GradientTransformation:
        arguments = bind(factory.__name__, extended, args, kwargs)
        mask = arguments.pop("mask")
        link = factory(**arguments)
        where = argument_of_call(mask, factory.__name__, "mask")
        return link if mask is None else _masked(link, mask, "pass", where)

    with_mask.__signature__ = extended  # type: ignore[attr-defined]
    return with_mask
