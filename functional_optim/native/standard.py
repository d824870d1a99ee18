"""The transformations whose kernels `python -m functional_optim.native` builds."""

from collections.abc import Iterator

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
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.by_label import by_label
from ..optim.torch_optimizer import TorchOptimizer
from ..transforms.clipping import clip_by_global_norm
from ..transforms.leaf_counts import per_leaf_counts

__all__ = ["DTYPES", "standard"]

DTYPES = ("float32", "bfloat16")
"""Dtypes of parameters and gradients."""


def standard() -> Iterator[tuple[GradientTransformation, PyTree]]:
    """Yields the transformations, each with parameters of every dtype.

    Kernels do not depend on the values of hyperparameters, which are therefore arbitrary.
    """
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
    for tx in (*common, *others, *_torch_transformations()):
        yield tx, params
    for tx in common:
        yield chain(clip_by_global_norm(1.0), tx), params
    # The state after an update in which a gradient was None.
    for tx in (adam(1.0), adamw(1.0), adamw(1.0, weight_decay=by_dtype)):
        yield per_leaf_counts(tx), params


def _torch_transformations() -> list[GradientTransformation]:
    """Returns the transformations of torch's classes; None is an option that is not used."""
    return [
        _from_class(optim.SGD, momentum=None),
        _from_class(optim.SGD, momentum=0.9),
        _from_class(optim.SGD, momentum=0.9, nesterov=True),
        _from_class(optim.Adam),
        _from_class(optim.AdamW),
        _from_class(optim.AdamW, amsgrad=True),
        _from_class(optim.Adagrad),
        _from_class(optim.Adamax),
        _from_class(optim.NAdam),
        _from_class(optim.RAdam),
        _from_class(optim.RMSprop, momentum=None),
        _from_class(optim.RMSprop, momentum=0.9),
    ]


def _from_class(kind: type[TorchOptimizer], **options: object) -> GradientTransformation:
    """Returns the transformation of a class for its default options, replaced by `options`."""
    return kind.transformation(kind.default_options() | options)
