"""Adding updates to parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef
from jax.typing import DTypeLike

from ..numerics.precision import compute_dtype, wider
from ..protocol import PyTree
from ..state import KeyPath
from .placement import sharded_as
from .sparse_rows import Rows, check_rows, coalesced, empty_rows
from .structure import align, is_absent, is_sparse, path_string

__all__ = ["apply_updates", "add_update", "no_update", "no_updates", "replace_leaves"]


Array = jax.Array


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """Adds updates to parameters in at least float32, and casts each sum once to the old dtype.

    A parameter whose update is None is returned unchanged. An update of a wider dtype than
    its parameter is added in the wider one: a link that computes the new parameter itself
    returns the exact float32 difference, and the sum is that parameter.

    Args:
      params: tree of arrays.
      updates: tree of the same structure and shapes, or None in place of an update. A BCOO of
        some rows, as `row_sparse` makes it, is added to these rows alone.

    Raises:
      ValueError: structure or a shape differs; the message names the leaf.

    Example:
      >>> apply_updates({"w": jnp.ones(2), "b": jnp.ones(1)}, {"w": -0.5 * jnp.ones(2), "b": None})
      {'b': Array([1.], dtype=float32), 'w': Array([0.5, 0.5], dtype=float32)}
    """
    return replace_leaves(params, updates, add_update)


def replace_leaves(
    params: PyTree, updates: PyTree, put: Callable[[Array, Array, KeyPath], Array]
) -> PyTree:
    """Replaces each parameter by `put(p, u, path)` where `updates` has a leaf u for it."""
    treedef: PyTreeDef
    flat, treedef = jax.tree_util.tree_flatten_with_path(params)
    column = align(params, updates, link="apply_updates", name="updates")
    return treedef.unflatten(
        [p if is_absent(u) else put(p, u, path) for (path, p), u in zip(flat, column, strict=True)]
    )


def add_update(p: Any, u: Any, path: KeyPath | None = None) -> Array:
    """Adds an update, dense or of some rows, to one parameter; errors show the path."""
    p, u = _as_array(p), _as_array(u)  # Python numbers too
    if u.dtype == jax.dtypes.float0:  # the gradient of an integer
        return p
    if p.shape != u.shape:
        raise ValueError(
            f"apply_updates:{_at(path)} the update has shape {u.shape}, and the parameter "
            f"{p.shape}."
        )
    if jnp.iscomplexobj(u) and not jnp.iscomplexobj(p):
        raise TypeError(
            f"apply_updates: the update{_at(path)} is complex, and the parameter real. Pass the "
            "gradient of a real function of these parameters."
        )
    if not jnp.issubdtype(p.dtype, jnp.inexact):
        # Integers are added in their dtype, because float32 would round large ones.
        if u.dtype == p.dtype and not is_sparse(u):
            return p + u
        raise TypeError(
            f"apply_updates: the parameter{_at(path)} has dtype {p.dtype}, and its update "
            f"{u.dtype}. Pass None as the update of a parameter that is not trained."
        )
    dtype = compute_dtype(wider(p.dtype, u.dtype))
    if is_sparse(u):
        check_rows(f"apply_updates: the update{_at(path)}", u)
        u = coalesced(u, dtype)
    # For a sparse update, only its rows are read, added and written.
    rows = Rows(u)
    # lax, not jnp: it traces in a third of the time, and this runs for each leaf.
    p_rows, u_rows = rows.of(p), rows.values
    total = jax.lax.add(_to(p_rows, dtype), _to(sharded_as(u_rows, p_rows), dtype))
    return rows.put(p, _to(total, p.dtype))


def _at(path: KeyPath | None) -> str:
    """Formats the path of a leaf for a message; empty if the path is unknown."""
    return "" if path is None else f" at '{path_string(path)}'"


def _as_array(x: Any) -> Array:
    # Arrays of NumPy may be of float64, which JAX has under x64 only, or of float0.
    is_numpy = isinstance(x, np.ndarray) and x.dtype != jax.dtypes.float0
    return jnp.asarray(x) if is_numpy or not hasattr(x, "dtype") else x


def _to(x: Array, dtype: DTypeLike) -> Array:
    return x if x.dtype == dtype else jax.lax.convert_element_type(x, dtype)


def no_update(g: Any) -> Any:
    """Returns an update that changes no bit of a parameter: -0, because -0 + 0 is 0."""
    if is_sparse(g):
        return empty_rows(g)
    return g if is_absent(g) else jnp.full_like(g, -0.0)


def no_updates(updates: PyTree) -> PyTree:
    """Returns updates that change no bit of the parameters; see `no_update`."""
    return jax.tree.map(no_update, updates, is_leaf=is_sparse)
