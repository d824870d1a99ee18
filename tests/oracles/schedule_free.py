"""Schedule-Free and generalized primal averaging, with z, x and y all kept."""

import numpy as np

from .common import leafwise


class _Points:
    """The three points of one parameter, of which y trains."""

    def __init__(self, p):
        self.z = self.x = self.y = p.copy()

    def move(self, u, share, mix):
        """Moves z by u, x by its share towards z, and y to their mix; returns the way of y."""
        self.z = self.z + u
        self.x = (1 - share) * self.x + share * self.z
        before, self.y = self.y, mix * self.x + (1 - mix) * self.z
        return self.y - before

    def shrink(self, factor, mix):
        """Multiplies z while y stays, and computes the x for which y = mix x + (1 - mix) z."""
        self.z = factor * self.z
        self.x = (self.y - (1 - mix) * self.z) / mix


class _Weights:
    """The weight of each z in the average x."""

    def __init__(self, power, r):
        self.power, self.r = power, r
        self.total = self.largest = self.t = 0

    def share(self, rate):
        self.t += 1
        self.largest = max(self.largest, rate)
        weight = self.t**self.r * self.largest**self.power
        self.total += weight
        return weight / self.total if self.total else 0.0


def _rates(learning_rate, warmup_steps, from_zero):
    """Returns a function of t: the rate of a step, and that of its weight."""

    def at(t):
        if not warmup_steps:
            return learning_rate, learning_rate
        weighed = learning_rate * min(1, t / warmup_steps)
        return (learning_rate * min(1, (t - 1) / warmup_steps) if from_zero else weighed), weighed

    return at


def _rectified(learning_rate, b2, silent):
    """Returns the rates of RAdam, with Liu et al.'s factor from where it is defined."""

    def at(t):
        longest = 2 / (1 - b2) - 1
        rho = longest - 2 * t * b2**t / (1 - b2**t)
        factor = 0.0 if silent else 1.0
        if rho > 4:
            square = (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)
            factor = square**0.5
        return learning_rate * factor, learning_rate * factor

    return at


def _steps(rates, direction, b1, weight_lr_power, r):
    """Runs Schedule-Free with a direction, `(g, y, t) -> d`, and rates."""
    points, weights = None, _Weights(weight_lr_power, r)

    def step(g, p):
        nonlocal points
        points = points or _Points(p)
        rate, weighed = rates(weights.t + 1)
        u = -rate * direction(g, points.y, weights.t + 1)
        return points.move(u, weights.share(weighed), b1)

    return step


@leafwise
def schedule_free_sgd(
    learning_rate=1.0,
    warmup_steps=None,
    b1=0.9,
    weight_decay=0.0,
    weight_lr_power=2.0,
    r=0.0,
    warmup_from_zero=False,
):
    """Follows Defazio et al., equations 3 to 5; the warmup is that of the authors."""
    return _steps(
        _rates(learning_rate, warmup_steps, warmup_from_zero),
        lambda g, y, t: g + weight_decay * y,
        b1,
        weight_lr_power,
        r,
    )


def schedule_free(base_optimizer, **options):
    """Makes the oracle of `schedule_free` around an `sgd` with the same learning rate."""
    return schedule_free_sgd(**options)


class _Normalized:
    """The gradient, or its mean, over its root mean square."""

    def __init__(self, b2, eps, weight_decay, momentum=0.0, known=lambda t: True):
        self.b2, self.eps, self.decay, self.momentum = b2, eps, weight_decay, momentum
        self.known = known
        self.m = self.v = 0.0

    def __call__(self, g, y, t):
        self.m = self.momentum * self.m + (1 - self.momentum) * g
        self.v = self.b2 * self.v + (1 - self.b2) * g**2
        d = self.m / (1 - self.momentum**t)
        if self.known(t):
            d = d / (np.sqrt(self.v / (1 - self.b2**t)) + self.eps)
        return d + self.decay * y


@leafwise
def schedule_free_adamw(
    learning_rate=0.0025,
    warmup_steps=None,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    weight_lr_power=2.0,
    r=0.0,
    inner_momentum=0.0,
    warmup_from_zero=False,
):
    """Follows the authors' package.

    It is Algorithm 1 with the bias correction outside of the rate.
    """
    return _steps(
        _rates(learning_rate, warmup_steps, warmup_from_zero),
        _Normalized(b2, eps, weight_decay, inner_momentum),
        b1,
        weight_lr_power,
        r,
    )


@leafwise
def schedule_free_radam(
    learning_rate=0.0025,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    weight_lr_power=2.0,
    r=0.0,
    silent_sgd_phase=True,
):
    """Follows the authors' package."""
    rates = _rectified(learning_rate, b2, silent_sgd_phase)
    known = _rectified(1.0, b2, silent=True)
    return _steps(
        rates,
        _Normalized(b2, eps, weight_decay, known=lambda t: known(t)[0] > 0),
        b1,
        weight_lr_power,
        r,
    )


@leafwise
def generalized_primal_averaging(
    base_optimizer, train_interp_coeff=0.7, eval_interp_coeff=0.9967, rate=0.125, shrinkage=0.0
):
    """Follows the authors' updates, of an `sgd` with this rate."""
    points = None

    def step(g, p):
        nonlocal points
        points = points or _Points(p)
        points.shrink(1 - shrinkage, train_interp_coeff)
        return points.move(-rate * g, 1 - eval_interp_coeff, train_interp_coeff)

    return step
