"""QK-clip: scales queries and keys down, head by head, where attention logits are too large."""

import jax
import jax.numpy as jnp

from ..core.decorators import leaf_rule
from ..core.rules.arguments import Fraction, Positive, Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import factor_to

__all__ = ["rescale_heads"]

Array = jax.Array


def _along_heads(factors: Array, shape: tuple[int, ...], head_axis: int) -> Array:
    """Reshapes factors `(*batch, heads)`, so that they broadcast to a parameter's shape."""
    axis = head_axis % len(shape) if -len(shape) <= head_axis < len(shape) else None
    *batch, heads = factors.shape or (1,)
    fits = axis is not None and shape[axis] % heads == 0 and tuple(batch) == shape[: len(batch)]
    if axis is None or not fits or axis < len(batch):
        raise ValueError(
            f"rescale_heads: attention_logits of shape {factors.shape} do not fit a parameter of "
            f"shape {shape} with head_axis={head_axis}. Pass `(*batch, heads)`, where the first "
            "axes of the parameter are the batch, and heads divides the length of head_axis."
        )
    sizes = [*batch, *[1] * (len(shape) - len(batch))]
    sizes[axis] = shape[axis]
    return jnp.repeat(factors, shape[axis] // heads, axis=-1).reshape(sizes)


@leaf_rule(
    needs=("params",),
    needs_trees=("attention_logits",),
    split_complex=False,
    keep_compute_dtype=True,
)
def rescale_heads(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    threshold: Positive = 100.0,
    power: Fraction = 0.5,
    *,
    head_axis: Static[int] = -2,
) -> tuple[Array, dict[str, Array]]:
    """Scales the new parameters of a head down if its attention logits were above a threshold.

    For one parameter of shape `*p`, with s the largest logit of each head in this step:

        f = min(1, threshold / s)^power    for each head
        u = f (p + g) - p

    With power 1/2 for queries and for keys, the logits of a head are scaled by threshold / s. Put
    this at the end of a chain, after the learning rate, and give it queries and keys alone:
    `masked(rescale_heads(), mask)`. Rotary parts of the queries take power 1 if
    all heads share the rotary keys, which are then left out. `threshold` `()` is in units of the
    logits.

    `update` needs `attention_logits`, a tree shaped like the parameters, with `(heads,)` for each;
    or `(*batch, heads)`, where the first axes of a parameter are the batch, such as stacked layers.
    For keys that several queries share, pass the largest of their logits.

    Args:
      threshold: the largest logit that leaves a head unchanged, in units of the logits.
      power: power of the factor, in [0, 1].
      head_axis: axis of the parameter that counts the heads, or heads and their elements, one head
        after the other: -2 for `(inputs, heads, size)`, -1 for `(inputs, heads * size)`.

    Differences: optax has no such transformation. Kimi's and Megatron's code scales parameters in
    place after the step, which is the same.

    Raises:
      ValueError: threshold <= 0; power outside [0, 1]; logits that do not fit a parameter; `update`
        is called without params or without attention_logits.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.rescale_heads(head_axis=-1)
      >>> params = {"query": jnp.ones((1, 4))}
      >>> grads, logits = {"query": jnp.zeros((1, 4))}, {"query": jnp.array([50.0, 400.0])}
      >>> tx.update(grads, tx.init(params), params, attention_logits=logits)[0]["query"]
      Array([[ 0. ,  0. , -0.5, -0.5]], dtype=float32)

    Reference: Kimi Team, Kimi K2: Open agentic intelligence, 2025, Algorithm 1, arXiv:2507.20534.
    """
    del slots
    if ctx.attention_logits is None:
        raise ValueError(
            f"rescale_heads: attention_logits is None for a parameter of shape {p.shape} that has "
            "an update. Pass logits for it, or leave it out with masked."
        )
    factors = factor_to(threshold, ctx.attention_logits) ** power
    scale = _along_heads(factors, g.shape, head_axis).astype(g.dtype)
    return scale * (p + g) - p, {}
