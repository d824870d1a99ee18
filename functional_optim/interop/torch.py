"""Converts models and states from torch, and states to torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..core.protocol import Hyperparameter, PyTree
from ..serialization.versions import COUNT
from .param_order import in_torch_order
from .torch_model import import_model

__all__ = ["import_model", "to_torch"]

_OURS = (COUNT, "param_names")


def to_torch(
    state_dict: Mapping[str, PyTree], *, names: Sequence[str] | None = None
) -> dict[str, PyTree]:
    """Turns a `state_dict` of `functional_optim.optim` into one that torch's optimizer loads.

    Arrays become tensors of the same dtype, on the CPU; entries that torch does not have are
    dropped. A schedule in the place of a number becomes its value at the next step. torch's
    optimizer must have the same groups in the same order, because it finds parameters by their
    position.

    Args:
      names: names of all parameters, as dotted paths (`param_names` in the groups), in the
        order in which torch's optimizer has them: `[name for name, _ in
        model.named_parameters()]`. Without names, trees must be flat lists, whose order is clear.

    Raises:
      ImportError: torch is not installed.
      ValueError: names and parameters differ, or names are needed and missing.
    """
    state_dict = in_torch_order("to_torch", state_dict, names)
    try:
        import torch  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError("to_torch needs torch. Install it: pip install torch") from error

    def tensor(x: PyTree) -> PyTree:
        if x is None or type(x) in (int, float):
            return x
        if isinstance(x, list):
            return [tensor(part) for part in x]
        array = np.asarray(x)
        if array.dtype.name == "bfloat16":  # torch does not read it from NumPy
            return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
        return torch.from_numpy(array.copy())

    state = {
        number: {k: tensor(x) for k, x in entry.items() if not k.endswith("_ulp")}
        for number, entry in state_dict["state"].items()
    }
    groups = [
        {k: _option(v, group.get(COUNT, 0)) for k, v in group.items() if k not in _OURS}
        for group in state_dict["param_groups"]
    ]
    return {"state": state, "param_groups": groups}


def _option(value: Hyperparameter, count: int) -> Hyperparameter:
    """Converts an option to Python numbers; a schedule becomes its value at the next step."""
    if isinstance(value, tuple):
        return tuple(_option(v, count) for v in value)
    if callable(value):
        return float(value(count))
    return np.asarray(value).item() if hasattr(value, "dtype") and not np.ndim(value) else value
