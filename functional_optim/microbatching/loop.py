"""A function of a large batch, evaluated on one microbatch after another."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from .accumulators import AccumulationType, Fold, fold_of
from .batches import Layout, checked_size, cut
from .calling import Place, place_of, positional

__all__ = ["microbatch"]


def microbatch(
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    microbatch_size: int | None,
    accumulator: Any = AccumulationType.SUM,
    *,
    argnames: str | Sequence[str] = (),
    in_axes: int | Sequence[int] = 0,
    num_real_microbatches: Any = None,
) -> Callable[..., Any]:
    """Evaluates a function of a batch on parts of it, one after another, in a scan.

    With `fun = jax.value_and_grad(loss)` this gathers gradients within a step: in the memory of
    one microbatch, it gives what the whole batch gives, up to rounding, where the accumulator is
    that of the loss: `MEAN` for a mean over the batch, `SUM` for a sum. The derivative of the
    result evaluates each microbatch again, and needs the memory of one as well.

    Sums and means of arrays narrower than float32 are taken in float32, and have their dtype. If
    `microbatch_size` does not divide the batch, the last microbatch is smaller, and counts less
    in a mean. A batch of at most that size is one microbatch; one of no rows has none: the sum
    is 0, the mean NaN, and a running mean 0.

    Args:
      fun: any function of arrays.
      argnums: positions of the arguments that are batches, trees of arrays; a call may give them
        by name.
      microbatch_size: rows in each; None for the function as it is.
      accumulator: an `AccumulationType`, an `Accumulator`, or a tree of these of which the
        function's results are of the form.
      argnames: names of arguments that are batches; a call may give them by position.
      in_axes: batch axis of the arrays of all these arguments; or of each, as they are given in
        argnums and then in argnames.
      num_real_microbatches: `()`, how many are evaluated, where others hold nothing; it may be
        traced. There is then no derivative backwards.

    Differences: optax asks that the size divides the batch, and sums in the results' dtypes.

    Raises:
      TypeError: an accumulator is none, or a mean is asked for of integers.
      ValueError: the size is no integer or below 1; batch axes differ in length, or microbatches
        in size where an `Accumulator` or num_real_microbatches does not allow it.

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
    def microbatched(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = positional(fun, args, kwargs)
        places = [place_of(fun, args, kwargs, which) for which in batched.which]
        given = [kwargs[k] if isinstance(k, str) else args[k] for k in places]
        layout = Layout.of(given, batched.axes, size)
        cuts = [cut(x, axis, layout) for x, axis in zip(given, batched.axes, strict=True)]

        # Without this, a derivative keeps what all microbatches have computed.
        @functools.partial(jax.checkpoint, prevent_cse=False)
        def call(parts: list[PyTree]) -> Any:
            new = dict(zip(places, parts, strict=True))
            changed = (new.get(i, x) for i, x in enumerate(args))
            return fun(*changed, **{k: new.get(k, x) for k, x in kwargs.items()})

        full, rest = ([pair[i] for pair in cuts] for i in (0, 1))
        fold = fold_of(accumulator, layout)
        if num_real_microbatches is not None:
            return _first(call, full, fold, layout, num_real_microbatches)
        return _all(call, full, rest if layout.rest else None, fold, layout)

    return microbatched


@dataclasses.dataclass(frozen=True)
class _Batched:
    """Which arguments are batches, and their batch axes."""

    which: tuple[Place, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, argnums: Any, argnames: Any, in_axes: Any) -> "_Batched":
        nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        names = (argnames,) if isinstance(argnames, str) else tuple(argnames)
        which = (*nums, *names)
        number = len(which)
        axes = (in_axes,) * number if isinstance(in_axes, int) else tuple(in_axes)
        if len(axes) != number:
            raise ValueError(
                f"microbatch: in_axes must be one axis, or one for each of the {number} arguments "
                f"that argnums and argnames name, got {len(axes)}."
            )
        return cls(which, axes)


def _shapes(call: Callable[..., Any], full: list[PyTree]) -> PyTree:
    def of_one(x: Any) -> Any:
        return x[0] if x.shape[0] else jnp.zeros(x.shape[1:], x.dtype)

    return jax.eval_shape(lambda xs: call(jax.tree.map(of_one, xs)), full)


def _all(
    call: Callable[..., Any], full: list[PyTree], rest: Any, fold: Fold, layout: Layout
) -> PyTree:
    like = _shapes(call, full)
    carry = fold.start(like)
    if not layout.count:
        return fold.end(carry, like, None)

    def body(carry: PyTree, given: tuple[Any, list[PyTree]]) -> tuple[PyTree, None]:
        index, parts = given
        return fold.step(carry, call(parts), index), None

    with jax.named_scope(f"{layout.count}_microbatches"):
        carry, _ = jax.lax.scan(body, carry, (jnp.arange(layout.count), full))
    return fold.end(carry, like, None if rest is None else call(rest))


def _first(
    call: Callable[..., Any], full: list[PyTree], fold: Fold, layout: Layout, number: Any
) -> PyTree:
    if layout.rest:
        raise ValueError(
            "microbatch: microbatch_size must divide the batch where num_real_microbatches is "
            f"given, got {layout.size} and {layout.count * layout.size + layout.rest} rows."
        )
    like = _shapes(call, full)

    def body(index: Any, carry: PyTree) -> PyTree:
        return fold.step(carry, call(jax.tree.map(lambda x: x[index], full)), index)

    return fold.end(jax.lax.fori_loop(0, number, body, fold.start(like)), like, None)
