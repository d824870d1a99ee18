"""Evaluates a function of a large batch on one microbatch after another."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.protocol import PyTree
from .accumulators import AccumulationType, Fold, build_fold
from .batches import Layout, checked_size, cut
from .calling import Place, find_argument, positional

__all__ = ["microbatch"]

T = TypeVar("T")


def microbatch(
    fun: Callable[..., T],
    argnums: int | Sequence[int],
    microbatch_size: int | None,
    accumulator: PyTree = AccumulationType.SUM,
    *,
    argnames: str | Sequence[str] = (),
    in_axes: int | Sequence[int] = 0,
    num_real_microbatches: ArrayLike | None = None,
) -> Callable[..., T]:
    """Evaluates a function of a batch on parts of it, one after another, in a scan.

    With `fun = jax.value_and_grad(loss)` this accumulates gradients within a step. It needs the
    memory of one microbatch, and returns the result for the whole batch, up to rounding, if the
    accumulator matches the loss: `MEAN` for a mean over the batch, `SUM` for a sum. The derivative
    of the result evaluates each microbatch again, and needs the memory of one as well.

    Sums and means of arrays narrower than float32 are accumulated in float32, and cast to the dtype
    of the arrays. If `microbatch_size` does not divide the batch, the last microbatch is smaller,
    and has less weight in a mean. A batch of at most that size is a single microbatch. For a batch
    without rows, the sum is 0, the mean NaN, and a running mean 0.

    Args:
      fun: any function of arrays.
      argnums: positions of the arguments that are batches, trees of arrays; a call may pass them
        by name.
      microbatch_size: number of rows in a microbatch; None returns the function unchanged.
      accumulator: an `AccumulationType`, an `Accumulator`, or a tree of these that is a prefix of
        the function's results.
      argnames: names of arguments that are batches; a call may pass them by position.
      in_axes: batch axis of the arrays of all these arguments; or one for each argument, first of
        argnums and then of argnames.
      num_real_microbatches: `()`, the number of microbatches to evaluate if the others are padding;
        it may be traced. The result then has no reverse-mode derivative.

    Differences: optax requires that the size divides the batch, and sums in the results' dtypes.

    Raises:
      TypeError: accumulator is not an accumulator or a tree of them, or an integer result has a
        mean.
      ValueError: the size is not an integer of at least 1; batch axes differ in length; or the last
        microbatch is smaller, with an `Accumulator` or num_real_microbatches.

    Example:
      >>> import functional_optim as fo
      >>> loss = lambda w, x, y: jnp.mean((x * w - y) ** 2)
      >>> mean = fo.microbatching.AccumulationType.MEAN
      >>> grad = fo.microbatch(jax.value_and_grad(loss), (1, 2), 2, mean)
      >>> grad(1.0, jnp.arange(4.0), jnp.zeros(4))
      (Array(3.5, dtype=float32), Array(7., dtype=float32))
    """
    if microbatch_size is None:
        return fun
    size = checked_size("microbatch", microbatch_size)
    batched = _Batched.of(argnums, argnames, in_axes)

    @functools.wraps(fun)
    @jax.named_scope(f"microbatch_size_{size}")
    def microbatched(*args: PyTree, **kwargs: PyTree) -> T:
        args, kwargs = positional(fun, args, kwargs)
        places = [find_argument(fun, args, kwargs, which) for which in batched.which]
        batches = [kwargs[k] if isinstance(k, str) else args[k] for k in places]
        layout = Layout.of(batches, batched.axes, size)
        cuts = [cut(x, axis, layout) for x, axis in zip(batches, batched.axes, strict=True)]

        # Without checkpointing, a derivative stores the intermediate values of all microbatches.
        @functools.partial(jax.checkpoint, prevent_cse=False)
        def call(parts: list[PyTree]) -> T:
            new = dict(zip(places, parts, strict=True))
            changed = (new.get(i, x) for i, x in enumerate(args))
            return fun(*changed, **{k: new.get(k, x) for k, x in kwargs.items()})

        full, remainder = ([pair[i] for pair in cuts] for i in (0, 1))
        fold = build_fold(accumulator, layout)
        if num_real_microbatches is not None:
            return _fold_first(call, full, fold, layout, num_real_microbatches)
        return _fold_all(call, full, remainder if layout.remainder else None, fold, layout)

    return microbatched


@dataclasses.dataclass(frozen=True)
class _Batched:
    """The arguments that are batches, and their batch axes."""

    which: tuple[Place, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(
        cls,
        argnums: int | Sequence[int],
        argnames: str | Sequence[str],
        in_axes: int | Sequence[int],
    ) -> "_Batched":
        """Reads the arguments of `microbatch`."""
        nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        names = (argnames,) if isinstance(argnames, str) else tuple(argnames)
        which: tuple[Place, ...] = (*nums, *names)
        count = len(which)
        axes = (in_axes,) * count if isinstance(in_axes, int) else tuple(in_axes)
        if len(axes) != count:
            raise ValueError(
                f"microbatch: in_axes must be one axis, or one for each of the {count} arguments "
                f"that argnums and argnames name, got {len(axes)}."
            )
        return cls(which, axes)


def _result_shapes(call: Callable[[list[PyTree]], PyTree], full: list[PyTree]) -> PyTree:
    """Returns the shapes of a microbatch's result, even if there are no microbatches."""

    def first(x: jax.Array) -> jax.Array:
        return x[0] if x.shape[0] else jnp.zeros(x.shape[1:], x.dtype)

    return jax.eval_shape(lambda xs: call(jax.tree.map(first, xs)), full)


def _fold_all(
    call: Callable[[list[PyTree]], PyTree],
    full: list[PyTree],
    remainder: list[PyTree] | None,
    fold: Fold,
    layout: Layout,
) -> Any:
    """Scans over the full microbatches, and adds the smaller one at the end."""
    like = _result_shapes(call, full)
    carry = fold.start(like)
    if not layout.count:
        return fold.end(carry, like, None)

    def body(carry: PyTree, inputs: tuple[jax.Array, list[PyTree]]) -> tuple[PyTree, None]:
        index, parts = inputs
        return fold.step(carry, call(parts), index), None

    with jax.named_scope(f"{layout.count}_microbatches"):
        carry, _ = jax.lax.scan(body, carry, (jnp.arange(layout.count), full))
    return fold.end(carry, like, None if remainder is None else call(remainder))


def _fold_first(
    call: Callable[[list[PyTree]], PyTree],
    full: list[PyTree],
    fold: Fold,
    layout: Layout,
    number: ArrayLike,
) -> Any:
    """Loops over the first microbatches, whose number may be traced."""
    if layout.remainder:
        raise ValueError(
            "microbatch: microbatch_size must divide the batch if num_real_microbatches is "
            f"passed, got {layout.size} and {layout.count * layout.size + layout.remainder} rows."
        )
    like = _result_shapes(call, full)

    def body(index: jax.Array, carry: PyTree) -> PyTree:
        return fold.step(carry, call(jax.tree.map(lambda x: x[index], full)), index)

    return fold.end(jax.lax.fori_loop(0, number, body, fold.start(like)), like, None)
