"""Arrays that lie on a CUDA device, by torch's own words or by `__cuda_array_interface__`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laprox._foreign import is_of_torch, one_line

# bf16 has no name of its own in the interface: an opaque element of two bytes is what torch and ml_dtypes say.
_FORMATS = {"<f4": "f32", "<f2": "f16", "<V2": "bf16", "=f4": "f32", "=f2": "f16"}
_FORMATS_OF_TORCH = {"torch.float32": "f32", "torch.float16": "f16", "torch.bfloat16": "bf16"}
_WIDTHS = {"f32": 4, "f16": 2, "bf16": 2}


@dataclass(frozen=True)
class DeviceArray:
    """Numbers in the memory of the first device, in C order."""

    address: int
    shape: tuple[int, ...]
    #: f32, f16 or bf16.
    format: str
    #: Keeps the memory.
    owner: Any

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)


def is_on_device(value: Any) -> bool:
    """Whether an array lies on a CUDA device."""
    if is_of_torch(value):
        return bool(getattr(value, "is_cuda", False))
    # The class is asked: the property itself may raise.
    return hasattr(type(value), "__cuda_array_interface__") or "__cuda_array_interface__" in getattr(value, "__dict__", {})


def device_array(value: Any, name: str) -> DeviceArray:
    """The array where it lies. A tensor of torch that is not in C order is copied by torch, on its device."""
    return _of_torch(value, name) if is_of_torch(value) else _of_interface(value, name)


def _of_torch(tensor: Any, name: str) -> DeviceArray:
    if tensor.device.index not in (None, 0):
        raise ValueError(f"{name}: expected a tensor on cuda:0, found one on {tensor.device}")
    found = _FORMATS_OF_TORCH.get(str(tensor.dtype))
    if found is None:
        raise ValueError(f"{name}: expected f16, bf16 or f32 on the device, found {tensor.dtype}")
    tensor = tensor.detach().contiguous()
    return DeviceArray(tensor.data_ptr(), tuple(tensor.shape), found, tensor)


def _of_interface(value: Any, name: str) -> DeviceArray:
    """https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, versions 2 and 3."""
    try:
        interface = value.__cuda_array_interface__
    except Exception as error:
        raise ValueError(f"{name}: expected __cuda_array_interface__, found one that cannot be read: {one_line(error)}") from None
    if not isinstance(interface, Mapping):
        raise ValueError(f"{name}: expected __cuda_array_interface__ to be a mapping, found {type(interface).__name__}")
    shape, typestr = interface.get("shape"), interface.get("typestr")
    data, stream = interface.get("data"), interface.get("stream")
    if not isinstance(shape, tuple) or not all(_is_whole(extent) for extent in shape):
        raise ValueError(f"{name}: expected a shape of whole numbers on the device, found {shape!r:.80}")
    found = _FORMATS.get(typestr) if isinstance(typestr, str) else None
    if found is None:
        raise ValueError(f"{name}: expected f16, bf16 or f32 on the device, found {typestr!r:.80}")
    if not isinstance(data, tuple) or len(data) != 2 or not _is_whole(data[0]) or data[0] >= 2**64:
        raise ValueError(f"{name}: expected data as an address and whether it is read-only, found {data!r:.80}")
    if interface.get("mask") is not None:
        raise ValueError(f"{name}: expected an array without a mask, found a masked one")
    if stream is not None and (not _is_whole(stream) or stream == 0):
        raise ValueError(f"{name}: expected a stream above 0 or none, found {stream!r:.80}")
    strides = interface.get("strides")
    if strides is not None and strides != _strides(shape, _WIDTHS[found]) and math.prod(shape) > 0:
        raise ValueError(f"{name}: expected an array in C order on the device, found strides {strides!r:.80}")
    return DeviceArray(data[0], shape, found, value)


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _strides(shape: tuple[int, ...], width: int) -> tuple[int, ...]:
    """The strides of C order, in bytes."""
    return tuple(width * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
