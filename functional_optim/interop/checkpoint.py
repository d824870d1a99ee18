"""Reads checkpoints of torch into plain dicts of NumPy arrays."""

import codecs
import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from .extras import import_extra
from .safetensors import read_arrays

__all__ = ["load_torch_checkpoint"]


def load_torch_checkpoint(path: str | PathLike[str]) -> PyTree:
    """Reads a file of `torch.save` or safetensors, with NumPy arrays in place of tensors.

    Dicts, lists, numbers and strings are unchanged. Arrays keep their dtypes; dtypes that
    NumPy lacks, such as bfloat16, come from `ml_dtypes`, which JAX reads. A file of
    torch is read with `weights_only`, so that no code in it is run; NumPy's arrays, as
    `torch.save(opt.state_dict())` writes them, are read as well.

    Pass the optimizer's part to `load_state_dict`, with `names` if torch had none.

    Args:
      path: path of the file. A file whose name ends in `.safetensors` needs the extra
        `safetensors`; any other is read with torch, and needs the extra `torch`.

    Raises:
      ImportError: the extra is not installed.
      OSError: there is no such file, or it cannot be opened.
      ValueError: the file is damaged, or holds objects that are not data.

    Example:
      >>> import numpy as np, os, tempfile
      >>> from safetensors.numpy import save_file
      >>> from functional_optim import optim
      >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
      >>> save_file({"layer.weight": np.ones(2, np.float32)}, path)
      >>> optim.load_torch_checkpoint(path)
      {'layer.weight': array([1., 1.], dtype=float32)}
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_arrays("load_torch_checkpoint", path)[0]
    torch = import_extra("load_torch_checkpoint", "torch", "torch")
    with path.open("rb"):  # torch raises OSError for damaged files as well
        pass
    try:
        with _numpy_allowed(torch):
            value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise many types
        raise ValueError(
            f"load_torch_checkpoint: {path} is damaged, or is not a file of torch.save that holds "
            f"only data ({type(error).__name__}). If it is damaged, load an earlier one. Save "
            "model.state_dict() and optimizer.state_dict(), not the objects; the name of a "
            "safetensors file must end in .safetensors; read JSON with json.load."
        ) from error
    return _as_plain(torch, value)


def _numpy_allowed(torch: ModuleType) -> AbstractContextManager[object]:
    """Allows torch to read NumPy's arrays and numbers, which run no code.

    torch 2.4 has no such context, and does not read them.
    """
    if not hasattr(torch.serialization, "safe_globals"):
        return contextlib.nullcontext()
    array, number = np.empty(0).__reduce__()[0], np.float32(0).__reduce__()[0]
    functions = {"_reconstruct": array, "scalar": number}
    named = [  # NumPy 1 and 2 have them in different modules
        (function, f"numpy.{core}.multiarray.{name}")
        for name, function in functions.items()
        for core in ("core", "_core")
    ]
    narrow = [jnp.dtype(name) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")]
    dtypes = [type(dtype) for dtype in (*map(np.dtype, np.typecodes["All"]), *narrow)]
    kinds = [np.ndarray, np.dtype, *dtypes, *(dtype.type for dtype in narrow)]
    allowed = [*named, *kinds, codecs.encode]
    return torch.serialization.safe_globals(allowed)  # type: ignore[no-any-return, unused-ignore]


def _as_plain(torch: ModuleType, value: PyTree) -> PyTree:
    """Returns the value with arrays in place of tensors."""
    if isinstance(value, torch.Tensor):
        return _as_array(torch, value.detach().cpu().resolve_conj().resolve_neg())
    if isinstance(value, Mapping):
        return {k: _as_plain(torch, v) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_as_plain(torch, v) for v in value)
    return value


def _as_array(torch: ModuleType, tensor: Any) -> np.ndarray:
    if tensor.layout != torch.strided:
        raise ValueError(
            f"load_torch_checkpoint: a tensor of shape {tuple(tensor.shape)} has the layout "
            f"{tensor.layout}, and arrays are dense. Save tensor.to_dense()."
        )
    try:
        return np.array(tensor.numpy())
    except TypeError:  # NumPy lacks the dtype: copy the bits
        bits = tensor.contiguous().view(getattr(torch, f"uint{8 * tensor.element_size()}"))
        return np.array(bits.numpy()).view(jnp.dtype(str(tensor.dtype).removeprefix("torch.")))
