"""Reading modules: where a public name comes from, its docstring, its arguments."""

import ast
import functools
import importlib.util
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any


def doc(module: ModuleType, name: str) -> str:
    """Returns the text below the assignment of a name, or the docstring of its value."""
    value = getattr(module, name)
    text = _written_below(*origin(module.__name__, name))
    if not text and getattr(value, "__module__", "").startswith("functional_optim"):
        text = inspect.getdoc(value) or ""
    if not text or (inspect.isclass(value) and text.startswith(f"{value.__name__}(")):
        raise ValueError(f"{module.__name__}.{name} has no docstring.")
    return text


@functools.cache
def _body(module: str) -> list[ast.stmt]:
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    return [inner for node in body for inner in (_for_type_checkers(node) or [node])]


def _for_type_checkers(node: ast.stmt) -> list[ast.stmt]:
    """Returns the statements below `if TYPE_CHECKING:`."""
    names = isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    return node.body if names and node.test.id == "TYPE_CHECKING" else []


def origins(module: ModuleType) -> dict[str, str]:
    """Finds where the names are from that a module imports for type checkers, for `lazy_names`."""
    found = {}
    for node in ast.parse(inspect.getsource(module)).body:
        for statement in _for_type_checkers(node):
            for alias in statement.names if getattr(statement, "module", None) else ():
                target = "." * statement.level + statement.module
                source = importlib.util.resolve_name(target, module.__name__).partition(".")[2]
                name = alias.asname or alias.name
                found[name] = source if name == alias.name else f"{source}:{alias.name}"
    return dict(sorted(found.items()))


def origin(module: str, name: str) -> tuple[str, str]:
    """Returns module and name behind a module's import of a name; else the two themselves."""
    for node in _body(module):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    package = importlib.import_module(module).__package__
                    target = "." * node.level + (node.module or "")
                    return origin(importlib.util.resolve_name(target, package), alias.name)
    return module, name


def _written_below(module: str, name: str) -> str:
    """Returns the string literal under `name = ...` in a module."""
    for node, after in itertools.pairwise(_body(module)):
        one = [node.target] if isinstance(node, ast.AnnAssign) else []
        targets = node.targets if isinstance(node, ast.Assign) else one
        if name in [getattr(target, "id", None) for target in targets]:
            return ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
    return ""


def signature(value: Any) -> str:
    """Returns the arguments without annotations, as they are written in a call."""
    try:
        parameters = inspect.signature(getattr(value, "__func__", value)).parameters.values()
    except (TypeError, ValueError):
        return ""
    own = [p for p in parameters if p.name not in ("self", "cls")]
    arguments = ", ".join(_NAME.sub(r"\1", text) for text in _arguments(own))
    return f"({arguments})"


_NAME = re.compile(r"<(?:function|class) '?(?:[\w<>]+\.)*(\w+)[^>]*>")
"""The `repr` of a function or class."""


def _arguments(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    last = None
    for p in parameters:
        if last is p.POSITIONAL_ONLY and p.kind is not last:
            yield "/"
        if p.kind is p.KEYWORD_ONLY and last not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            yield "*"
        yield str(p.replace(annotation=p.empty))
        last = p.kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        yield "/"


def methods(module: ModuleType, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields the methods of a class, and those of its bases that have no place on the page."""
    if not inspect.isclass(value):
        return
    public = [c for n in module.__all__ if inspect.isclass(c := getattr(module, n)) and c != value]
    shown = {base for c in public if c in value.__mro__ for base in c.__mro__}
    built_in = {n for b in value.__mro__ if b.__module__ == "builtins" for n in vars(b)}
    found: dict[str, Any] = {}
    for base in value.__mro__:
        if base.__module__.startswith("functional_optim") and base not in shown:
            found = {**vars(base), **found}
    for name, of in sorted(found.items()):
        if _is_method(of) and name not in built_in and not name.startswith("_"):
            yield name, of


def _is_method(of: Any) -> bool:
    """Tells whether a value is a method of the class.

    Static methods are not: a decorator has put them there for the class's own use.
    """
    called = callable(of) and not inspect.isclass(of) and not isinstance(of, staticmethod)
    return called or isinstance(of, (property, classmethod))
