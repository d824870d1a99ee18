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
from ..core.by_label import by_label
from ..core.chain import chain
from ..core.protocol import GradientTransformation
from ..transforms.clipping import clip_by_global_norm

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


def _of_torch() -> list[GradientTransformation]:
    """What the classes make of their options; an option that is not used is None to them."""
    return [
        optim.SGD.recipe(momentum=None),
        optim.SGD.recipe(momentum=0.9),
        optim.SGD.recipe(momentum=0.9, nesterov=True),
        optim.Adam.recipe(),
        optim.AdamW.recipe(),
        optim.AdamW.recipe(amsgrad=True),
        optim.Adagrad.recipe(),
        optim.Adamax.recipe(),
        optim.NAdam.recipe(),
        optim.RAdam.recipe(),
        optim.RMSprop.recipe(momentum=None),
        optim.RMSprop.recipe(momentum=0.9),
    ]
