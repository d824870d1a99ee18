"""Runs leaves by native kernels, where they are built."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax

from ..core.engine.executors import LeafCall, LeafFunction, Result
from . import library
from .call import Leaf
from .call import call as call_kernel
from .plan import Plan, plan_of
from .switch import recorded_bodies

__all__ = ["claims", "run"]

# XLA's time for a program grows with its calls and with their operands, and is least at about
# this many leaves in a call. Large leaves are alone, because a call waits for all its gradients.
_LEAVES_OF_A_CALL, _LARGE = 16, 2**18


def claims(fused: LeafFunction, call: LeafCall) -> bool:
    """Tells whether a kernel is built for this leaf; `native.gate` calls it where one would pay.

    While functions are recorded, it adds the leaf's, and leaves the leaf to XLA. A leaf that is
    sharded over a mesh has no kernel.
    """
    plan, flat = plan_of(fused, call)
    bodies = recorded_bodies()
    if bodies is not None:
        bodies.update({} if plan is None else {plan.body.text: None})
        return False
    has_kernel = plan is not None and library.find(plan.body.text) is not None
    return has_kernel and all(map(_has_no_mesh, flat))


def run(fused: LeafFunction, calls: Sequence[LeafCall]) -> list[Result]:
    """Runs the leaves, many of one kind in one call."""
    results: dict[int, Any] = {}
    for plan, leaves in _batches(fused, calls):
        kernel = library.find(plan.body.text)
        assert kernel is not None  # because the leaves were claimed
        outputs = call_kernel(plan, list(leaves.values()), *kernel)
        results |= dict(zip(leaves, outputs, strict=True))
    return [results[k] for k in range(len(calls))]


def _batches(
    fused: LeafFunction, calls: Sequence[LeafCall]
) -> Iterator[tuple[Plan, dict[int, Leaf]]]:
    """Groups the leaves that are one call."""
    waiting: dict[Plan, dict[int, Leaf]] = {}
    for k, call in enumerate(calls):
        plan, flat = plan_of(fused, call)
        assert plan is not None  # because the leaf was claimed
        leaf = Leaf(flat, call.batch[0], call.numbers[0])
        if call.update.size >= _LARGE:
            yield plan, {k: leaf}
            continue
        batch = waiting.setdefault(plan, {})
        batch[k] = leaf
        if len(batch) == _LEAVES_OF_A_CALL:
            yield plan, waiting.pop(plan)
    yield from waiting.items()


def _has_no_mesh(x: Any) -> bool:
    return jax.typeof(x).sharding.mesh.empty
