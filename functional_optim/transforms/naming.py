"""Chains with custom names of their links."""

import dataclasses

from ..core.adapter import check_pair
from ..core.chain import chain
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn
from ..core.signatures import named_init
from ..core.types import OptState

__all__ = ["named_chain"]


def named_chain(*transforms: tuple[str, GradientTransformation]) -> GradientTransformation:
    """Composes transformations like `chain`, with custom names for the links' states.

    A chain with a name stays one link.

    Args:
      *transforms: pairs (name, transformation).

    Differences: optax's state is a dict; this one has the names as fields and as keys.

    Raises:
      TypeError: an argument is not such a pair.
      ValueError: a name is not an identifier, or is given twice.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.named_chain(("bound", fo.clip(1.0)), ("move", fo.sgd(0.5)))
      >>> state = tx.init({"w": 0.0})
      >>> state._fields, float(state["move"].scale_by_learning_rate.hyperparams["learning_rate"])
      (('bound', 'move'), 0.5)
    """
    names: list[str] = []
    for i, pair in enumerate(transforms):
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(
                f"named_chain: argument {i} must be a pair (name, transformation), got {pair!r}."
            )
        if not pair[0].isidentifier():
            raise ValueError(f"named_chain: the name {pair[0]!r} must be an identifier.")
        if pair[0] in names:
            raise ValueError(f"named_chain: the name {pair[0]!r} is given twice.")
        names.append(pair[0])
    return chain(*(_named(name, tx) for name, tx in transforms))


def _named(name: str, tx: GradientTransformation) -> GradientTransformation:
    init, update = check_pair(f"named_chain: {name!r}", tx)
    return GradientTransformation(_NamedInit(name, init), update)


@named_init
@dataclasses.dataclass(frozen=True)
class _NamedInit:
    """`init` of a link under a given name."""

    name: str
    init: TransformInitFn

    def __call__(self, params: PyTree) -> OptState:
        """Makes the link's state."""
        return self.init(params)

    def __repr__(self) -> str:
        return f"({self.name!r}, {self.init!r})"
