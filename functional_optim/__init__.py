"""Optimizers for JAX: pure update rules over pytrees, and torch.optim's interface on them."""

from . import losses, projections, tree
from .algorithms.adadelta import adadelta, scale_by_adadelta
from .algorithms.adafactor import adafactor, scale_by_relative_step
from .algorithms.adagrad import adagrad, scale_by_rss
from .algorithms.adam import adam, adamw, scale_by_adam
from .algorithms.adamax import adamax, adamaxw, scale_by_adamax
from .algorithms.amsgrad import amsgrad, scale_by_amsgrad
from .algorithms.asgd import asgd, scale_by_asgd
from .algorithms.factored_rms import scale_by_factored_rms
from .algorithms.lion import lion, scale_by_lion
from .algorithms.nadam import nadam, nadamw
from .algorithms.radam import radam, scale_by_radam
from .algorithms.rmsprop import rmsprop, scale_by_rms
from .algorithms.rprop import rprop, scale_by_rprop
from .algorithms.sgd import sgd
from .algorithms.sparse_adam import scale_by_sparse_adam, sparse_adam
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
from .core.rows import row_sparse
from .core.rule import leaf_rule
from .core.schedule import schedule
from .core.state import State
from .schedules.cyclic import cyclic_schedule
from .schedules.decay import (
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    linear_schedule,
    polynomial_schedule,
)
from .schedules.join import join_schedules, sgdr_schedule
from .schedules.onecycle import (
    cosine_onecycle_schedule,
    linear_onecycle_schedule,
    onecycle_schedule,
)
from .schedules.piecewise import piecewise_constant_schedule, piecewise_interpolate_schedule
from .schedules.restarts import cosine_restarts_schedule
from .schedules.stable import warmup_stable_decay_schedule
from .schedules.warmup import (
    inverse_sqrt_schedule,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
)
from .transforms.blocks import clip_by_block_rms, scale_by_param_block_rms
from .transforms.clipping import clip, clip_by_global_norm
from .transforms.densify import densify
from .transforms.masking import freeze, masked, partition, set_to_zero
from .transforms.momentum import ema, trace
from .transforms.plateau import reduce_on_plateau
from .transforms.scaling import scale, scale_by_learning_rate, scale_by_schedule
from .transforms.weight_decay import add_decayed_weights

__all__ = [
    "GradientTransformation",
    "MaskedNode",
    "State",
    "TransformInitFn",
    "TransformUpdateFn",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamaxw",
    "adamw",
    "add_decayed_weights",
    "amsgrad",
    "apply_updates",
    "asgd",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "cosine_restarts_schedule",
    "cyclic_schedule",
    "densify",
    "ema",
    "exponential_decay",
    "freeze",
    "get_hyperparams",
    "global_norm",
    "identity",
    "inverse_sqrt_schedule",
    "join_schedules",
    "leaf_rule",
    "linear_onecycle_schedule",
    "linear_schedule",
    "lion",
    "losses",
    "masked",
    "nadam",
    "nadamw",
    "onecycle_schedule",
    "partition",
    "path_labels",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "projections",
    "radam",
    "reduce_on_plateau",
    "rmsprop",
    "row_sparse",
    "rprop",
    "scale",
    "scale_by_adadelta",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_amsgrad",
    "scale_by_asgd",
    "scale_by_factored_rms",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_param_block_rms",
    "scale_by_radam",
    "scale_by_relative_step",
    "scale_by_rms",
    "scale_by_rprop",
    "scale_by_rss",
    "scale_by_schedule",
    "scale_by_sparse_adam",
    "schedule",
    "set_hyperparams",
    "set_to_zero",
    "sgd",
    "sgdr_schedule",
    "sparse_adam",
    "trace",
    "tree",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "warmup_stable_decay_schedule",
]

__version__ = "0.1.0"
