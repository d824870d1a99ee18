"""Parameters and gradients of the golden runs: few numbers, and all that can happen to them.

They are computed from a seed, by integers and products only, so that every platform and every
version of NumPy gives the same.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .losses import HILL, LOSSES

STEPS = 30
NONZERO = 4
"""Stored rows of a sparse gradient: one number, so that one program is compiled for all."""

Groups = tuple[tuple[str, ...], ...]

_SMALL = {"bias": (3,), "scalar": (), "hollow": (0, 3), "kernel": (2, 1, 2), "never": (2,)}
_FULL = {k: shape for k, shape in _SMALL.items() if k != "hollow"}
_SOLID = {"bias": (3,), "scalar": (), "conv": (2, 3, 2), "dense": (4, 3), "never": (2,)}
_MATRIX = {"tall": (4, 3), "wide": (2, 5), "column": (5, 1), "square": (4, 4), "never": (2, 2)}
_ROWS = {"table": (6, 2), "vector": (5,)}

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "small": _SMALL,
    "solid": _SOLID,
    "matrix": _MATRIX,
    "rows": _ROWS,
    **dict.fromkeys((*LOSSES, HILL), _FULL),
}
GROUPS: dict[str, Groups] = {
    "small": (("bias", "scalar"), ("hollow", "kernel", "never")),
    "solid": (("bias", "scalar"), ("conv", "dense", "never")),
    "matrix": (("tall", "wide"), ("column", "never", "square")),
    "rows": (("table",), ("vector",)),
    **dict.fromkeys((*LOSSES, HILL), (tuple(sorted(_FULL)),)),
}
"""Names in each group, in alphabetic order: a dict of them has the order of torch's list."""

LATE = ("bias", "tall")
HOLED = ("kernel", "dense", "square", "vector")
REAL_AMONG_COMPLEX = "scalar"


@dataclasses.dataclass(frozen=True)
class Rows:
    """A sparse gradient: rows, of which several may have one index, and some may be zero.

    Attributes:
      indices: `(NONZERO,)`, or none.
      values: `(NONZERO, ...)`.
    """

    indices: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Gradients that do not depend on the parameters, so that no error grows.

    Each is made once, and so two are one problem only if they are one object.

    Attributes:
      groups: names in each group.
      start: name -> the parameter before the first step.
      grads: name -> gradients of all steps; in torch's convention where complex.
      given: name -> for each step, whether there is a gradient.
      loss: name of a loss, in the place of gradients.
    """

    groups: Groups
    start: dict[str, np.ndarray]
    grads: dict[str, Sequence[Any]]
    given: dict[str, np.ndarray]
    loss: str | None = None

    @property
    def names(self) -> list[str]:
        """The names of the parameters, in the order of torch's numbers."""
        return [k for names in self.groups for k in names]

    def at(self, step: int) -> dict[str, np.ndarray | Rows | None]:
        """Returns the gradients of one step."""
        return {k: g[step] if self.given[k][step] else None for k, g in self.grads.items()}


@functools.cache
def make_problem(kind: str, dtype: str, seed: int = 0) -> Problem:
    """Makes a problem of a dtype; in a complex one, one parameter is real."""
    rng = np.random.RandomState(seed)  # of which NumPy never changes a digit
    shapes = SHAPES[kind]
    if kind in (*LOSSES, HILL):
        start = {k: np.asarray(_uniform(rng, n, dtype, k) / 2) for k, n in shapes.items()}
        return Problem(GROUPS[kind], start, {}, {}, kind)
    start = {k: _uniform(rng, shape, dtype, k) for k, shape in shapes.items()}
    make = _rows if kind == "rows" else _dense
    grads = {k: make(rng, shape, dtype, k) for k, shape in shapes.items()}
    return Problem(GROUPS[kind], start, grads, _given(list(shapes), holes=dtype == "float64"))


def _uniform(rng: Any, shape: tuple[int, ...], dtype: str, name: str) -> np.ndarray:
    def numbers() -> np.ndarray:
        return np.asarray(4 * rng.random_sample(shape) - 2)

    x = numbers()
    if not dtype.startswith("complex"):
        return x.astype(dtype)
    return x if name == REAL_AMONG_COMPLEX else np.asarray(x + 1j * numbers(), dtype)


def _dense(rng: Any, shape: tuple[int, ...], dtype: str, name: str) -> np.ndarray:
    g = _uniform(rng, (STEPS, *shape), dtype, name)
    g[5] *= 1e6
    g[6] *= 1e-12
    g[8] = 0
    if g.ndim > 2:
        g[10:12, ..., 0] = 0
    if name != REAL_AMONG_COMPLEX:
        g[12:18] = abs(g[12:18].real)  # one sign for long
    return g


def _rows(rng: Any, shape: tuple[int, ...], dtype: str, name: str) -> list[Rows]:
    """Draws rows in no order, two of them one; at one step none, and at some a row of zeros."""
    found = []
    for t in range(STEPS):
        indices = rng.random_sample(NONZERO) * shape[0]
        values = _uniform(rng, (NONZERO, *shape[1:]), dtype, name)
        values[-1] *= t % 2
        indices[1] = indices[0]
        n = 0 if t == 2 else NONZERO
        found.append(Rows(indices[:n].astype(np.int32), values[:n]))
    return found


def _given(names: list[str], holes: bool) -> dict[str, np.ndarray]:
    """Chooses which parameters have gradients at which step.

    One starts late, one has holes, one never moves; at one step, none has a gradient.

    Each pattern is a program to compile, and so only one dtype has them.
    """
    given = {k: np.full(STEPS, k != "never") for k in names}
    for k, mask in given.items():
        if holes:
            mask[:2] &= k not in LATE
            mask[[3, 4, 9]] &= k not in HOLED
            mask[7] = False
    return given
