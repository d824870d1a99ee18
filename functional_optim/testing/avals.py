"""Checks of what a state is made of: structure, shapes, dtypes."""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp

from .comparing import law, same_law
from .registry import conformance
from .subject import Subject

__all__ = ["check_shapes", "check_state", "check_updates"]

NARROW = ("float16", "bfloat16")


def precision(dtype: str) -> AbstractContextManager[Any]:
    """What a dtype must be tried under."""
    wide = dtype in ("float64", "complex128")
    return jax.enable_x64(True) if wide else contextlib.nullcontext()


def pairs(subject: Subject) -> list[tuple[str, str]]:
    """Dtypes of parameters and gradients: the same, and float32 gradients of narrow parameters."""
    same = [(dtype, dtype) for dtype in subject.dtypes]
    return same + [(d, "float32") for d in subject.dtypes if d in NARROW]


@conformance("Return each leaf of the state as init made it: cast it to the dtype it has there.")
def check_state(subject: Subject) -> None:
    """Checks that an update returns a state built as init made it, for each dtype.

    Structure, shapes, dtypes and weak types must stay, also where parameters are narrow and
    gradients float32: only such a state is a carry of `lax.scan`, is donated, and does not
    compile a step again.
    """
    for dtype, of_grads in pairs(subject):
        with precision(dtype):
            params, grads = subject.params(dtype), subject.grads(of_grads)
            state = subject.init(params)
            _, after = jax.eval_shape(subject.update, grads, state, params)
            what = f"with {dtype} parameters and {of_grads} gradients, the state"
            same_law(state, after, what, "after init", "after update")


@conformance("Return one update for each gradient, shaped as it, and real for a real one.")
def check_updates(subject: Subject) -> None:
    """Checks that updates are built as the gradients: structure, shapes, floating point."""
    for dtype in subject.dtypes:
        with precision(dtype):
            params, grads = subject.params(dtype), subject.grads(dtype)
            state = subject.init(params)
            result = jax.eval_shape(subject.update, grads, state, params)
            assert isinstance(result, tuple), f"update returns a {type(result).__name__}, no pair."
            assert len(result) == 2, f"update returns {len(result)} values, no pair."
            given, made = law(grads), law(result[0])
            for path in (*given, *made):
                a, b = given.get(path), made.get(path)
                assert a is not None, f"the updates have a leaf at '{path}', the gradients none."
                assert b is not None, f"the updates have no leaf at '{path}', the gradients one."
                assert a[1:] == b[1:], f"the update at '{path}' has shape {b[1]}, not {a[1]}."
            kinds = [jnp.iscomplexobj(jnp.empty(0, x.dtype)) for x in jax.tree.leaves(result[0])]
            wanted = jnp.issubdtype(dtype, jnp.complexfloating)
            assert not any(kinds) or wanted, f"with {dtype} gradients, an update is complex."


@conformance("Read shape and dtype of the parameters in init, never a value or a device.")
def check_shapes(subject: Subject) -> None:
    """Checks that init and update know what they make from shapes alone.

    `init` of `jax.ShapeDtypeStruct` leaves, and both within `jax.eval_shape`, must give what
    `init` of arrays does: so a checkpoint's target is made, and a state's sharding planned.
    """
    params, grads = subject.params(), subject.grads()
    state = subject.init(params)
    shapes = jax.eval_shape(lambda: params)
    for what, made in (
        ("jax.eval_shape(init, arrays)", jax.eval_shape(subject.init, params)),
        ("jax.eval_shape(init, shapes)", jax.eval_shape(subject.init, shapes)),
        ("init(shapes)", subject.init(shapes)),
    ):
        same_law(state, made, f"the state of {what}", "by init(arrays)", "here")
    jax.eval_shape(subject.update, grads, jax.eval_shape(lambda: state), shapes)
