"""The conformance kit: all checks, one after the other."""

from collections.abc import Mapping

from ..core.link import check_pair
from ..core.protocol import GradientTransformation, PyTree
from .descent import check_quadratic, check_rosenbrock
from .failure import ConformanceError, Failure
from .registry import CHECKS
from .subject import DTYPES, Extra, Subject

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
    """Checks that a pair `(init, update)` does all that the protocol asks.

    For pairs of this package, of optax, or your own; needs no accelerator and no test
    framework. Each check is also a function of its own, `check_jit` for the name `jit`, with the
    first four of these arguments. All run, whichever fail.

    Args:
      tx: the pair.
      params: parameters to try it on, where it needs certain ones; by default `{"b": (8,),
        "w": (8, 4)}`, normal numbers.
      extra: what `update` needs beyond gradients and parameters: the arguments by name, or a
        function `(grads, params)` that makes them.
      dtypes: of the parameters, where a check tries several.
      leave_out: name of a check -> why this pair need not pass it.
      quadratic: within how many steps it must lower a quadratic to a tenth; None asks nothing.
      rosenbrock: within how many steps it must lower Rosenbrock's function to a hundredth.

    Raises:
      ConformanceError: an AssertionError that names each check that failed, the dtype and the
        leaf, and what to do; its `failures` holds them one by one.
      TypeError: tx is not a pair of functions.
      ValueError: no such check or dtype, or a reason is missing.

    Example:
      >>> import functional_optim as fo
      >>> fo_sgd = fo.sgd(0.1, momentum=0.9)
      >>> check_transformation(fo_sgd, dtypes=("float32", "bfloat16"), quadratic=100)
    """
    check_pair("check_transformation: tx", tx)
    left_out = dict(leave_out or {})
    _check_names("leave_out", left_out, (*CHECKS, "quadratic", "rosenbrock"))
    _check_names("dtypes", dtypes, DTYPES)
    without_reason = [name for name, reason in left_out.items() if not reason]
    if without_reason:
        raise ValueError(
            f"check_transformation: leave_out gives no reason for {without_reason[0]!r}. Say why."
        )
    subject = Subject(tx, params, extra, dtypes)
    failures: list[Failure] = []
    for name, check in CHECKS.items():
        if name not in left_out:
            try:
                check(subject)
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
