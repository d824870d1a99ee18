"""What a transformation does to each parameter, as records that print."""

import dataclasses
from typing import Any

import jax

__all__ = ["Description", "LeafRecord", "LinkRecord", "SlotRecord"]


@dataclasses.dataclass(frozen=True)
class SlotRecord:
    """An array that a link keeps for one parameter; `array` has its shape, dtype and sharding."""

    name: str
    array: jax.ShapeDtypeStruct

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array, wherever its parts lie."""
        return self.array.size * self.array.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.name} {_array(self.array)}, {_bytes(self.nbytes)}"


@dataclasses.dataclass(frozen=True)
class LinkRecord:
    """A link that acts on a parameter.

    Attributes:
      path: where its state is: `scale_by_adam`.
      text: how it was made; for a foreign one, its name.
      known: whether it is a rule of this package; of others, the hyperparameters are unknown.
      hyperparams: name -> number or schedule, as for this parameter.
      slots: what it keeps for this parameter.
    """

    path: str
    text: str
    known: bool
    hyperparams: dict[str, Any]
    slots: tuple[SlotRecord, ...]

    def __str__(self) -> str:
        numbers = ", ".join(f"{k}={v!r}" for k, v in self.hyperparams.items())
        about = numbers if self.known else f"{self.text}, hyperparameters unknown"
        lines = [f"{self.path}: {about}" if about else self.path]
        return "\n".join([*lines, *(f"  {slot}" for slot in self.slots)])


@dataclasses.dataclass(frozen=True)
class LeafRecord:
    """What is done to one parameter.

    Attributes:
      path: its dotted path.
      array: its shape, dtype and sharding.
      routes: which mask or label it has, and why, from the outside to the inside.
      links: what acts on it, in order.
    """

    path: str
    array: jax.ShapeDtypeStruct
    routes: tuple[str, ...]
    links: tuple[LinkRecord, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the state that are kept for this parameter alone."""
        return sum(slot.nbytes for link in self.links for slot in link.slots)

    def __str__(self) -> str:
        lines = [f"{self.path}: {_array(self.array)}, state {_bytes(self.nbytes)}", *self.routes]
        links = [line for link in self.links for line in str(link).splitlines()]
        return "\n  ".join([*lines, *(links or ["no link acts on it"])])


@dataclasses.dataclass(frozen=True)
class Description:
    """What a transformation does to each parameter; prints as a text.

    Attributes:
      leaves: one record for each parameter, in the order of the tree.
      nbytes: bytes of the state; None where `init` of a foreign transformation fails.
    """

    leaves: tuple[LeafRecord, ...]
    nbytes: int | None

    @property
    def shared(self) -> int | None:
        """Bytes of the state that belong to no parameter: counts, hyperparameters, metrics."""
        if self.nbytes is None:
            return None
        return self.nbytes - sum(leaf.nbytes for leaf in self.leaves)

    def __getitem__(self, path: str) -> LeafRecord:
        """The record of the parameter at a dotted path."""
        for leaf in self.leaves:
            if leaf.path == path:
                return leaf
        raise KeyError(f"no parameter at {path!r}; there are {[x.path for x in self.leaves]}")

    def __str__(self) -> str:
        size = sum(leaf.array.size for leaf in self.leaves)
        state = "unknown: init raises an error"
        if self.nbytes is not None and self.shared is not None:
            state = f"{_bytes(self.nbytes)}, {self.shared:,} of them of no parameter"
        total = f"{len(self.leaves)} parameters of {size:,} elements; state: {state}"
        return "\n".join([*map(str, self.leaves), total])

    __repr__ = __str__


def _array(x: jax.ShapeDtypeStruct) -> str:
    placed = f", {x.sharding.spec}" if hasattr(x.sharding, "spec") else ""
    return f"{x.dtype.name}{list(x.shape)}{placed}"


def _bytes(n: int) -> str:
    return f"{n:,} byte{'s' * (n != 1)}"
