"""Arrays of any library as NumPy arrays, in place where their memory is the host's and contiguous."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np

from laprox._device import is_on_device
from laprox._foreign import is_of_torch, one_line

_REALS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


def reals(value: Any, name: str) -> np.ndarray:
    """A C-ordered array of f16, f32 or f64, or of bf16 as its bits (uint16)."""
    if is_on_device(value):
        warnings.warn("arrays on a device are copied to the host; path='gpu' reads q, k and v where they lie", stacklevel=4)
    array = _of_torch(value) if is_of_torch(value) else value
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(f"{name}: expected an array without a mask, found a masked one")
    array = _numpy(array, name)
    if array.dtype.name == "bfloat16":
        array = array.view(np.uint16)
    elif array.dtype.newbyteorder("=") not in _REALS and not _is_bf16_of_torch(value):
        raise ValueError(f"{name}: expected f16, bf16, f32 or f64, found {array.dtype.name}")
    return contiguous(array, name)


def whole(value: Any, name: str, dtype: type[np.integer]) -> np.ndarray:
    """A C-ordered list of whole numbers."""
    array = _numpy(value, name)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected a list of whole numbers, found {array.dtype.name} {array.shape}")
    bounds = np.iinfo(dtype)
    if array.size and (array.min() < 0 or int(array.max()) > bounds.max):
        raise ValueError(f"{name}: expected numbers from 0 to {bounds.max}, found {array.min()} to {array.max()}")
    return contiguous(array.astype(dtype, copy=False), name)


def contiguous(array: np.ndarray, name: str) -> np.ndarray:
    """The same array, or a copy if it is not C-ordered, aligned and of the machine's byte order."""
    try:
        return np.require(array, array.dtype.newbyteorder("="), ["C", "A"])
    except MemoryError:
        raise ValueError(f"{name}: expected an array that fits in memory, found shape {array.shape}") from None


def _numpy(value: Any, name: str) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if not (hasattr(value, "__array__") or hasattr(value, "__dlpack__")):
        raise ValueError(f"{name}: expected an array, found {type(value).__name__}")
    try:
        array = np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)
    except Exception as error:
        raise ValueError(f"{name}: expected an array, found one that cannot be read: {one_line(error)}") from None
    return array


def _of_torch(tensor: Any) -> Any:
    """A tensor's numbers in the host's memory, without its history; bf16 as its bits."""
    with contextlib.suppress(AttributeError, RuntimeError, TypeError):
        tensor = tensor.detach()
        if tensor.device.type != "cpu":
            tensor = tensor.cpu()
        if _is_bf16_of_torch(tensor):
            import torch

            return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor


def _is_bf16_of_torch(value: Any) -> bool:
    return str(getattr(value, "dtype", "")) == "torch.bfloat16"
