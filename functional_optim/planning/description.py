"""Records that describe the effect of a transformation on each parameter, and print as text."""

import dataclasses
import math
from collections.abc import Iterable

import jax

from ..core.protocol import Hyperparameter
from ..core.trees.labels import short_repr

__all__ = ["Description", "LeafRecord", "LinkRecord", "SlotRecord", "bytes_per_device"]


def bytes_per_device(arrays: Iterable[jax.ShapeDtypeStruct]) -> int | None:
    """Returns the bytes of arrays on each device of their mesh; None if some has no sharding."""
    total = 0
    for x in arrays:
        if x.sharding is None:
            return None
        total += math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    return total


@dataclasses.dataclass(frozen=True)
class SlotRecord:
    """A slot: the name, shape, dtype and sharding of an array that a link keeps for a parameter."""

    name: str
    array: jax.ShapeDtypeStruct

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return self.array.size * self.array.dtype.itemsize

    @property
    def nbytes_on_a_device(self) -> int | None:
        """Bytes of one device's shard; None without a mesh."""
        return bytes_per_device([self.array])

    def __str__(self) -> str:
        size = _bytes(self.nbytes, self.nbytes_on_a_device)
        return f"{self.name} {_array(self.array)}, {size}"


@dataclasses.dataclass(frozen=True)
class LinkRecord:
    """A link that acts on a parameter.

    Attributes:
      path: path of the link's state: `scale_by_adam`.
      text: the call that made the link; the name of a link from another package.
      known: whether the hyperparameters are known; for links from other packages they are not.
      hyperparams: name -> value or schedule, for this parameter.
      slots: the arrays that the link keeps for this parameter.
      is_rule: whether hyperparams has all numbers; otherwise the call shows them.
    """

    path: str
    text: str
    known: bool
    hyperparams: dict[str, Hyperparameter]
    slots: tuple[SlotRecord, ...]
    is_rule: bool = True

    def __str__(self) -> str:
        values = ", ".join(f"{k}={short_repr(v)}" for k, v in self.hyperparams.items())
        summary = values if self.is_rule else self.text
        summary += "" if self.known else ", hyperparameters unknown"
        lines = [f"{self.path}: {summary}" if summary else self.path]
        return "\n".join([*lines, *(f"  {slot}" for slot in self.slots)])


@dataclasses.dataclass(frozen=True)
class LeafRecord:
    """Describes the links that act on one parameter, and their state.

    Attributes:
      path: dotted path of the parameter.
      array: shape, dtype and sharding of the parameter.
      routes: the masks and labels of the parameter with their reasons, outermost first.
      links: the links that act on the parameter, in order.
    """

    path: str
    array: jax.ShapeDtypeStruct
    routes: tuple[str, ...]
    links: tuple[LinkRecord, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the slots of this parameter."""
        return sum(slot.nbytes for link in self.links for slot in link.slots)

    @property
    def nbytes_on_a_device(self) -> int | None:
        """Bytes of the slots on each device; None without a mesh."""
        if self.array.sharding is None:
            return None
        return bytes_per_device(slot.array for link in self.links for slot in link.slots)

    def __str__(self) -> str:
        size = _bytes(self.nbytes, self.nbytes_on_a_device)
        lines = [f"{self.path}: {_array(self.array)}, state {size}", *self.routes]
        links = [line for link in self.links for line in str(link).splitlines()]
        return "\n  ".join([*lines, *(links or ["no link acts on it"])])


@dataclasses.dataclass(frozen=True)
class Description:
    """Describes the effect of a transformation on each parameter; prints as text.

    Attributes:
      leaves: one record for each parameter, in the order of the tree.
      nbytes: bytes of the state.
      nbytes_on_a_device: bytes of the state on each device; None without a mesh.
      question: the error of `init` if it cannot know which parameters are matrices; the leaves then
        have routes, and neither links nor state.
    """

    leaves: tuple[LeafRecord, ...]
    nbytes: int
    nbytes_on_a_device: int | None
    question: str = ""

    @property
    def shared(self) -> int:
        """Bytes of the state that all parameters share: counts, hyperparameters, metrics."""
        return self.nbytes - sum(leaf.nbytes for leaf in self.leaves)

    def __getitem__(self, path: str) -> LeafRecord:
        """Returns the record of the parameter at a dotted path."""
        for leaf in self.leaves:
            if leaf.path == path:
                return leaf
        paths = ", ".join(leaf.path for leaf in self.leaves)
        raise KeyError(f"there is no parameter at {path!r}. The paths are: {paths}.")

    @property
    def total(self) -> str:
        """One line about all parameters and the whole state."""
        size = sum(leaf.array.size for leaf in self.leaves)
        shared = f"{self.shared:,} of them shared"
        state = f"{_bytes(self.nbytes, self.nbytes_on_a_device)}, {shared}"
        return f"{len(self.leaves)} parameters of {size:,} elements; state: {state}"

    def __str__(self) -> str:
        return self.question or "\n".join([*map(str, self.leaves), self.total])

    __repr__ = __str__


def _array(x: jax.ShapeDtypeStruct) -> str:
    spec = f", {x.sharding.spec}" if hasattr(x.sharding, "spec") else ""
    return f"{x.dtype.name}{list(x.shape)}{spec}"


def _bytes(n: int, on_a_device: int | None = None) -> str:
    whole = f"{n:,} byte{'s' * (n != 1)}"
    return whole if on_a_device is None else f"{whole} ({on_a_device:,} on a device)"
