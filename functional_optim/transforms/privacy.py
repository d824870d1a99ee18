"""Differential privacy: gradients of single examples, clipped, summed, and hidden in noise."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from ..core.adapter import ExtraArgsAdapter, check_state
from ..core.caching import Interned
from ..core.composed import composed
from ..core.decorators import leaf_rule, renamed
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.arguments import NonNegative, RandomKey
from ..core.signatures import named_init
from ..core.state import State
from ..core.types import ScalarOrSchedule
from .clipping import clip_by_global_norm
from .per_example import number_of_examples

__all__ = ["differentially_private_aggregate"]

Array = jax.Array

_clip = renamed(clip_by_global_norm, max_norm="l2_norm_clip")


@leaf_rule(needs=("examples", "bound"), split_complex=False)
def add_private_noise(
    g: Array,
    slots: Any,
    p: None,
    ctx: Any,
    noise_multiplier: NonNegative,
    key: Annotated[Any, RandomKey],
) -> tuple[Array, dict[str, Array]]:
    """Adds noise to a sum over examples, and divides by their number."""
    del slots, p
    noise = jax.random.normal(key, g.shape, g.dtype)
    # Without noise the bound may be infinite, and 0 times infinity would be NaN.
    sigma = jnp.where(noise_multiplier == 0, 0.0, ctx.bound) * noise_multiplier
    return (g + sigma.astype(g.dtype) * noise) / ctx.examples.astype(g.dtype), {}


@composed
def differentially_private_aggregate(
    l2_norm_clip: ScalarOrSchedule,
    noise_multiplier: ScalarOrSchedule,
    key: Any = None,
    *,
    seed: Any = None,
) -> GradientTransformation:
    """Averages the gradients of single examples so that none of them can be told from the mean.

    The updates have a first axis over examples: `jax.vmap(jax.grad(loss), (None, 0))(params,
    batch)` makes them. For one parameter of shape `*p`, with the norm of example i over all
    parameters, n standard normal, and B examples:

        u = (sum_i g_i min(1, l2_norm_clip / |g_i|) + l2_norm_clip noise_multiplier n) / B

    `l2_norm_clip` `()` is in units of g, `noise_multiplier` `()` has no unit. The state has the
    links `clip` and `add_private_noise`; the metrics `global_norm` and `clip_factor` are means over
    the examples. It must be the first link that sees the gradients. Do not put it inside an
    accumulation of gradients, which would add up the noise of the parts.

    The privacy loss of a run depends also on how batches are sampled: compute it with a privacy
    accountant.

    Args:
      l2_norm_clip: the largest norm of the gradient of one example, in units of g.
      noise_multiplier: standard deviation of the noise in the sum, as a multiple of l2_norm_clip.
      key: an integer, or a key of `jax.random.key`; it must be given.
      seed: older name of key.

    Differences: optax draws other numbers from a key, and warns if there is none.

    Raises:
      TypeError: key is neither an integer nor a key.
      ValueError: key and seed are both given; a number is negative; or the first axes of the
        updates differ in length.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.contrib.differentially_private_aggregate(1.0, 0.0, key=0)
      >>> params, grads = {"w": jnp.zeros(2)}, {"w": jnp.array([[3.0, 4.0], [0.3, 0.4]])}
      >>> updates, state = tx.update(grads, tx.init(params), params)
      >>> print(updates["w"])
      [0.45000002 0.6       ]

    Reference: Abadi et al., Deep learning with differential privacy, CCS 2016, Algorithm 1,
    arXiv:1607.00133.
    """
    if key is not None and seed is not None:
        raise ValueError(
            "differentially_private_aggregate: seed is the older name of key. Pass one of them."
        )
    clip = _clip(l2_norm_clip)
    noise = add_private_noise(noise_multiplier, seed if key is None else key)
    update = _Private.of(ExtraArgsAdapter.to(clip.update), ExtraArgsAdapter.to(noise.update))
    return GradientTransformation(_PrivateInit(clip.init, noise.init), update)


@named_init
@dataclasses.dataclass(frozen=True)
class _PrivateInit:
    """`init` of a private mean."""

    clip: Callable[..., Any]
    noise: Callable[..., Any]
    name = "differentially_private_aggregate"

    @property
    def parts(self) -> dict[str, Callable[..., Any]]:
        """The `init` of each transformation within, by the field of its state."""
        return {"clip": self.clip, "add_private_noise": self.noise}

    def __call__(self, params: PyTree) -> State:
        """Makes the states of both links."""
        return State(clip=self.clip(params), add_private_noise=self.noise(params))

    def __repr__(self) -> str:
        return f"{self.name}({self.noise!r})"


@dataclasses.dataclass(frozen=True)
class _Private(Interned):
    """`update` of a private mean."""

    clip: ExtraArgsAdapter
    noise: ExtraArgsAdapter

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Clips each example's gradients, sums them, and adds noise."""
        check_state("differentially_private_aggregate", updates, state, params)
        del extra
        examples = number_of_examples("differentially_private_aggregate", updates, params)

        def clipped(g: PyTree) -> tuple[PyTree, PyTree]:
            return self.clip(g, state.clip, None, {})

        grads, states = jax.vmap(clipped)(updates)
        # Values that do not depend on the example are the same for all, and metrics are averaged.
        new = jax.tree.map(lambda x: x[0], states)
        metrics = {k: jnp.mean(x) for k, x in states.metrics.items()}
        sums = jax.tree.map(lambda g: jnp.sum(g, axis=0), grads)
        needs = {
            "examples": jnp.float32(examples),
            "bound": new.hyperparams["l2_norm_clip"],  # which this step clipped to
        }
        means, noise = self.noise(sums, state.add_private_noise, params, needs)
        return means, State(clip=new._replace(metrics=metrics), add_private_noise=noise)
