"""Serving leaves: who gets a kernel."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import jax

from ..core.passes import Pass
from ..core.server import LeafArrays, LeafForm
from . import library
from .call import call
from .plan import plan_of
from .switch import is_enabled

__all__ = ["recorded", "server"]

_recording = threading.local()


@contextlib.contextmanager
def recorded() -> Iterator[dict[str, None]]:
    """Collects the functions that leaves could be served with, while XLA serves them."""
    bodies: dict[str, None] = {}
    before, _recording.bodies = getattr(_recording, "bodies", None), bodies
    try:
        yield bodies
    finally:
        _recording.bodies = before


def server(rules: Pass, arrays: LeafArrays, form: LeafForm, row: int, number: int) -> Any:
    """What a kernel makes of a leaf; None where XLA is to do it.

    That is so where no kernel is built for the maths or the dtypes; outside of a trace, for
    each leaf would compile a program of its own; and where an array is laid out on a mesh.
    """
    if not _pays(arrays, form):
        return None
    bodies = getattr(_recording, "bodies", None)
    if bodies is not None:
        plan, _ = plan_of(rules, arrays, form)
        bodies.update({plan.body.text: None} if plan else {})
        return None
    if not is_enabled() or not library.has_any() or not _is_plain(arrays.update):
        return None
    plan, flat = plan_of(rules, arrays, form)
    found = library.find(plan.body.text) if plan else None
    if plan is None or found is None or not all(map(_has_no_mesh, flat)):
        return None
    return call(plan, flat, row, number, *found)


def _pays(arrays: LeafArrays, form: LeafForm) -> bool:
    """Whether a kernel saves anything: it makes the parameter and slots in one reading.

    XLA, which has a loop for each result, joins one that makes an update to what adds it. A
    kernel there would write the update to memory, in pages that are new at each step, and take
    three times as long.
    """
    return form.adds and any(arrays.slots)


def _is_plain(update: Any) -> bool:
    """Whether an update is traced, in a program for the CPU."""
    return isinstance(update, jax.core.Tracer) and jax.default_backend() == "cpu"


def _has_no_mesh(x: Any) -> bool:
    aval = jax.typeof(x)
    return aval.sharding.mesh.empty and not getattr(aval, "vma", None)
