"""State that is held in fewer bits between updates."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.adapter import Link, check_pair, link_name
from ..core.caching import Interned
from ..core.chain import ChainUpdate
from ..core.engine.rule_update import RuleUpdate
from ..core.leaf.packing import held_together
from ..core.leaf.quantized import decode_state, encoded_as, is_stored
from ..core.numerics.precision import safe_increment
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.init import ENGINE_FIELDS
from ..core.rules.rng_keys import Key, as_key, key_at
from ..core.state import State, nested_states
from ..core.trees.containers import content, is_container
from ..core.trees.placement import beside
from ..core.trees.structure import path_string
from ..transforms.masking import MaskedUpdate, PartitionUpdate
from .blocks import BLOCK
from .formats import FORMS

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
"""Slots that hold a mean or a sum of what gradients were, or of their squares: of this package's
rules and of optax's. What is left out are points (averages of parameters, masters), sums that are
still to be used, single gradients, and step sizes, in which an error stays."""


def low_bit_state(
    tx: GradientTransformation,
    form: str | Mapping[str, str] = "8bit",
    *,
    key: Any = None,
    min_size: int = 4096,
) -> GradientTransformation:
    """Holds the moments of a transformation in fewer bits between its updates.

    `update` decodes them to float32, computes with these, and encodes the new ones: the updates
    are those of the moments before they are rounded. The forms:

    - `"8bit"`: a code of 8 bits for each element, and for each block of 256 the largest magnitude
      `s`, in float32: 1.016 bytes for each element instead of 4. A code stands for one of 256
      numbers `y`, the element for `y s`. The numbers are finer towards 0: 1, and the middles of
      equal parts of the decades from 1e-7 to 1, with a sign of 1, 2, ..., 64 parts. A block
      without negative elements, as of second moments, has the numbers without a sign, which are
      twice as many. The error of an element is at most 0.00704 s, or 0.00352 s without a sign;
      of those below 1e-6 s little is left, but where there is no sign, they stay positive.
    - `"bfloat16"`: 2 bytes for each element, a relative error of at most 2^-9, or 2^-8 with key.

    An array stands in the state as a node of `codes` and `scales`, or of `rounded`: the path of a
    moment's codes reads `scale_by_adam.mu.dense.kernel.codes`. Codes have the shape of the array,
    and are sharded as it is. Blocks lie along its last axis, or where this has less than 256
    elements over several: of `(1000, 10)`, 25 rows are a block; a block ends with its axis.
    Blocks with an element that is not finite have none that is. Other functions know these nodes:
    checkpoints are converted between the forms and float32 by what they are restored to, and
    `decode_state` gives the state in float32.

    A mean moves by a small part of itself at each update. Rounded to the nearest number, it stays
    where it is if this part is small; so do 8 bits, but for the scale, by which all elements of a
    block move together. With a key, numbers are rounded up or down at random, so that their mean
    is right.

    Args:
      tx: any pair `(init, update)`, of this package or another, also a chain.
      form: of all moments, which are found by the names of their slots (`mu`, `nu`, `trace`,
        `sum_of_squares`, ...); or name -> form for those that are named, of any slots. What is
        not an array of float32 stays as it is.
      key: integer or key of `jax.random.key`, to round at random. Then the state has a count,
        the key, and `inner_state`; otherwise it is that of tx, without a level of its own. The
        numbers depend on key, count and place of the array in the state, and not on how arrays
        are sharded.
      min_size: arrays of fewer elements stay as they are; at least 256.

    Differences: optax has no such wrapper. bitsandbytes rounds a second moment to 0 that is
    below 1.6e-7 s, and divides by the root of it; its blocks go on from one row to the next.

    Raises:
      TypeError: tx is not a pair of functions, or min_size not an integer.
      ValueError: there is no such form; min_size is below 256; or (by `init`) the state has no
        slot of a name that form has, or large arrays, and none of them is a moment.

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
    init, update = check_pair("low_bit_state: tx", tx)
    forms = dict(form) if isinstance(form, Mapping) else dict.fromkeys(MOMENTS, form)
    for name in forms.values():
        if name not in FORMS:
            raise ValueError(
                f"low_bit_state: form must be one of {', '.join(map(repr, FORMS))}, or a dict of "
                f"them by slot, got {name!r}."
            )
    min_size = as_count(min_size, "low_bit_state: min_size", least=BLOCK)
    own = None if key is None else as_key(key, "low_bit_state: key")
    named = isinstance(form, Mapping)
    made = LowBitInit(init, link_name(init, update), tuple(forms.items()), named, min_size, own)
    if own is None and _decodes(update):
        return GradientTransformation(made, update)
    generator = None if own is None else own.generator
    return GradientTransformation(
        made, LowBitUpdate.of(Link.to(update), own is not None, generator)
    )


def _decodes(update: Any) -> bool:
    """Tells whether an update consists of leaf rules only, whose slots the engine decodes.

    A leaf at a time: the others are taken for functions of the whole state.
    """
    if isinstance(update, ChainUpdate):
        return all(_decodes(link.function) for link in update.links)
    if isinstance(update, MaskedUpdate):
        return _decodes(update.link.function)
    if isinstance(update, PartitionUpdate):
        return all(_decodes(link.function) for _, link in update.links)
    return isinstance(update, RuleUpdate) and not update.rule.spec.whole_tree


@dataclasses.dataclass(frozen=True)
class LowBitInit:
    """`init` of a transformation whose moments are held in fewer bits."""

    init: Callable[..., Any]
    inner_name: str
    forms: tuple[tuple[str, str], ...]
    named: bool
    min_size: int
    key: Key | None

    @property
    def name(self) -> str:
        """That of the transformation, whose state has no level of its own without a key."""
        return self.inner_name if self.key is None else "low_bit_state"

    def __call__(self, params: PyTree) -> Any:
        """Makes the state, and encodes its moments."""
        state = self.init(params)
        held = self._encoded(state)
        if self.key is None:
            return held
        own = {"count": jnp.zeros((), np.int32), "keys": {"key": self.key.words()}}
        place = beside(jax.tree.leaves(params))
        return State(**jax.tree.map(place, own), inner_state=held)

    def _encoded(self, state: PyTree) -> PyTree:
        treedef: Any
        # What is encoded takes the place of its container, too: `nnx` lets one hold an array only.
        flat, treedef = jax.tree_util.tree_flatten_with_path(
            state, is_leaf=lambda x: is_stored(x) or is_container(x)
        )
        forms, small = dict(self.forms), held_together(state)
        slots = list(_slots(state, [path for path, _ in flat], forms))
        large = [id(x) not in small and self._is_large(content(x)) for _, x in flat]
        chosen = [forms.get(slot) if big else None for slot, big in zip(slots, large, strict=True)]
        of_large = [path for (path, _), big in zip(flat, large, strict=True) if big]
        self._check(slots, of_large, chosen)
        pairs = zip(chosen, flat, strict=True)
        return treedef.unflatten(
            [x if name is None else FORMS[name].of(content(x), None) for name, (_, x) in pairs]
        )

    def _is_large(self, x: Any) -> bool:
        is_float = getattr(x, "dtype", None) == np.float32 and not is_stored(x)
        return is_float and x.size >= self.min_size

    def _check(self, slots: list[str], large: list[Any], chosen: list[str | None]) -> None:
        unknown = [name for name, _ in self.forms if name not in slots]
        if self.named and unknown:
            known = ", ".join(sorted({name for name in slots if name})) or "none"
            raise ValueError(
                f"low_bit_state: form names the slot {unknown[0]!r}, which this state does not "
                f"have. Its slots are: {known}."
            )
        if large and not any(chosen):
            raise ValueError(
                "low_bit_state: none of the state's large arrays is known to be a moment; there "
                f"is '{path_string(large[0])}'. Name slots that may be held in fewer bits: "
                "form={'name': '8bit'}."
            )

    def __repr__(self) -> str:
        forms = dict(self.forms) if self.named else self.forms[0][1]
        key = "" if self.key is None else f", key={self.key.value!r}"
        return f"low_bit_state({self.init!r}, {forms!r}{key})"


def _slots(state: PyTree, paths: list[Any], wanted: Mapping[str, str]) -> Iterator[str]:
    """Returns, for each path, the name of its slot; empty where it is in none."""
    links = [
        path for path, node in nested_states(state) if {"count", "hyperparams"} <= {*node._fields}
    ]
    for path in paths:
        own = max((k for k in links if path[: len(k)] == k), key=len, default=None)
        names = [k.name for k in path[len(own or ()) :] if isinstance(k, jax.tree_util.GetAttrKey)]
        if own is not None:
            yield names[0] if names[0] not in ENGINE_FIELDS else ""
        else:  # of a foreign link: which of the names is a slot's can be seen of those wanted
            yield next((name for name in names if name in wanted), names[-1] if names else "")


@dataclasses.dataclass(frozen=True)
class LowBitUpdate(Interned):
    """`update` of a transformation whose moments are held in fewer bits."""

    inner: Link
    random: bool
    generator: str | None

    @property
    def is_cacheable(self) -> bool:
        """As long as the inner one is."""
        return getattr(self.inner.function, "is_cacheable", False)

    def __call__(
        self, updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        """Decodes the moments, updates, and encodes the new ones."""
        if not self.random:
            new, after = self.inner(updates, decode_state(state), params, extra)
            return new, encoded_as(state, after, None)
        before = state.inner_state
        new, after = self.inner(updates, decode_state(before), params, extra)
        key = key_at(state.keys["key"], self.generator, state.count)
        held = encoded_as(before, after, key)
        return new, state._replace(count=safe_increment(state.count), inner_state=held)
