"""Ways in which the devices of a mesh share the work on matrices."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

__all__ = ["MatrixSharding"]

Array = jax.Array
Way = Literal["gather", "divide", "tensor_parallel"]


@dataclasses.dataclass(frozen=True)
class MatrixSharding:
    """Says how the devices along an axis of a mesh share the work on whole matrices.

    A rule such as Muon needs whole matrices, which no device may have. The ways, for n devices:

    - `"gather"`: each device gets all matrices, and computes all of them. Least communication for
      parameters that are replicated anyway, and the most computation.
    - `"divide"`: each device gets whole matrices, one in n of those of equal shape, and returns
      the results: an all-to-all before and one after, and 1 / n of the computation. Matrices of
      all parameters count; where n does not divide their number, some devices get zeros.
    - `"tensor_parallel"`: each device has a part of the longer side of each matrix. In each round,
      the devices add up their shares of a Gram matrix; all other computation is local.

    The results equal those of one device up to rounding. If neither types nor `out_shardings` say
    how updates are sharded, the compiler chooses.

    Args:
      how: the way.
      axis: name of the axis of the mesh, or several.
      mesh: the mesh; None for the one that `jax.set_mesh` has set.

    Raises:
      ValueError: how is unknown, or the mesh has no such axis.

    Example:
      >>> import functional_optim as fo
      >>> mesh = jax.make_mesh((1,), ("data",))
      >>> way = MatrixSharding("divide", "data", mesh)
      >>> tx = fo.muon(0.02, matrix_sharding=way)
      >>> params = {"w": jnp.ones((8, 4))}
      >>> print(fo.describe(tx, params)["w"].routes[1])
      muon: divided over 1 device of 'data', 0 bytes moved to each device in a step
    """

    how: Way
    axis: str | tuple[str, ...]
    mesh: Mesh | AbstractMesh | None = None

    def __post_init__(self) -> None:
        if self.how not in get_args(Way):
            ways = ", ".join(map(repr, get_args(Way)))
            raise ValueError(f"MatrixSharding: how must be one of {ways}, got {self.how!r}.")
        if self.mesh is not None:
            self._check(self.mesh)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of the mesh."""
        return (self.axis,) if isinstance(self.axis, str) else tuple(self.axis)

    def _check(self, mesh: Mesh | AbstractMesh) -> None:
        missing = [name for name in self.axes if name not in mesh.axis_names]
        if missing:
            raise ValueError(
                f"MatrixSharding: the mesh has no axis {missing[0]!r}; its axes are "
                f"{', '.join(map(repr, mesh.axis_names))}."
            )

    def resolved_mesh(self) -> Mesh | AbstractMesh:
        """Returns the mesh of these axes.

        Raises:
          ValueError: no mesh is given and none is set; or it lacks the axis.
        """
        if self.mesh is not None:
            return self.mesh
        mesh = jax.sharding.get_abstract_mesh()
        if mesh.empty:
            raise ValueError(
                f"MatrixSharding: no mesh is set. Pass mesh to MatrixSharding({self.how!r}, "
                f"{self.axis!r}, mesh), or call within jax.set_mesh(mesh)."
            )
        self._check(mesh)
        return mesh

    @property
    def devices(self) -> int:
        """Number of devices along the axes."""
        mesh = self.resolved_mesh()
        return math.prod(mesh.shape[name] for name in self.axes)

    def placed(self, x: Array) -> Array:
        """Places an array `(matrices, rows, columns)` on the devices, as `how` says.

        With `"divide"`, zeros are added so that each device has as many matrices.
        """
        spec: Sequence[str | tuple[str, ...] | None] = (None, None, None)
        axes = self.axes if len(self.axes) > 1 else self.axes[0]
        if self.how == "divide":
            x = jnp.pad(x, [(0, -x.shape[0] % self.devices), (0, 0), (0, 0)])
            spec = (axes, None, None)
        elif self.how == "tensor_parallel":
            # The compiler pads a side that the number of devices does not divide.
            spec = (None, axes, None) if x.shape[1] > x.shape[2] else (None, None, axes)
        return self._constrained(x, PartitionSpec(*spec))

    def _constrained(self, x: Array, spec: PartitionSpec) -> Array:
        # Where a mesh is set, it may have other types of axes than the one that the user gave.
        is_set = not jax.sharding.get_abstract_mesh().empty
        sharding = spec if is_set else NamedSharding(self.resolved_mesh(), spec)
        return jax.lax.with_sharding_constraint(x, sharding)

    def bytes_moved(self, shape: tuple[int, int, int], itemsize: int) -> int:
        """Returns the bytes that each device receives for matrices of one shape.

        They are counted for one step, before and after which the parameters are divided over the
        devices; for `"tensor_parallel"`, for one round, in which one Gram matrix is added up.

        Args:
          shape: `(matrices, rows, columns)`.
          itemsize: bytes of a number.
        """
        n = self.devices
        count, rows, columns = shape
        size = count * rows * columns * itemsize
        if self.how == "gather":
            return size * (n - 1) // n
        if self.how == "divide":
            return 2 * size * (n - 1) // n**2
        gram = count * min(rows, columns) ** 2 * itemsize
        return 2 * gram * (n - 1) // n

    def __str__(self) -> str:
        ways = {
            "gather": "gathered on",
            "divide": "divided over",
            "tensor_parallel": "tensor parallel on",
        }
        n = self.devices
        axis = ", ".join(map(repr, self.axes))
        return f"{ways[self.how]} {n} device{'s' * (n > 1)} of {axis}"
