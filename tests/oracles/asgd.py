"""ASGD."""

from .common import leafwise


@leafwise
def scale_by_asgd(learning_rate, lambd=1e-4, alpha=0.75, t0=1e6):
    """Follows Xu, equations 3 and 4, with the rate of the step t = 0, 1, ...

    The average does not change the updates.
    """
    t = 0

    def step(g, p):
        nonlocal t
        eta = learning_rate * (1 + lambd * learning_rate * t) ** -alpha
        t += 1
        return p - ((1 - lambd * eta) * p - eta * g)

    return step


@leafwise
def asgd(learning_rate, **options):
    find = scale_by_asgd.leaf(learning_rate, **options)
    return lambda g, p: -find(g, p)
