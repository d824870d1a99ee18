"""Cases that are not compared, and why."""

from .cases import Case

EXCEPTIONS = {
    ("Adam", "amsgrad on late"): "torch raises KeyError; ours starts the maximum there",
    ("RMSprop", "momentum on late"): "torch raises KeyError; ours starts the buffer there",
    ("RMSprop", "alpha 0 and centered"): "torch's variance rounds below 0, and it gives NaN",
    ("Adagrad", "initial value of a group"): "torch leaves it aside; ours starts from it",
    ("Adafactor", "parameter without elements"): "torch raises ZeroDivisionError; ours steps",
    ("SGD", "sparse: weight decay"): "torch raises RuntimeError; ours decays the gradient's rows",
    (
        "Adagrad",
        "sparse: weight decay",
    ): "torch raises RuntimeError; ours decays the gradient's rows",
}
"""By optimizer and origin."""


def is_excepted(case: Case) -> bool:
    """Tells whether a case is not compared."""
    return (case["optimizer"], case["origin"]) in EXCEPTIONS
