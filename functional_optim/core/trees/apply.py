"""Adding updates to parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..numerics.precision import compute_dtype, wider
from ..protocol import PyTree
from .placement import sharded_as
from .sparse_rows import Rows, check_rows, coalesced, is_sparse, no_rows
from .structure import align, is_absent, path_string

__all__ = ["apply_updates", "moved", "no_update", "no_updates", "put_leaves"]


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """Adds updates to parameters, each leaf in at least float32, cast once to its own dtype.

    A parameter whose update is None is returned as it is. An update of a wider dtype than
    its parameter is added in the wider one: a link that computes the new parameter itself
    returns the exact float32 difference, and the sum is that parameter.

    Args:
      params: tree of arrays.
      updates: tree of the same structure and shapes; None stands for no update. Of a BCOO of
        rows, as `row_sparse` makes it, only these rows are added.

    Raises:
      ValueError: structure or a shape differs; the message names the leaf.

    Example:
      >>> apply_updates({"w": jnp.ones(2), "b": jnp.ones(1)}, {"w": -0.5 * jnp.ones(2), "b": None})
      {'b': Array([1.], dtype=float32), 'w': Array([0.5, 0.5], dtype=float32)}
    """
    return put_leaves(params, updates, moved)


def put_leaves(params: PyTree, found: PyTree, put: Callable[[Any, Any, Any], Any]) -> PyTree:
    """Replaces each parameter by `put(p, x, path)` where `found` has an x for it."""
    treedef: Any
    flat, treedef = jax.tree_util.tree_flatten_with_path(params)
    column = align(params, found, link="apply_updates", name="updates")
    return treedef.unflatten(
        [p if is_absent(x) else put(p, x, path) for (path, p), x in zip(flat, column, strict=True)]
    )


def moved(p: Any, u: Any, path: Any = None) -> Any:
    """Adds an update to a parameter as `apply_updates` says; errors show the path."""
    p, u = _array(p), _array(u)
    if u.dtype == jax.dtypes.float0:
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
        if u.dtype == p.dtype and not is_sparse(u):
            return p + u
        raise TypeError(
            f"apply_updates: the parameter{_at(path)} has dtype {p.dtype}, and its update "
            f"{u.dtype}. Pass None as the update of what is not trained."
        )
    dtype = compute_dtype(wider(p.dtype, u.dtype))
    if is_sparse(u):
        check_rows(f"apply_updates: the update{_at(path)}", u)
        u = coalesced(u, dtype)
    rows = Rows(u)
    # lax, not jnp: it is a third of the time to trace, and there is one of these per leaf.
    p_rows, u_rows = rows.of(p), rows.values
    total = jax.lax.add(_to(p_rows, dtype), _to(sharded_as(u_rows, p_rows), dtype))
    return rows.put(p, _to(total, p.dtype))


def _at(path: Any) -> str:
    """Formats the path of a leaf for a message; empty where the caller adds it."""
    return "" if path is None else f" at '{path_string(path)}'"


def _array(x: Any) -> Any:
    return x if hasattr(x, "dtype") else jnp.asarray(x)


def _to(x: Any, dtype: Any) -> Any:
    return x if x.dtype == dtype else jax.lax.convert_element_type(x, dtype)


def no_update(g: Any) -> Any:
    """Returns an update that changes no bit of a parameter: -0, because -0 + 0 is 0."""
    if is_sparse(g):
        return no_rows(g)
    return g if is_absent(g) else jnp.full_like(g, -0.0)


def no_updates(updates: PyTree) -> PyTree:
    """Returns updates that change no bit of the parameters; see `no_update`."""
    return jax.tree.map(no_update, updates, is_leaf=is_sparse)
