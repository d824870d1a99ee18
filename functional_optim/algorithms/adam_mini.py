"""Adam-mini: Adam with one second moment for each block of a parameter."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import adam_scalars, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.arguments import Decay, NonNegative, SlotDtype, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.placement import auto_sharded, zeros_like_mean
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.masking import partition
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adam_mini", "scale_by_adam_mini"]

Array = jax.Array
Blocks = Sequence[int | tuple[int, int]] | None
"""Axes that have a moment for each index, or `(axis, n)` for n blocks; None for all elements."""


def _block_counts(shape: tuple[int, ...], blocks: Blocks) -> tuple[int, ...]:
    """Returns the number of blocks along each axis of a parameter."""
    if blocks is None:
        return shape
    counts = [1] * len(shape)
    for block in blocks:
        axis, n = block if isinstance(block, tuple) else (block, None)
        if not -len(shape) <= axis < len(shape) or (n is not None and shape[axis] % n):
            raise ValueError(
                f"scale_by_adam_mini: blocks={blocks!r} does not fit a parameter of shape {shape}. "
                "Give axes that it has, and numbers of blocks that divide them."
            )
        counts[axis] = shape[axis] if n is None else n
    return tuple(counts)


def _slots(p: Array, blocks: Blocks) -> dict[str, Array]:
    counts = _block_counts(p.shape, blocks)
    axes = tuple(i for i, n in enumerate(counts) if n != p.shape[i])
    nu = jnp.zeros_like(p) if not axes else zeros_like_mean(p, axes)
    # Means over axes cannot describe an axis with several blocks; its slot is not sharded.
    return {"mu": jnp.zeros_like(p), "nu": nu if nu.shape == counts else jnp.zeros(counts, p.dtype)}


def _split_shape(shape: tuple[int, ...], counts: tuple[int, ...]) -> list[int]:
    """Returns the shape with each axis split in two: its blocks, and the elements of a block."""
    return [x for size, n in zip(shape, counts, strict=True) for x in (n, size // max(n, 1))]


def _are_whole_axes(counts: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Tells whether each axis has one block, or one block for each index."""
    return all(n in (1, size) for n, size in zip(counts, shape, strict=True))


def _block_means(square: Array, counts: tuple[int, ...]) -> Array:
    """Computes the mean of each block, of shape `counts`."""
    share = math.prod(counts) / max(square.size, 1)
    if _are_whole_axes(counts, square.shape):
        axes = tuple(i for i, n in enumerate(counts) if n != square.shape[i])
        return jnp.sum(square, axis=axes, keepdims=True) * share
    # Axes 0, 2, ... of the split shape count the blocks, and axes 1, 3, ... their elements. JAX
    # cannot infer the sharding of this reshape on a mesh with explicit axes.
    inner = tuple(range(1, 2 * square.ndim, 2))

    def sums(square: Array) -> Array:
        return jnp.sum(square.reshape(_split_shape(square.shape, counts)), axis=inner)

    return auto_sharded(sums, lambda shape, spec, mesh: PartitionSpec(), square) * share


def _scale_blocks(mu: Array, factors: Array) -> Array:
    """Multiplies the elements of each block by its factor."""
    if _are_whole_axes(factors.shape, mu.shape):
        return mu * factors
    sizes = _split_shape(mu.shape, factors.shape)
    block_axes = tuple(range(0, len(sizes), 2))

    def scaled(mu: Array, factors: Array) -> Array:
        return mu * jax.lax.broadcast_in_dim(factors, sizes, block_axes).reshape(mu.shape)

    return auto_sharded(scaled, lambda shape, spec, mesh: spec, mu, factors)


def _step_scalars(t: Array, b1: Array, b2: Array, eps: Array) -> dict[str, Array]:
    """Computes the weights of update number t."""
    return adam_scalars(t, b1, b2, eps)


def _check(options: Mapping[str, object]) -> str | None:
    blocks = options["blocks"]
    if blocks is None or (isinstance(blocks, tuple) and all(map(_is_block, blocks))):
        return None
    return (
        f"blocks must be None or a tuple of axes, or of pairs (axis, number of blocks), got "
        f"{blocks!r}. Pass (0,) for a moment of each row, for example."
    )


def _is_block(x: object) -> bool:
    if isinstance(x, tuple):
        return len(x) == 2 and all(map(_is_block, x)) and x[1] > 0
    return isinstance(x, int) and not isinstance(x, bool)


@leaf_rule(slots=_slots, step_scalars=_step_scalars, check=_check)
def scale_by_adam_mini(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    blocks: Static[Blocks] = (),
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by one root mean square for each block of elements.

    For one parameter of shape `*p` and its update number t = 1, 2, ..., with the mean over each
    block:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) mean(g^2)
        u  = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    The state keeps m as `mu`, of shape `*p`, and v as `nu`, whose shape is the number of blocks
    along each axis of p. `b1`, `b2` `()` have no unit; `eps` `()` is in units of g; u has no unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root, so that u stays bounded; in units of g.
      mu_dtype: dtype of m.
      blocks: axes that have a v for each index; `()` is one v for the whole parameter, and None
        is one for each element, as in Adam. A pair `(axis, n)` splits an axis into n blocks, such
        as the heads of an attention layer.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code, which finds blocks by the names of parameters.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps negative, or blocks do not fit a parameter.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_adam_mini(blocks=(1,)), {"w": jnp.zeros((2, 3))}
      >>> state = tx.init(params)
      >>> state.nu["w"].shape
      (1, 3)
      >>> g = jnp.array([[1.0, 0.0, 3.0], [-7.0, 2.0, 3.0]])
      >>> [round(float(u), 3) for u in tx.update({"w": g}, state)[0]["w"].ravel()]
      [0.2, 0.0, 1.0, -1.4, 1.414, 1.0]

    Reference: Zhang et al., Adam-mini: Use fewer learning rates to gain more, ICLR 2025, Algorithm
    1, arXiv:2406.16793.
    """
    del p, eps, mu_dtype, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    counts = _block_counts(g.shape, blocks)
    square = jnp.square(g)
    means = square if counts == g.shape else _block_means(square, counts)
    nu = moment(slots.nu, means, b2, ctx.nu_gain)
    # The quotient is computed for each block, because blocks are fewer than elements.
    factors = ctx.mu_weight / (ctx.scaled_eps + safe_sqrt(nu))
    return _scale_blocks(mu, factors), {"mu": mu, "nu": nu}


@composed
def adam_mini(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    blocks: Blocks | Mapping[str, Blocks] = (),
    param_labels: PyTree | Callable[[PyTree], PyTree] | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Adam-mini: `scale_by_adam_mini`, decoupled decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adam_mini`

    `learning_rate` `()` is in units of p; use the learning rate of Adam. For Transformers the
    authors use a block for each head of queries and of keys, for each output of all other weights,
    and for each token of embeddings; biases have `blocks=None`, as in Adam. Norms and other models
    have one block for each parameter, which is the default.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      blocks: as in `scale_by_adam_mini`; or label -> blocks, for the labels of `param_labels`. In
        the second case the state has a level `partition`, by label.
      param_labels: tree of labels shaped like the parameters, or a function of the parameters that
        returns one, such as `path_labels`.
      See `scale_by_adam_mini`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Raises:
      ValueError: an argument is out of its range; or blocks by label are given without
        param_labels, or the reverse.

    Example:
      >>> import functional_optim as fo
      >>> labels = fo.path_labels({"query|key": "head", "embed": "token"}, default="output")
      >>> blocks = {"head": ((1, 4),), "token": (0,), "output": (-1,)}
      >>> tx = fo.adam_mini(1e-3, blocks=blocks, param_labels=labels)
      >>> params = {"embed": jnp.ones((10, 8)), "query": jnp.ones((8, 8)), "bias": jnp.ones(8)}
      >>> state = tx.init(params)
      >>> state.partition.head.nu["query"].shape, state.partition.output.nu["bias"].shape
      ((1, 4), (8,))

    Reference: Zhang et al., Adam-mini: Use fewer learning rates to gain more, ICLR 2025, Algorithm
    1, arXiv:2406.16793.
    """
    if isinstance(blocks, Mapping) != (param_labels is not None):
        raise ValueError(
            "adam_mini: blocks by label and param_labels go together, got "
            f"blocks={blocks!r}, param_labels={param_labels!r}. Pass both, or neither."
        )

    def with_blocks(blocks: Blocks) -> GradientTransformation:
        return scale_by_adam_mini(b1, b2, eps, mu_dtype, blocks=blocks, state_dtype=state_dtype)

    if isinstance(blocks, Mapping):
        direction = partition({k: with_blocks(x) for k, x in blocks.items()}, param_labels)
    else:
        direction = with_blocks(blocks)
    return chain(
        direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate)
    )
