"""Who does the maths of a leaf, if it is not the compiler."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

if TYPE_CHECKING:
    from .context import Context
    from .passes import Pass

__all__ = ["LeafArrays", "LeafCall", "LeafForm", "Server", "serve", "serve_with"]

Array = jax.Array
Scalars = dict[str, Array]


class LeafArrays(NamedTuple):
    """What a pass reads at one leaf."""

    update: Array
    slots: tuple[Scalars, ...]  # of each rule
    param: Array | None
    # Of each rule: the clocks' scalars of all leaves, `(n, k)`, and the extra trees at this leaf.
    own: tuple[tuple[Array | None, Scalars], ...]
    contexts: "tuple[Context, ...]"


class LeafForm(NamedTuple):
    """What shapes the program of a pass on one leaf."""

    dtype: Any  # of the update
    adds: bool  # whether the parameter is the result, and not its update


class LeafCall(NamedTuple):
    """A leaf, and what is to be done there."""

    arrays: LeafArrays
    form: LeafForm
    row: int  # the leaf's, among the clocks' scalars
    number: int  # its place in the tree


Result = tuple[Array, list[Scalars]]
"""What `Pass.on_leaf` gives."""

Server = Callable[["Pass", Mapping[int, LeafCall]], Mapping[int, Result]]
"""`(pass, calls)` -> the results of those calls that it has served."""

_server: Server | None = None


def serve_with(server: Server | None) -> None:
    """Lets a server see the leaves of a pass before the compiler does; None ends that."""
    global _server
    _server = server


def serve(rules: "Pass", calls: Mapping[int, LeafCall]) -> Mapping[int, Result]:
    """What the server makes of leaves; the others, or all without a server, are left."""
    return {} if _server is None else _server(rules, calls)
