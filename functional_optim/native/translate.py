"""The maths of a leaf as a loop in C++."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import Literal

from ..core.leaf.inlining import called
from .expressions import C_TYPES, Ineligible, expression, literal

__all__ = ["Body", "Kind", "translate"]

Ask = Callable[[], Any]
Kind = str
"""Of an input: `element`s of a leaf, `row` of a matrix, `vector`, `scalar`, or `leaf`'s number."""


@dataclasses.dataclass(frozen=True)
class Body:
    """A function of C++, whose name is still `NAME`.

    Attributes:
      text: its definition.
      operands: which of the inputs it is to be given for each leaf: those of elements.
      shared: which it is to be given once for all leaves: the others.
      aliases: operand, counted among these -> result that takes its place.
    """

    text: str
    operands: tuple[int, ...]
    shared: tuple[int, ...]
    aliases: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class _Value:
    """A variable of the function; of a vector, what its elements are read from."""

    name: str
    dtype: str
    each: bool = False  # whether it differs from element to element
    length: int | None = None
    offset: int = 0
    stored: str = ""  # of a vector: the dtype in memory


def translate(
    closed: Any, kinds: Sequence[Kind], shape: tuple[Any, ...], aliases: Sequence[tuple[int, int]]
) -> Body:
    """Writes a function of arrays of one shape, element by element.

    Args:
      closed: the function as a closed jaxpr.
      kinds: what each of its inputs is.
      shape: of the leaf.
      aliases: input -> output that may take its place.

    Raises:
      Ineligible: it is not made of operations on elements alone.
    """
    writer = _Writer(kinds, shape)
    inputs = [writer.reader(k, v.aval) for k, v in enumerate(closed.jaxpr.invars)]
    outputs = writer.read_all(closed, inputs)
    for value, var in zip(outputs, closed.jaxpr.outvars, strict=True):
        if value.length is not None or var.aval.shape != shape:
            raise Ineligible(f"a result of shape {var.aval.shape}")
    pairs = tuple((writer.place(given), made) for given, made in aliases)
    return Body(writer.text(outputs), tuple(writer.places), tuple(writer.shared), pairs)


class _Writer:
    """Writes what is asked of it, once: what no result depends on is not written."""

    def __init__(self, kinds: Sequence[Kind], shape: tuple[Any, ...]):
        self._kinds, self._shape = kinds, shape
        self.places: dict[int, int] = {}  # input of elements -> operand
        self.shared: dict[int, int] = {}  # the other inputs
        self._pointers: list[str] = []
        self._scalars: list[str] = []
        self._loop: list[str] = []

    def place(self, given: int) -> int:
        """Returns the operand of an input of elements, which is added if it is new."""
        return self.places.setdefault(given, len(self.places))

    def reader(self, given: int, aval: Any) -> Ask:
        """Returns a function that reads an input when it is first needed."""

        def read() -> _Value:
            kind, dtype = self._kinds[given], aval.dtype.name
            if kind == "leaf":
                return self._write("static_cast<int32_t>(leaf)", "int32", each=False)
            if dtype not in C_TYPES:
                raise Ineligible(f"an input of {dtype}")
            if kind == "element":
                k = self.place(given)
                self._point(f"a{k}", f"x[{k}]", dtype)
                return self._write(f"a{k}[i]", dtype, each=True)
            k = self.shared.setdefault(given, len(self.shared))
            start = f" + row * {aval.shape[0]}" if kind == "row" else ""
            self._point(f"s{k}", f"shared[{k}]", dtype, start)
            if kind in ("row", "vector"):
                return _Value(f"s{k}", dtype, length=aval.shape[0], stored=dtype)
            return self._write(f"s{k}[0]", dtype, each=False)

        return _once(read)

    def _point(self, name: str, place: str, dtype: str, start: str = "") -> None:
        kind = C_TYPES[dtype]
        self._pointers.append(f"const {kind}* {name} = static_cast<const {kind}*>({place}){start};")

    def read_all(self, closed: Any, inputs: Sequence[Ask]) -> list[_Value]:
        """Returns the values of a function's results."""
        known: dict[Any, Ask] = dict(zip(closed.jaxpr.invars, inputs, strict=True))
        for var, constant in zip(closed.jaxpr.constvars, closed.consts, strict=True):
            known[var] = functools.partial(_constant, constant, var.aval)
        for eqn in closed.jaxpr.eqns:
            results = _once(functools.partial(self._results, eqn, known))
            for j, var in enumerate(eqn.outvars):
                known[var] = functools.partial(_item, results, j)
        return [_value(atom, known) for atom in closed.jaxpr.outvars]

    def _results(self, eqn: Any, known: dict[Any, Ask]) -> list[_Value]:
        """Returns the values of an operation's results."""
        name = eqn.primitive.name
        inner = called(eqn)
        if inner is not None:
            asks = [functools.partial(_value, atom, known) for atom in eqn.invars]
            return self.read_all(inner, asks)
        operands = [_value(atom, known) for atom in eqn.invars]
        if len(eqn.outvars) != 1:
            raise Ineligible(name)
        out = eqn.outvars[0].aval
        if operands and operands[0].length is not None:
            return [self._of_vector(name, eqn.params, operands[0], out)]
        if any(v.length is not None for v in operands) or out.shape not in ((), self._shape):
            raise Ineligible(f"{name} of shape {out.shape}")
        if name == "broadcast_in_dim":
            return operands[:1]
        names, dtypes = [v.name for v in operands], [v.dtype for v in operands]
        each = any(v.each for v in operands)
        text = expression(name, eqn.params, names, dtypes, each=each)
        return [self._write(text, out.dtype.name, each=each)]

    def _of_vector(self, name: str, params: Any, vector: _Value, out: Any) -> _Value:
        """Reads a part of a vector, or an element."""
        if name == "convert_element_type":
            return dataclasses.replace(vector, dtype=out.dtype.name)
        if name == "slice" and params["strides"] in (None, (1,)):
            start = vector.offset + params["start_indices"][0]
            return dataclasses.replace(vector, length=out.shape[0], offset=start)
        if name in ("squeeze", "reshape") and vector.length == 1 and out.shape == ():
            cast = {"new_dtype": np.dtype(vector.dtype)}
            text = f"{vector.name}[{vector.offset}]"
            return self._write(
                expression("convert_element_type", cast, [text], [vector.stored], each=False),
                vector.dtype,
                each=False,
            )
        raise Ineligible(f"{name} of a vector")

    def _write(self, text: str, dtype: str, *, each: bool) -> _Value:
        """Declares a variable with the value of an expression."""
        if dtype not in C_TYPES:
            raise Ineligible(f"a value of {dtype}")
        name = f"v{len(self._scalars) + len(self._loop)}"
        lines = self._loop if each else self._scalars
        lines.append(f"const {C_TYPES[dtype]} {name} = {text};")
        return _Value(name, dtype, each)

    def text(self, outputs: Sequence[_Value]) -> str:
        """Returns the whole function."""
        n = len(self.places)
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


def _value(atom: Any, known: dict[Any, Ask]) -> _Value:
    return _constant(atom.val, atom.aval) if isinstance(atom, Literal) else known[atom]()


def _constant(value: Any, aval: Any) -> _Value:
    return _Value(literal(np.asarray(value, aval.dtype)), aval.dtype.name)


def _item(ask: Ask, j: int) -> _Value:
    return ask()[j]


def _once(function: Ask) -> Ask:
    """Wraps a function so that it is called once, when its result is first read."""
    return functools.cache(function)
