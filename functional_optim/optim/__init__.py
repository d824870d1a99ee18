"""The stateful side: torch.optim's interface over pure update rules."""

from . import lr_scheduler
from .classes.adadelta import Adadelta
from .classes.adagrad import Adagrad
from .classes.adam import Adam, AdamW
from .classes.adamax import Adamax
from .classes.asgd import ASGD
from .classes.lion import Lion
from .classes.nadam import NAdam
from .classes.radam import RAdam
from .classes.rmsprop import RMSprop
from .classes.rprop import Rprop
from .classes.sgd import SGD
from .groups import path_groups
from .optimizer import Optimizer

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "path_groups",
]
