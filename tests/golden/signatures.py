"""The public names of torch around optimizers, with their signatures without annotations."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "torch_names.json"

SINCE = {(2, 14): {"torch.optim.LBFGS"}, (2, 15): {"torch.optim.functional"}}
"""Version of torch -> names that it added or changed. The file has the names of torch 2.15."""


def read() -> dict[str, str | None]:
    """Maps each dotted name to its signature, or to None for a module."""
    found: dict[str, str | None] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def bare(function: Callable[..., Any]) -> str:
    """Returns a signature without annotations."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(parameters))
