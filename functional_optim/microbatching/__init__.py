"""Evaluates functions of large batches on one microbatch after another."""

from .accumulators import AccumulationType, Accumulator
from .batches import reshape_batch_axis
from .loop import microbatch
from .per_example import IndividualOutputs, micro_grad, micro_vmap

__all__ = [
    "AccumulationType",
    "Accumulator",
    "IndividualOutputs",
    "micro_grad",
    "micro_vmap",
    "microbatch",
    "reshape_batch_axis",
]
