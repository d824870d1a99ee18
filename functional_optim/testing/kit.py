"""Runs all checks of the conformance kit."""

from collections.abc import Mapping

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

    The pair may be from this package, from optax, or your own; no accelerator and no test
    framework is needed. Each check is also a function, such as `check_jit` for the name `jit`,
    with the first four of these arguments. All checks run, even after a failure. Arrays are
    compared by chex, which `chex.disable_asserts()` makes compare nothing.

    Args:
      tx: the pair.
      params: parameters to try it on, if it needs certain ones; by default normal numbers of the
        shapes `{"b": (8,), "w": (8, 4)}`.
      extra: what `update` needs besides gradients and parameters: the arguments by name, or a
        function `(grads, params)` that makes them.
      dtypes: dtypes of the parameters, if a check tries several.
      leave_out: name of a check -> why this pair need not pass it.
      quadratic: number of steps in which it must lower a quadratic to a tenth; None skips this.
      rosenbrock: number of steps in which it must lower Rosenbrock's function to a hundredth.

    Raises:
      ConformanceError: an AssertionError that names each check that failed, the dtype and the
        leaf, and what to do; its `failures` are a tuple of them.
      TypeError: tx is not a pair of functions.
      ValueError: no such check or dtype, or a reason is missing.

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


def _check_names(argument: str, given: object, known: tuple[str, ...]) -> None:
    unknown = [name for name in given if name not in known]  # type: ignore[attr-defined]
    if unknown:
        raise ValueError(
            f"check_transformation: {argument} has {unknown[0]!r}; it must be one of "
            f"{', '.join(known)}."
        )
