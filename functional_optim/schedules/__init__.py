"""Schedules: pure functions of the step, whose numbers are part of the state."""

from ..core.protocol import Schedule
from ..core.state_types import (
    InjectHyperparamsState,
    InjectStatefulHyperparamsState,
)
from .cyclic import cyclic_schedule
from .decay import (
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    linear_schedule,
    polynomial_schedule,
)
from .injecting import inject_hyperparams
from .injecting import inject_hyperparams as inject_stateful_hyperparams
from .join import join_schedules, sgdr_schedule
from .onecycle import cosine_onecycle_schedule, linear_onecycle_schedule, onecycle_schedule
from .piecewise import piecewise_constant_schedule, piecewise_interpolate_schedule
from .restarts import cosine_restarts_schedule
from .stable import warmup_stable_decay_schedule
from .stateful import StatefulSchedule, WrappedSchedule
from .table import schedule_table
from .warmup import (
    inverse_sqrt_schedule,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
)

__all__ = [
    "InjectHyperparamsState",
    "InjectStatefulHyperparamsState",
    "Schedule",
    "StatefulSchedule",
    "WrappedSchedule",
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "cosine_restarts_schedule",
    "cyclic_schedule",
    "exponential_decay",
    "inject_hyperparams",
    "inject_stateful_hyperparams",
    "inverse_sqrt_schedule",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "onecycle_schedule",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "schedule_table",
    "sgdr_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "warmup_stable_decay_schedule",
]
