"""Gradient descent."""

from .common import in_order, leafwise
from .links import scale, trace


@leafwise
def sgd(learning_rate, momentum=0.0, **options):
    return in_order(trace.leaf(momentum, **options), scale.leaf(-learning_rate))
