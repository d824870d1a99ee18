"""Who does the maths of a leaf, if it is not the compiler."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

if TYPE_CHECKING:
    from .context import Context
    from .passes import Pass

__all__ = ["LeafArrays", "LeafForm", "Server", "serve", "serve_with"]

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


Server = Callable[["Pass", LeafArrays, LeafForm, int, int], "tuple[Array, list[Scalars]] | None"]
"""`(pass, arrays, form, row, number)` -> what `Pass.on_leaf` gives of them, or None.

`row` is the leaf's row among the clocks' scalars, and `number` its place in the tree.
"""

_server: Server | None = None


def serve_with(server: Server | None) -> None:
    """Lets a server see each leaf before the compiler does; None ends that."""
    global _server
    _server = server


def serve(
    rules: "Pass", arrays: LeafArrays, form: LeafForm, row: int, number: int
) -> tuple[Array, list[Scalars]] | None:
    """What the server makes of a leaf; None where there is no server, or it leaves this one."""
    return None if _server is None else _server(rules, arrays, form, row, number)
