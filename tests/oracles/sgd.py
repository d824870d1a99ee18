"""Gradient descent."""

from .common import in_order, leafwise
from .links import scale, trace


@leafwise
def sgd(learning_rate, momentum=0.0, **how):
    return in_order(trace.leaf(momentum, **how), scale.leaf(-learning_rate))
