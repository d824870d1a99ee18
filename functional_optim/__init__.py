"""Optimizers for JAX: pure update rules over pytrees, and torch.optim's interface on them."""

from .algorithms.adam import adam, adamw, scale_by_adam
from .algorithms.lion import lion, scale_by_lion
from .algorithms.rmsprop import rmsprop, scale_by_rms
from .algorithms.sgd import sgd
from .core.apply import apply_updates
from .core.chain import chain
from .core.hyperparams import get_hyperparams, set_hyperparams
from .core.labels import path_labels
from .core.norms import global_norm
from .core.protocol import (
    GradientTransformation,
    MaskedNode,
    TransformInitFn,
    TransformUpdateFn,
    identity,
)
from .core.rule import leaf_rule
from .core.schedule import schedule
from .core.state import State
from .schedules.decay import linear_schedule
from .transforms.clipping import clip, clip_by_global_norm
from .transforms.masking import freeze, masked, partition, set_to_zero
from .transforms.momentum import ema, trace
from .transforms.scaling import scale, scale_by_learning_rate, scale_by_schedule
from .transforms.weight_decay import add_decayed_weights

__all__ = [
    "GradientTransformation",
    "MaskedNode",
    "State",
    "TransformInitFn",
    "TransformUpdateFn",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "chain",
    "clip",
    "clip_by_global_norm",
    "ema",
    "freeze",
    "get_hyperparams",
    "global_norm",
    "identity",
    "leaf_rule",
    "linear_schedule",
    "lion",
    "masked",
    "partition",
    "path_labels",
    "rmsprop",
    "scale",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_rms",
    "scale_by_schedule",
    "schedule",
    "set_hyperparams",
    "set_to_zero",
    "sgd",
    "trace",
]

__version__ = "0.1.0"
