"""Translates the function of a leaf to a loop in C++."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var
from jax.typing import ArrayLike

from ..core.leaf.elementwise import called_function
from .expressions import C_TYPES, Ineligible, expression, literal

__all__ = ["Body", "Kind", "translate"]

Kind = str
"""Kind of an input: `element` of a leaf, `row` of a matrix, `vector`, `scalar`, or `leaf` index."""


@dataclasses.dataclass(frozen=True)
class Body:
    """A function of C++, with `NAME` in place of its name.

    Attributes:
      text: the definition of the function.
      operands: indices of the inputs that are passed for each leaf, which have the leaf's elements.
      shared: indices of the inputs that are passed once for all leaves.
      aliases: pairs of an operand, by its position in `operands`, and the result that overwrites
        it.
    """

    text: str
    operands: tuple[int, ...]
    shared: tuple[int, ...]
    aliases: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class _Value:
    """A variable of the function, or a vector that its elements are read from."""

    name: str
    dtype: str
    in_loop: bool = False  # whether the value differs from element to element
    length: int | None = None  # of a vector
    offset: int = 0  # of a vector that is a slice
    stored: str = ""  # of a vector: the dtype in memory


Thunk = Callable[[], _Value]
"""Writes a variable when it is first called, so that unused variables are not written."""


def translate(
    closed: ClosedJaxpr,
    kinds: Sequence[Kind],
    shape: tuple[Any, ...],
    aliases: Sequence[tuple[int, int]],
) -> Body:
    """Writes a function of arrays of one shape as a loop over elements.

    Args:
      closed: the function as a closed jaxpr.
      kinds: the kind of each input.
      shape: shape of the leaf, whose sizes may be symbolic.
      aliases: pairs of an input and the output that may overwrite it.

    Raises:
      Ineligible: the function has an operation that is not elementwise.
    """
    writer = _Writer(kinds, shape)
    inputs = [writer.reader(k, v.aval) for k, v in enumerate(closed.jaxpr.invars)]
    outputs = writer.read_all(closed, inputs)
    for value, var in zip(outputs, closed.jaxpr.outvars, strict=True):
        if value.length is not None or var.aval.shape != shape:
            raise Ineligible(f"a result of shape {var.aval.shape}")
    pairs = tuple((writer.operand(i), j) for i, j in aliases)
    return Body(writer.text(outputs), tuple(writer.operands), tuple(writer.shared), pairs)


class _Writer:
    """Writes each variable once, when a result first depends on it."""

    def __init__(self, kinds: Sequence[Kind], shape: tuple[Any, ...]):
        self._kinds, self._shape = kinds, shape
        self.operands: dict[int, int] = {}  # input of elements -> position among the operands
        self.shared: dict[int, int] = {}  # other input -> position among the shared inputs
        self._pointers: list[str] = []
        self._scalars: list[str] = []
        self._loop: list[str] = []

    def operand(self, i: int) -> int:
        """Returns the position of an input among the operands, which is added if it is new."""
        return self.operands.setdefault(i, len(self.operands))

    def reader(self, i: int, aval: Any) -> Thunk:
        """Returns a function that writes the statements that read an input."""

        def read() -> _Value:
            kind, dtype = self._kinds[i], aval.dtype.name
            if kind == "leaf":
                return self._write("static_cast<int32_t>(leaf)", "int32", in_loop=False)
            if dtype not in C_TYPES:
                raise Ineligible(f"an input of {dtype}")
            if kind == "element":
                k = self.operand(i)
                self._point(f"a{k}", f"x[{k}]", dtype)
                return self._write(f"a{k}[i]", dtype, in_loop=True)
            k = self.shared.setdefault(i, len(self.shared))
            start = f" + row * {aval.shape[0]}" if kind == "row" else ""
            self._point(f"s{k}", f"shared[{k}]", dtype, start)
            if kind in ("row", "vector"):
                return _Value(f"s{k}", dtype, length=aval.shape[0], stored=dtype)
            return self._write(f"s{k}[0]", dtype, in_loop=False)

        return functools.cache(read)

    def _point(self, name: str, address: str, dtype: str, offset: str = "") -> None:
        """Declares a typed pointer to an input."""
        c_type = f"const {C_TYPES[dtype]}*"
        self._pointers.append(f"{c_type} {name} = static_cast<{c_type}>({address}){offset};")

    def read_all(self, closed: ClosedJaxpr, inputs: Sequence[Thunk]) -> list[_Value]:
        """Returns the values of a function's results."""
        thunks: dict[Var, Thunk] = dict(zip(closed.jaxpr.invars, inputs, strict=True))
        for var, constant in zip(closed.jaxpr.constvars, closed.consts, strict=True):
            thunks[var] = functools.partial(_constant, constant, var.aval)
        for eqn in closed.jaxpr.eqns:
            results = functools.cache(functools.partial(self._results, eqn, thunks))
            for j, var in enumerate(eqn.outvars):
                thunks[var] = functools.partial(_item, results, j)
        return [_value(atom, thunks) for atom in closed.jaxpr.outvars]

    def _results(self, eqn: JaxprEqn, thunks: dict[Var, Thunk]) -> list[_Value]:
        """Returns the values of an operation's results."""
        name = eqn.primitive.name
        inner = called_function(eqn)
        if inner is not None:
            arguments = [functools.partial(_value, atom, thunks) for atom in eqn.invars]
            return self.read_all(inner, arguments)
        operands = [_value(atom, thunks) for atom in eqn.invars]
        if len(eqn.outvars) != 1:
            raise Ineligible(name)
        out: Any = eqn.outvars[0].aval
        if operands and operands[0].length is not None:
            return [self._read_vector(name, eqn.params, operands[0], out)]
        if any(v.length is not None for v in operands) or out.shape not in ((), self._shape):
            raise Ineligible(f"{name} of shape {out.shape}")
        if name == "broadcast_in_dim":
            return operands[:1]
        names, dtypes = [v.name for v in operands], [v.dtype for v in operands]
        in_loop = any(v.in_loop for v in operands)
        text = expression(name, eqn.params, names, dtypes, in_loop=in_loop)
        return [self._write(text, out.dtype.name, in_loop=in_loop)]

    def _read_vector(
        self, name: str, params: Mapping[str, Any], vector: _Value, out: Any
    ) -> _Value:
        """Slices or casts a vector, or reads an element of it."""
        if name == "convert_element_type":
            return dataclasses.replace(vector, dtype=out.dtype.name)
        if name == "slice" and params["strides"] in (None, (1,)):
            start = vector.offset + params["start_indices"][0]
            return dataclasses.replace(vector, length=out.shape[0], offset=start)
        if name in ("squeeze", "reshape") and vector.length == 1 and out.shape == ():
            cast = {"new_dtype": np.dtype(vector.dtype)}
            text = f"{vector.name}[{vector.offset}]"
            return self._write(
                expression("convert_element_type", cast, [text], [vector.stored], in_loop=False),
                vector.dtype,
                in_loop=False,
            )
        raise Ineligible(f"{name} of a vector")

    def _write(self, text: str, dtype: str, *, in_loop: bool) -> _Value:
        """Declares a variable with the value of an expression."""
        if dtype not in C_TYPES:
            raise Ineligible(f"a value of {dtype}")
        name = f"v{len(self._scalars) + len(self._loop)}"
        lines = self._loop if in_loop else self._scalars
        lines.append(f"const {C_TYPES[dtype]} {name} = {text};")
        return _Value(name, dtype, in_loop)

    def text(self, outputs: Sequence[_Value]) -> str:
        """Returns the whole function."""
        n = len(self.operands)
        results, stores = [], []
        for k, value in enumerate(outputs):
            c_type = C_TYPES[value.dtype]
            results.append(f"{c_type}* r{k} = static_cast<{c_type}*>(x[{n + k}]);")
            stores.append(f"r{k}[i] = {value.name};")
        arguments = ("void* const* shared", "void* const* x", "int64_t row", "int64_t leaf")
        head = f"void NAME({', '.join(arguments)}, int64_t begin, int64_t end) {{"
        before = [*self._pointers, *results, *self._scalars]
        inside = [*self._loop, *stores]
        return "\n".join(
            [
                head,
                *(f"  {line}" for line in before),
                "#pragma omp simd",
                "  for (int64_t i = begin; i < end; ++i) {",
                *(f"    {line}" for line in inside),
                "  }",
                "}",
            ]
        )


def _value(atom: Var | Literal, thunks: dict[Var, Thunk]) -> _Value:
    """Returns the value of a variable or literal of a jaxpr."""
    return _constant(atom.val, atom.aval) if isinstance(atom, Literal) else thunks[atom]()


def _constant(value: ArrayLike, aval: Any) -> _Value:
    return _Value(literal(np.asarray(value, aval.dtype)), aval.dtype.name)


def _item(results: Callable[[], list[_Value]], j: int) -> _Value:
    return results()[j]
