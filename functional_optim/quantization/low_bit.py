"""Quantizes the moments in a state between updates."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef
from jax.typing import ArrayLike

from ..core.adapter import ExtraArgsAdapter, check_pair, link_name
from ..core.caching import Interned
from ..core.chain import ChainUpdate
from ..core.engine.fused import FusedUpdate
from ..core.leaf.packing import stacked_array_ids
from ..core.leaf.quantized import decode_state, encode_like, is_quantized
from ..core.numerics.precision import safe_increment
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.bound_rule import ENGINE_FIELDS
from ..core.rules.rng_keys import Key, as_key, key_at
from ..core.signatures import named_init
from ..core.state import KeyPath, State, is_rule_state, nested_states
from ..core.trees.placement import mesh_placer
from ..core.trees.structure import container_content, is_container, path_string
from ..transforms.masking import MaskedUpdate, PartitionUpdate
from .blocks import BLOCK
from .formats import FORMATS

__all__ = ["MOMENTS", "low_bit_state"]

MOMENTS = (
    "mu",
    "nu",
    "nu_max",
    "trace",
    "ema",
    "delta",
    "m",
    "m1",
    "m2",
    "v",
    "e_g",
    "e_x",
    "sum_of_squares",
)
"""Slots of this package and of optax that are means or sums of gradients or of their squares.

Other slots are not quantized, because an error in them would persist: points (averages of
parameters, master copies), sums that are still to be applied, single gradients, and step sizes.
"""


def low_bit_state(
    tx: GradientTransformation,
    form: str | Mapping[str, str] = "8bit",
    *,
    key: ArrayLike | None = None,
    min_size: int = 4096,
) -> GradientTransformation:
    """Quantizes the moments of a transformation between its updates.

    `update` decodes the moments to float32, computes with them, and encodes the new ones: an
    update is computed from the new moments before they are rounded. The formats:

    - `"8bit"`: a code of 8 bits for each element, and for each block of 256 the largest magnitude
      `s`, in float32: 1.016 bytes for each element instead of 4. A code is the index of one of 256
      numbers `y`, and the element is `y s`. The numbers are denser towards 0: 0, 1, and the middles
      of equal parts of the decades from 1e-7 to 1, with 1, 2, ..., 64 parts and both signs. A block
      without negative elements, as in second moments, uses numbers without signs, which are twice
      as dense. The error of an element is at most 0.00704 s, or 0.00352 s without signs. Elements
      below 1e-6 s lose most of their digits, but without signs they stay positive.
    - `"bfloat16"`: 2 bytes for each element, a relative error of at most 2^-9, or 2^-8 with key.

    A quantized array is a node of the state with the leaves `codes` and `scales`, or `rounded`: the
    path of a moment's codes reads `scale_by_adam.mu.dense.kernel.codes`. Codes have the shape and
    the sharding of the array. Blocks are runs along its last axis, or along several axes if the
    last one has less than 256 elements: 25 rows of an array `(1000, 10)`. A block does not continue
    after the end of its axis, so that in a stack of matrices with at least 256 elements each, a
    block is of one matrix. If an element of a block is not finite, all its elements are decoded
    to values that are not finite. Other functions of this package support these nodes: a checkpoint
    is converted between the formats and float32 when it is restored, and `decode_state` returns the
    state in float32.

    The moments of optimizers of matrices are quantized. Their factors, bases and roots are not: an
    inverse root is determined by the smallest eigenvalues of a factor, which may be smaller than
    the error of its elements. A dict quantizes them: `{"mu": "8bit", "left": "8bit"}`.

    An update changes a mean by a small fraction of itself. Rounded to nearest, the mean may not
    change at all; with 8 bits, only the scale changes, and with it all elements of a block. With a
    key, numbers are rounded up or down at random, so that they are right in the mean.

    Args:
      tx: any pair `(init, update)`, of this package or another, also a chain.
      form: the format of all moments, which are found by the names of their slots (`mu`, `nu`,
        `trace`, `sum_of_squares`, ...); or a dict, slot name -> format, for any slots. Only arrays
        of float32 are quantized.
      key: integer or key of `jax.random.key`, to round at random. Then the state has a count,
        the key, and `inner_state`; without a key it is the state of tx, with quantized arrays. The
        random numbers depend on the key, the count and the position of the array in the state, and
        not on shardings.
      min_size: arrays of fewer elements are not quantized; at least 256.

    Differences: optax has no such wrapper. bitsandbytes rounds a second moment below 1.6e-7 s to 0,
    and divides by its root; its blocks continue from one row to the next.

    Raises:
      TypeError: tx is not a pair of functions, or min_size not an integer.
      ValueError: the format is unknown; min_size is below 256; or (by `init`) the state has no slot
        of a name in form, or it has large arrays, but no moment among them.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> params = {"w": jnp.ones((512, 512))}
      >>> state = fo.low_bit_state(fo.adam(1e-3)).init(params)
      >>> jax.tree.map(jnp.shape, state.scale_by_adam.nu)
      {'w': Blockwise(codes=(512, 512), scales=(512, 2))}

    Reference: Dettmers et al., 8-bit optimizers via block-wise quantization, ICLR 2022, sections
    2 and 3, arXiv:2110.02861. Gupta et al., Deep learning with limited numerical precision, ICML
    2015, section 3, arXiv:1502.02551, for rounding at random.
    """
    # Loads what a step computes blocks with. If the first trace of a step did it, jax.extend would
    # add to JAX's context of traces, of jax 0.12 at least, and the second step would compile again.
    from ..core.leaf import blockwise

    del blockwise
    init, update = check_pair("low_bit_state: tx", tx)
    forms = dict(form) if isinstance(form, Mapping) else dict.fromkeys(MOMENTS, form)
    for name in forms.values():
        if name not in FORMATS:
            raise ValueError(
                f"low_bit_state: form must be one of {', '.join(map(repr, FORMATS))}, or a dict of "
                f"them by slot, got {name!r}."
            )
    min_size = as_count(min_size, "low_bit_state: min_size", least=BLOCK)
    rounding_key = None if key is None else as_key(key, "low_bit_state: key")
    by_name = isinstance(form, Mapping)
    low_bit_init = LowBitInit(
        init, link_name(init, update), tuple(forms.items()), by_name, min_size, rounding_key
    )
    if rounding_key is None and _is_of_leaf_rules(update):
        return GradientTransformation(low_bit_init, update)
    generator = None if rounding_key is None else rounding_key.generator
    low_bit_update = LowBitUpdate.of(
        ExtraArgsAdapter.to(update), rounding_key is not None, generator
    )
    return GradientTransformation(low_bit_init, low_bit_update)


def _is_of_leaf_rules(update: object) -> bool:
    """Tells whether an update consists of leaf rules only, whose slots the engine decodes.

    The engine decodes one leaf at a time; for any other update, the whole state is decoded.
    """
    if isinstance(update, ChainUpdate):
        return all(_is_of_leaf_rules(link.function) for link in update.links)
    if isinstance(update, MaskedUpdate):
        return _is_of_leaf_rules(update.link.function)
    if isinstance(update, PartitionUpdate):
        return all(_is_of_leaf_rules(link.function) for _, link in update.links)
    return isinstance(update, FusedUpdate) and not update.rules[0].spec.whole_tree


@named_init
@dataclasses.dataclass(frozen=True)
class LowBitInit:
    """`init` of a transformation with quantized moments."""

    init: Callable[..., Any]
    inner_name: str
    forms: tuple[tuple[str, str], ...]
    by_name: bool
    min_size: int
    key: Key | None

    @property
    def name(self) -> str:
        """Name of the link: without a key, the name of the inner transformation."""
        return self.inner_name if self.key is None else "low_bit_state"

    def __call__(self, params: PyTree) -> PyTree:
        """Makes the state, and encodes its moments."""
        state = self.init(params)
        encoded = self._encode(state)
        if self.key is None:
            return encoded
        fields = {"count": jnp.zeros((), np.int32), "keys": {"key": self.key.words()}}
        place = mesh_placer(jax.tree.leaves(params))
        return State(**jax.tree.map(place, fields), inner_state=encoded)

    def _encode(self, state: PyTree) -> PyTree:
        treedef: PyTreeDef
        # A quantized array replaces the container of the array, because the containers of `nnx`
        # take arrays only.
        flat, treedef = jax.tree_util.tree_flatten_with_path(
            state, is_leaf=lambda x: is_quantized(x) or is_container(x)
        )
        forms, stacked = dict(self.forms), stacked_array_ids(state)
        slots = list(_slots(state, [path for path, _ in flat], forms))
        large = [id(x) not in stacked and self._is_large(container_content(x)) for _, x in flat]
        chosen = [forms.get(slot) if big else None for slot, big in zip(slots, large, strict=True)]
        of_large = [path for (path, _), big in zip(flat, large, strict=True) if big]
        self._check(slots, of_large, chosen)
        pairs = zip(chosen, flat, strict=True)
        return treedef.unflatten(
            [
                x if name is None else FORMATS[name].of(container_content(x), None)
                for name, (_, x) in pairs
            ]
        )

    def _is_large(self, x: Any) -> bool:
        is_float = getattr(x, "dtype", None) == np.float32 and not is_quantized(x)
        return is_float and x.size >= self.min_size

    def _check(self, slots: list[str], large: list[KeyPath], chosen: list[str | None]) -> None:
        unknown = [name for name, _ in self.forms if name not in slots]
        if self.by_name and unknown:
            available = ", ".join(sorted({name for name in slots if name})) or "none"
            raise ValueError(
                f"low_bit_state: form names the slot {unknown[0]!r}, which this state does not "
                f"have. Its slots are: {available}."
            )
        if large and not any(chosen):
            raise ValueError(
                "low_bit_state: none of the state's large arrays is known to be a moment; there "
                f"is '{path_string(large[0])}'. Name slots that may be quantized: "
                "form={'name': '8bit'}."
            )

    def __repr__(self) -> str:
        forms = dict(self.forms) if self.by_name else self.forms[0][1]
        key = "" if self.key is None else f", key={self.key.value!r}"
        return f"low_bit_state({self.init!r}, {forms!r}{key})"


def _slots(state: PyTree, paths: list[KeyPath], wanted: Mapping[str, str]) -> Iterator[str]:
    """Yields the name of the slot of each path; empty where it is not in a slot."""
    links = [path for path, node in nested_states(state) if is_rule_state(node)]
    for path in paths:
        link = max((k for k in links if path[: len(k)] == k), key=len, default=None)
        names = [k.name for k in path[len(link or ()) :] if isinstance(k, jax.tree_util.GetAttrKey)]
        if link is not None:
            yield names[0] if names[0] not in ENGINE_FIELDS else ""
        else:
            # A link of another library: any of the names may be a slot's, a wanted one first.
            yield next((name for name in names if name in wanted), names[-1] if names else "")


@dataclasses.dataclass(frozen=True)
class LowBitUpdate(Interned):
    """`update` of a transformation with quantized moments."""

    inner: ExtraArgsAdapter
    random: bool
    generator: str | None

    @property
    def is_cacheable(self) -> bool:
        """Whether a cache may keep the inner update alive."""
        return getattr(self.inner.function, "is_cacheable", False)

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        """Decodes the moments, updates, and encodes the new ones."""
        if not self.random:
            new, after = self.inner(updates, decode_state(state), params, extra)
            return new, encode_like(state, after, None)
        before = state.inner_state
        new, after = self.inner(updates, decode_state(before), params, extra)
        key = key_at(state.keys["key"], self.generator, state.count)
        encoded = encode_like(before, after, key)
        return new, state._replace(count=safe_increment(state.count), inner_state=encoded)
