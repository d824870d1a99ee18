"""The stateful side: torch.optim's interface over pure update rules."""

from ..interop.checkpoint import load_torch_checkpoint
from . import lr_scheduler, swa_utils
from .classes.adadelta import Adadelta
from .classes.adafactor import Adafactor
from .classes.adagrad import Adagrad
from .classes.adam import Adam, AdamW
from .classes.adamax import Adamax
from .classes.asgd import ASGD
from .classes.lbfgs import LBFGS
from .classes.lion import Lion
from .classes.muon import Muon
from .classes.nadam import NAdam
from .classes.radam import RAdam
from .classes.recent import (
    ADOPT,
    LAMB,
    MADGRAD,
    AdaBelief,
    AdaBound,
    Adan,
    AdEMAMix,
    DAdaptAdam,
    LaProp,
    Prodigy,
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
    ScheduleFreeSGD,
    SophiaG,
    StableAdamW,
)
from .classes.rmsprop import RMSprop
from .classes.rprop import Rprop
from .classes.sgd import SGD
from .classes.sparse_adam import SparseAdam
from .clip_grad import clip_grad_norm, clip_grad_value, clip_grads_with_norm, get_total_norm
from .hooks import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from .optimizer import Optimizer
from .params.layout import path_groups

__all__ = [
    "ADOPT",
    "ASGD",
    "AdEMAMix",
    "AdaBelief",
    "AdaBound",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "DAdaptAdam",
    "LAMB",
    "LBFGS",
    "LaProp",
    "Lion",
    "MADGRAD",
    "Muon",
    "NAdam",
    "Optimizer",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "ScheduleFreeAdamW",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "SophiaG",
    "SparseAdam",
    "StableAdamW",
    "clip_grad_norm",
    "clip_grad_value",
    "clip_grads_with_norm",
    "get_total_norm",
    "load_torch_checkpoint",
    "lr_scheduler",
    "path_groups",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "swa_utils",
]
