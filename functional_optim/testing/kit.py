"""Runs all checks of the conformance kit."""

from collections.abc import Iterable, Mapping

from ..core.adapter import check_pair
from ..core.protocol import GradientTransformation, PyTree
from .case import DTYPES, Case, Extra
from .descent import check_quadratic, check_rosenbrock
from .failure import ConformanceError, Failure
from .registry import CHECKS

__all__ = ["check_transformation"]


def check_transformation(
    tx: GradientTransformation,
    *,
    params: PyTree = None,
    extra: Extra = None,
    dtypes: tuple[str, ...] = DTYPES,
    leave_out: Mapping[str, str] | None = None,
    quadratic: int | None = None,
    rosenbrock: int | None = None,
) -> None:
    """Checks that a pair `(init, update)` satisfies the protocol.

    The pair may be from this package, from optax, or your own. The checks need no accelerator and
    no test framework. Each check is also a function, such as `check_jit` for the name `jit`,
    with the first four of these arguments. All checks run, even after a failure. chex
    compares arrays, unless `chex.disable_asserts()` was called.

    Args:
      tx: the pair.
      params: parameters of the checks; by default normally distributed numbers of the shapes
        `{"b": (8,), "w": (8, 4)}`.
      extra: arguments that `update` needs besides gradients and parameters, by name; or a function
        `(grads, params)` that returns them.
      dtypes: dtypes of the parameters, for the checks that use several.
      leave_out: name of a check -> the reason why this pair need not pass it.
      quadratic: number of steps in which the pair must lower a quadratic to a tenth; None skips
        this check.
      rosenbrock: number of steps in which the pair must lower Rosenbrock's function to a hundredth;
        None skips this check.

    Raises:
      ConformanceError: an AssertionError that names each failed check, the dtype, the leaf and a
        remedy; its `failures` are a tuple with these.
      TypeError: tx is not a pair of functions.
      ValueError: leave_out or dtypes have an unknown name, or a reason is missing.

    Example:
      >>> import functional_optim as fo
      >>> fo_sgd = fo.sgd(0.1, momentum=0.9)
      >>> check_transformation(fo_sgd, dtypes=("float32", "bfloat16"), quadratic=100)
    """
    check_pair("check_transformation: tx", tx)
    skipped = dict(leave_out or {})
    _check_names("leave_out", skipped, (*CHECKS, "quadratic", "rosenbrock"))
    _check_names("dtypes", dtypes, DTYPES)
    without_reason = [name for name, reason in skipped.items() if not reason]
    if without_reason:
        raise ValueError(
            f"check_transformation: leave_out gives no reason for {without_reason[0]!r}. Say why."
        )
    case = Case(tx, params, extra, dtypes)
    failures: list[Failure] = []
    for name, check in CHECKS.items():
        if name not in skipped:
            try:
                check(case)
            except ConformanceError as error:
                failures += error.failures
    for steps, descent in ((quadratic, check_quadratic), (rosenbrock, check_rosenbrock)):
        if steps is not None:
            try:
                descent(tx, steps=steps)
            except ConformanceError as error:
                failures += error.failures
    if failures:
        raise ConformanceError(*failures)


def _check_names(argument: str, names: Iterable[str], known: tuple[str, ...]) -> None:
    """Raises if an argument has a name that is not among the known names."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"check_transformation: {argument} has {unknown[0]!r}; it must be one of "
            f"{', '.join(known)}."
        )
