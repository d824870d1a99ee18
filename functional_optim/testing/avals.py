"""Checks the structure, shapes and dtypes of states and updates."""

import contextlib
from contextlib import AbstractContextManager

import chex
import jax
import jax.numpy as jnp

from .case import Case
from .comparison import assert_same_structure, leaves_by_path, saying
from .registry import conformance

__all__ = ["check_shapes", "check_state", "check_updates"]

NARROW = ("float16", "bfloat16")


def precision(dtype: str) -> AbstractContextManager[object]:
    """Returns a context in which arrays can have a dtype: with x64 for wide dtypes."""
    wide = dtype in ("float64", "complex128")
    return jax.enable_x64(True) if wide else contextlib.nullcontext()


def pairs(case: Case) -> list[tuple[str, str]]:
    """Returns pairs of dtypes of parameters and gradients.

    The two are equal, or the gradients are float32 and the parameters narrower.
    """
    same = [(dtype, dtype) for dtype in case.dtypes]
    return same + [(d, "float32") for d in case.dtypes if d in NARROW]


@conformance("Return each leaf of the state in the dtype that init gave it.")
def check_state(case: Case) -> None:
    """Checks that update returns a state with the structure that init made, for each dtype.

    Structure, shapes, dtypes and weak types must not change, also if parameters are narrow and
    gradients float32. Otherwise the state cannot be a carry of `lax.scan` or be donated, and a
    step is compiled twice.
    """
    for dtype, grad_dtype in pairs(case):
        with precision(dtype):
            state, (_, after) = case.shapes_after(dtype, grad_dtype)
            what = f"with {dtype} parameters and {grad_dtype} gradients, the state"
            assert_same_structure(state, after, what, "after init", "after update")


@conformance("Return one update for each gradient, of its shape, and real if it is real.")
def check_updates(case: Case) -> None:
    """Checks that updates have the structure, the shapes and the kind of dtype of the gradients."""
    for dtype in case.dtypes:
        with precision(dtype):
            grads, (_, result) = case.grads(dtype), case.shapes_after(dtype, dtype)
            assert isinstance(result, tuple), (
                f"update returns a {type(result).__name__}, not a pair."
            )
            assert len(result) == 2, f"update returns {len(result)} values, not a pair."
            before, after = leaves_by_path(grads), leaves_by_path(result[0])
            for path in (*before, *after):
                g, u = before.get(path), after.get(path)
                assert g is not None, f"the updates have a leaf at '{path}', the gradients none."
                assert u is not None, f"the updates have no leaf at '{path}', the gradients one."
                with saying(f"the update at '{path}' has shape {u.shape}, not {g.shape}."):
                    chex.assert_equal_shape((g, u))
            is_complex = [
                jnp.issubdtype(x.dtype, jnp.complexfloating) for x in jax.tree.leaves(result[0])
            ]
            may_be_complex = jnp.issubdtype(dtype, jnp.complexfloating)
            assert may_be_complex or not any(is_complex), (
                f"with {dtype} gradients, an update is complex."
            )


@conformance("Read only shape and dtype of the parameters in init, never a value or a device.")
def check_shapes(case: Case) -> None:
    """Checks that init and update need only shapes.

    `init` of `jax.ShapeDtypeStruct` leaves, and both within `jax.eval_shape`, must return the
    structure of `init` of arrays: checkpoints are restored and shardings are planned in this way.
    """
    params, grads, state = case.params(), case.grads(), case.state
    shapes = jax.eval_shape(lambda: params)
    for what, other in (
        ("jax.eval_shape(init, shapes)", jax.eval_shape(case.init, shapes)),
        ("init(shapes)", case.init(shapes)),
    ):
        assert_same_structure(state, other, f"the state of {what}", "by init(arrays)", "here")
    case.jitted_update.eval_shape(grads, jax.eval_shape(lambda: state), shapes)
