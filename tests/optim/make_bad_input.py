"""Writes bad_input.json: arguments that the optimizers must refuse, from torch's own tests.

    python -m tests.optim.make_bad_input

torch is required. A row has the classes, the arguments, and the exception of torch. A tensor is
written as a number that is the same wherever the tensor occurs; if it is an option, its values are
written too.
"""

import json
import sys
import types
from pathlib import Path

FILE = Path(__file__).parent / "bad_input.json"


def rows():
    """Returns a row for each error input of torch's table, with all classes that have it."""
    # torch's table is among its test helpers, which import a package that it does not need.
    sys.modules.setdefault("expecttest", types.ModuleType("expecttest")).TestCase = object
    import torch
    from torch.testing._internal.common_optimizers import optim_db

    classes = {}
    for info in sorted(optim_db, key=lambda info: info.optim_cls.__name__):
        for given in info.optim_error_inputs_func("cpu", torch.float32):
            made, numbers = given.optimizer_error_input, {}
            row = {
                "params": encode(made.params, numbers),
                "options": encode(made.kwargs, numbers),
                "raises": given.error_type.__name__,
                "says": given.error_regex,
                "at": "step" if "STEP" in given.error_on.name else "construction",
            }
            classes.setdefault(json.dumps(row), []).append(info.optim_cls.__name__)
    return [{"classes": names, **json.loads(row)} for row, names in classes.items()]


def encode(value, numbers):
    """Returns the value as JSON; tensors are numbered in the order in which they are met."""
    import torch

    if isinstance(value, torch.Tensor):
        return {
            "tensor": numbers.setdefault(id(value), len(numbers)),
            "dtype": str(value.dtype).removeprefix("torch."),
            "shape": list(value.shape),
            "values": value.tolist() if value.ndim < 2 and value.layout == torch.strided else None,
            "sparse": value.layout != torch.strided,
        }
    if isinstance(value, dict):
        return {"dict": {k: encode(v, numbers) for k, v in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [encode(v, numbers) for v in value]}
    return [encode(v, numbers) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    FILE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows()) + "\n]\n")
