"""Serving leaves: who gets a kernel."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from ..core.passes import Pass
from ..core.server import LeafArrays, LeafCall, LeafForm
from . import library
from .call import Leaf
from .call import call as call_kernel
from .plan import Plan, plan_of
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


def server(rules: Pass, calls: Mapping[int, LeafCall]) -> Mapping[int, Any]:
    """What kernels make of leaves; the others are left to XLA.

    Those are left for which no kernel is built, by maths or dtypes; all leaves outside of a
    trace, for each would compile a program of its own; and what is laid out on a mesh.
    """
    calls = {i: call for i, call in calls.items() if _pays(call.arrays, call.form)}
    bodies = getattr(_recording, "bodies", None)
    if bodies is not None:
        plans = [plan_of(rules, call)[0] for call in calls.values()]
        bodies.update({plan.body.text: None for plan in plans if plan is not None})
        return {}
    if not calls or not is_enabled() or not library.has_any():
        return {}
    results: dict[int, Any] = {}
    for plan, batch in _batches(rules, calls):
        found = library.find(plan.body.text)
        if found is not None:
            made = call_kernel(plan, list(batch.values()), *found)
            results |= dict(zip(batch, made, strict=True))
    return results


# XLA's time for a program grows with its calls and with their operands, and is least at about
# this many leaves in a call. Large leaves are alone: a call waits for all of its gradients.
_TOGETHER, _LARGE = 16, 2**18


def _batches(rules: Pass, calls: Mapping[int, LeafCall]) -> Iterator[tuple[Plan, dict[int, Leaf]]]:
    """The leaves that can be served, with those together that are one call."""
    waiting: dict[Plan, dict[int, Leaf]] = {}
    for i, call in calls.items():
        plan, flat = plan_of(rules, call) if _is_plain(call.arrays.update) else (None, [])
        if plan is None or not all(map(_has_no_mesh, flat)):
            continue
        leaf = Leaf(flat, call.row, call.number)
        if call.arrays.update.size >= _LARGE:
            yield plan, {i: leaf}
            continue
        batch = waiting.setdefault(plan, {})
        batch[i] = leaf
        if len(batch) == _TOGETHER:
            yield plan, waiting.pop(plan)
    yield from waiting.items()


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
