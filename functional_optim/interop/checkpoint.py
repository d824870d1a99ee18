"""Reads checkpoints of torch into plain dicts of NumPy arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from .extras import import_extra
from .safetensors import read_arrays

__all__ = ["load_torch_checkpoint"]


def load_torch_checkpoint(path: Any) -> Any:
    """Reads a file of `torch.save` or safetensors, with NumPy arrays in place of tensors.

    Dicts, lists, numbers and strings stay as they are. Arrays keep their dtypes; for those that
    NumPy lacks, such as bfloat16, the dtype is that of `ml_dtypes`, which JAX reads. A file of
    torch is read with `weights_only`, so that no code in it is run.

    Pass the optimizer's part to `load_state_dict`, with `names` if torch had none.

    Args:
      path: of the file. A file whose name ends in `.safetensors` needs the extra `safetensors`;
        any other is read with torch, and needs the extra `torch`.

    Raises:
      ImportError: the extra is not installed.
      FileNotFoundError: there is no such file.
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
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch's readers raise many types
        raise ValueError(
            f"load_torch_checkpoint: {path} is not a file of torch that holds only data "
            f"({type(error).__name__}). Save model.state_dict() and optimizer.state_dict(), not "
            "the objects; the name of a safetensors file must end in .safetensors."
        ) from error
    return _as_plain(torch, value)


def _as_plain(torch: Any, value: Any) -> Any:
    """Returns the value with arrays in place of tensors."""
    if isinstance(value, torch.Tensor):
        return _as_array(torch, value.detach().cpu().resolve_conj().resolve_neg())
    if isinstance(value, Mapping):
        return {k: _as_plain(torch, v) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_as_plain(torch, v) for v in value)
    return value


def _as_array(torch: Any, tensor: Any) -> np.ndarray[Any, Any]:
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
