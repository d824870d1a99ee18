"""Runs leaves by native kernels, if these are built."""

from collections.abc import Iterator, Sequence

import jax

from ..core.engine.executors import LeafCall, LeafFunction, Result
from . import library
from .call import Leaf
from .call import call as call_kernel
from .plan import Plan, find_plan
from .switch import recorded_bodies

__all__ = ["claims", "run"]

# The compile time of a program grows with the number of calls and with their operands, and is
# shortest at about this many leaves per call. Large leaves have a call each, because a call can
# only start when all of its gradients are computed.
_LEAVES_OF_A_CALL, _LARGE = 16, 2**18


def claims(function: LeafFunction, call: LeafCall) -> bool:
    """Tells whether a kernel is built for this leaf; `native.gate` asks if one would save time.

    While functions are recorded, the leaf's function is added to them and XLA runs the leaf. A leaf
    that is sharded over a mesh has no kernel.
    """
    plan, flat = find_plan(function, call)
    bodies = recorded_bodies()
    if bodies is not None:
        bodies.update({} if plan is None else {plan.body.text: None})
        return False
    has_kernel = plan is not None and library.find(plan.body.text) is not None
    return has_kernel and all(map(_has_no_mesh, flat))


def run(function: LeafFunction, calls: Sequence[LeafCall]) -> list[Result]:
    """Runs the leaves; leaves of the same plan share calls."""
    results: dict[int, Result] = {}
    for plan, leaves in _batches(function, calls):
        kernel = library.find(plan.body.text)
        assert kernel is not None  # because the leaves were claimed
        outputs = call_kernel(plan, list(leaves.values()), *kernel)
        results |= dict(zip(leaves, outputs, strict=True))
    return [results[k] for k in range(len(calls))]


def _batches(
    function: LeafFunction, calls: Sequence[LeafCall]
) -> Iterator[tuple[Plan, dict[int, Leaf]]]:
    """Yields the plan and the leaves of each call, by their position in `calls`."""
    waiting: dict[Plan, dict[int, Leaf]] = {}
    for k, call in enumerate(calls):
        plan, flat = find_plan(function, call)
        assert plan is not None  # because the leaf was claimed
        leaf = Leaf(flat, call.batch[0], call.tree_indices[0])
        if call.update.size >= _LARGE:
            yield plan, {k: leaf}
            continue
        batch = waiting.setdefault(plan, {})
        batch[k] = leaf
        if len(batch) == _LEAVES_OF_A_CALL:
            yield plan, waiting.pop(plan)
    yield from waiting.items()


def _has_no_mesh(x: jax.Array) -> bool:
    return jax.typeof(x).sharding.mesh.empty
