"""The transformations whose kernels one command builds."""

from collections.abc import Iterator
from typing import Any

import jax

from .. import optim
from ..algorithms.adabelief import adabelief
from ..algorithms.adagrad import adagrad
from ..algorithms.adam import adam, adamw
from ..algorithms.adamax import adamax
from ..algorithms.lion import lion
from ..algorithms.nadam import nadam, nadamw
from ..algorithms.radam import radam
from ..algorithms.rmsprop import rmsprop
from ..algorithms.sgd import sgd
from ..core.chain import chain
from ..core.protocol import GradientTransformation
from ..core.rules.by_label import by_label
from ..optim.torch_optimizer import TorchOptimizer
from ..transforms.clipping import clip_by_global_norm
from ..transforms.leaf_counts import per_leaf_counts

__all__ = ["DTYPES", "standard"]

DTYPES = ("float32", "bfloat16")
"""Of parameters and gradients."""


def standard() -> Iterator[tuple[GradientTransformation, Any]]:
    """Transformations, each with parameters of every dtype. Numbers do not matter."""
    params = {dtype: jax.ShapeDtypeStruct((2,), dtype) for dtype in DTYPES}
    by_dtype = by_label(dict.fromkeys(DTYPES, 0.1), {name: name for name in DTYPES})
    common = [
        sgd(1.0),
        sgd(1.0, momentum=0.9),
        sgd(1.0, momentum=0.9, nesterov=True),
        adam(1.0),
        adamw(1.0),
        adamw(1.0, weight_decay=by_dtype),
        lion(1.0),
        lion(1.0, weight_decay=by_dtype),
    ]
    others = [
        adabelief(1.0),
        adagrad(1.0),
        adam(1.0, nesterov=True),
        adamax(1.0),
        nadam(1.0),
        nadamw(1.0),
        radam(1.0),
        rmsprop(1.0),
        rmsprop(1.0, momentum=0.9),
        rmsprop(1.0, centered=True),
    ]
    for tx in (*common, *others, *_of_torch()):
        yield tx, params
    for tx in common:
        yield chain(clip_by_global_norm(1.0), tx), params
    # The state after an update in which a gradient was None.
    for tx in (adam(1.0), adamw(1.0), adamw(1.0, weight_decay=by_dtype)):
        yield per_leaf_counts(tx), params


def _of_torch() -> list[GradientTransformation]:
    """Returns the transformations of torch's classes; an option that is not used is None."""
    return [
        _of_class(optim.SGD, momentum=None),
        _of_class(optim.SGD, momentum=0.9),
        _of_class(optim.SGD, momentum=0.9, nesterov=True),
        _of_class(optim.Adam),
        _of_class(optim.AdamW),
        _of_class(optim.AdamW, amsgrad=True),
        _of_class(optim.Adagrad),
        _of_class(optim.Adamax),
        _of_class(optim.NAdam),
        _of_class(optim.RAdam),
        _of_class(optim.RMSprop, momentum=None),
        _of_class(optim.RMSprop, momentum=0.9),
    ]


def _of_class(kind: type[TorchOptimizer], **options: Any) -> GradientTransformation:
    """Makes the transformation of a class with its default options, and with others."""
    return kind.transformation(kind.default_options() | options)
