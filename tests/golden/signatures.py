"""The public names of torch 2.13 around optimizers, with their signatures without annotations."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "torch_names.json"


def read() -> dict[str, str | None]:
    """Dotted name -> signature, or None for a module."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def bare(function: Callable[..., Any]) -> str:
    """A signature without annotations."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(parameters))
