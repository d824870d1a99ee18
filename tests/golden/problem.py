"""Parameters and gradients of the golden runs: few numbers, and all that can happen to them."""

import dataclasses
from typing import Any

import numpy as np

STEPS = 30
SHAPES = {
    "bias": (3,),
    "scalar": (),
    "hollow": (0, 3),
    "kernel": (2, 1, 2),
    "never": (2,),
}
GROUPS = (("bias", "scalar"), ("hollow", "kernel", "never"))
"""Names in each group, in alphabetic order: a dict of them has the order of torch's list."""

REAL_AMONG_COMPLEX = "scalar"


@dataclasses.dataclass(frozen=True)
class Problem:
    """Gradients that do not depend on the parameters, so that no error grows.

    Attributes:
      start: name -> the parameter before the first step.
      grads: name -> gradients of all steps, stacked; in torch's convention where complex.
      given: name -> for each step, whether there is a gradient.
    """

    start: dict[str, np.ndarray]
    grads: dict[str, np.ndarray]
    given: dict[str, np.ndarray]

    def at(self, step: int) -> dict[str, np.ndarray | None]:
        """The gradients of one step."""
        return {k: g[step] if self.given[k][step] else None for k, g in self.grads.items()}


def make_problem(dtype: str, seed: int) -> Problem:
    """A problem of a dtype; in a complex one, one parameter is real."""
    rng = np.random.default_rng(seed)
    start = {k: _normal(rng, shape, dtype, k) for k, shape in SHAPES.items()}
    grads = {k: _normal(rng, (STEPS, *shape), dtype, k) for k, shape in SHAPES.items()}
    for g in grads.values():
        g[5] *= 1e6
        g[6] *= 1e-12
        g[8] = 0
        if g.ndim > 2:
            g[10:12, ..., 0] = 0
    return Problem(start, grads, _given(holes=dtype == "float64"))


def _normal(rng: Any, shape: tuple[int, ...], dtype: str, name: str) -> np.ndarray:
    x = rng.standard_normal(shape)
    if not dtype.startswith("complex"):
        return np.asarray(x, dtype)
    if name == REAL_AMONG_COMPLEX:
        return np.asarray(x)
    return np.asarray(x + 1j * rng.standard_normal(shape), dtype)


def _given(holes: bool) -> dict[str, np.ndarray]:
    """One parameter starts late, one has holes, one never moves; at one step, none does.

    Each pattern is a program to compile, so that one dtype has holes, and the others not.
    """
    given = {k: np.ones(STEPS, bool) for k in SHAPES}
    given["bias"][:2] = False
    given["never"][:] = False
    if holes:
        given["kernel"][[3, 4, 9]] = False
    for mask in given.values():
        mask[7] = False
    return given
