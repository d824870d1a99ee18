"""Running means between our form, bias-corrected, and torch's, biased; exact both ways."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .plain import as_numpy

__all__ = ["bias", "unbias"]

Array = np.ndarray[Any, Any]


def bias(name: str, mean: Array, step: int, last: float, decay: float) -> dict[str, Any]:
    """torch's entry for a bias-corrected mean: `m = mean (1 - decay^step)`.

    The product is rounded, and so dividing by it again may miss the mean by an ulp. The
    number of ulps is kept beside it where there are any, in `{name}_ulp` with the step that
    they are of: a state that is written and read here goes on bit for bit.

    Args:
      name: torch's name.
      mean: the mean, of the parameter's shape.
      step: number of steps, from 1.
      last: the decay at the last step, in the state's precision.
      decay: the decay as the options have it.
    """
    same = np.asarray(decay, np.float32) == np.float32(last) or decay == last
    biased = _scaled(mean, _total(decay if same else last, step))
    entry: dict[str, Any] = {name: biased}
    if same:
        missed = _ulps(mean) - _ulps(_scaled(biased, 1 / _total(decay, step)))
        if missed.any():
            width = np.int8 if np.abs(missed).max() < 128 else np.int64
            entry[f"{name}_ulp"] = (step, missed.astype(width))
    return entry


def unbias(name: str, entry: Mapping[str, Any], step: int, decay: float, like: Any) -> Array:
    """The bias-corrected mean of torch's entry, in the dtype of the slot.

    The ulps are those of another mean if it has moved since, in torch: they count only at the
    step at which they were written.
    """
    biased = as_numpy(entry[name]).astype(like.dtype)
    mean = _scaled(biased, 1 / _total(decay, step))
    written, missed = entry.get(f"{name}_ulp") or (None, None)
    if written is None or int(written) != step:
        return mean
    return _from_ulps(_ulps(mean) + as_numpy(missed), mean)


def _total(decay: float, step: int) -> float:
    return float(-np.expm1(step * np.log(decay))) if decay > 0 else 1.0


def _scaled(x: Array, factor: float) -> Array:
    wide = np.complex128 if np.iscomplexobj(x) else np.float64
    return np.asarray((x.astype(wide) * factor).astype(x.dtype))


def _ulps(x: Array) -> Array:
    """Floats as integers, of which neighbours differ by one; both signs of a complex apart."""
    real = x.view(x.real.dtype) if x.ndim else x.reshape(1).view(x.real.dtype)
    return real.view(f"i{real.dtype.itemsize}").astype(np.int64)


def _from_ulps(ulps: Array, like: Array) -> Array:
    real = like.real.dtype
    return ulps.astype(f"i{real.itemsize}").view(real).view(like.dtype).reshape(like.shape)
