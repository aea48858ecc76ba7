"""The layers of one context: mappings of arrays, or a sample of a dump."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from laprox import _laprox
from laprox._arrays import reals
from laprox._device import DeviceArray, device_array, is_on_device
from laprox._foreign import is_of_torch

ARRAYS = ("q", "k", "v", "o_proj")
# Those that are read where they lie on a device.
ON_DEVICE = ARRAYS[:3]
OPTIONAL = ("q_future", "scale", "layer")


class Sample:
    """One prompt of a dump. It stands wherever `layers` does; one layer is in memory at a time then.

    >>> sample = Dump()["moby-dick-1"]
    >>> sample.context, sample.window, sample.future
    (1024, 32, 32)
    >>> sample.layers()[0]["k"].shape          # [Hkv, n + t, d]
    (3, 1056, 64)
    """

    def __init__(self, dump: Dump, index: int):
        facts = dump.manifest["samples"][index]
        self.dump = dump
        self.name: str = facts["name"]
        self.context: int = facts["context"]
        self.window: int = dump.manifest["window"]
        self.future: int = facts["future"]
        self._native = dump._native.sample(index)
        #: SHA-256 of the context's token ids as little-endian u32; None if the dump does not hold them.
        self.tokens_sha256: str | None = self._native.tokens_sha256

    def layers(self) -> list[dict[str, Any]]:
        """The layers as mappings of arrays that are mapped from the files, not read."""
        scale, numbers = self.dump.manifest["model"]["attention_scale"], self.dump.manifest["layers"]
        files = self._native.files()

        def arrays(of_layer: Mapping[str, str]) -> dict[str, np.ndarray]:
            return {key: np.load(file, mmap_mode="r") for key, file in of_layer.items()}

        return [{**arrays(file), "scale": scale, "layer": number} for file, number in zip(files, numbers)]

    def __repr__(self) -> str:
        return f"<laprox.Sample {self.name}: {self.context} tokens>"


class Dump(Sequence[Sample]):
    """The samples of an activation dump, by index or by name.

    Args:
        path: the dump's folder; without one, the dump that comes with the package.

    Raises:
        FileNotFoundError: when there is no such folder, or a file of it is missing.
        ValueError: when a file is not as the manifest promises.

    >>> dump = Dump()
    >>> [sample.name for sample in dump], dump.manifest["model"]["name"]
    (['moby-dick-1'], 'SmolLM2-135M-Instruct')
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        self._native = _laprox.Dump(None if path is None else os.fspath(path))
        #: `manifest.json`
        self.manifest: dict[str, Any] = json.loads(self._native.manifest)
        #: The folder.
        self.path: str = os.fspath(self._native.path)

    def check(self) -> None:
        """Reads every value; raises ValueError for one that is NaN or infinite."""
        self._native.check()

    def __len__(self) -> int:
        return len(self.manifest["samples"])

    def __getitem__(self, key: Any) -> Any:
        names = [sample["name"] for sample in self.manifest["samples"]]
        if isinstance(key, slice):
            return [self[index] for index in range(len(self))[key]]
        if isinstance(key, str):
            if key not in names:
                raise KeyError(f"sample {key!r}: expected one of {', '.join(names)}")
            return Sample(self, names.index(key))
        return Sample(self, range(len(self))[key])

    def __iter__(self) -> Iterator[Sample]:
        return (Sample(self, index) for index in range(len(self)))

    def __repr__(self) -> str:
        return f"<laprox.Dump {self.manifest['model']['name']}: {len(self)} samples>"


Layers = Sample | Dump | Sequence[Mapping[str, Any]]
Native = Any


def sample_of(dump: Dump) -> Sample:
    """The only sample of a dump."""
    if len(dump) != 1:
        raise ValueError(f"layers: expected one sample, found a dump of {len(dump)}: dump[0], or by name")
    return dump[0]


def tokens_of(layers: Layers) -> str | None:
    """The digest of the tokens behind layers, if it is known."""
    if isinstance(layers, Dump):
        layers = sample_of(layers)
    return layers.tokens_sha256 if isinstance(layers, Sample) else None


def native(layers: Layers, path: str = "fast") -> Native:
    """Layers as the extension takes them. With the path `gpu`, tensors on the device stay there."""
    if isinstance(layers, Dump):
        layers = sample_of(layers)
    if isinstance(layers, Sample):
        return layers._native
    return [native_layer(layer, place, path) for place, layer in enumerate(sequence(layers))]


def sequence(layers: Any) -> Sequence[Mapping[str, Any]]:
    """Layers that are mappings of arrays."""
    if isinstance(layers, Mapping) or not isinstance(layers, Sequence) or isinstance(layers, str):
        raise ValueError(f"layers: expected a list of mappings or a sample, found {type(layers).__name__}")
    return layers


def native_layer(layer: Any, place: int, path: str = "fast") -> tuple[Any, ...]:
    """One layer: number, scale, q, k, v, o_proj, q_future."""
    name, number = f"layers[{place}]", number_of(layer, place)
    for key in layer:
        if key not in ARRAYS + OPTIONAL:
            raise ValueError(f"{name}: expected keys {', '.join(ARRAYS + OPTIONAL)}, found {key!r:.80}")
    for key in ARRAYS:
        if layer.get(key) is None:
            raise ValueError(f"{name}: expected {key}, found nothing")
    future = layer.get("q_future")
    scale = layer.get("scale")
    if scale is not None and not isinstance(scale, (int, float, np.floating)):
        raise ValueError(f"{name}.scale: expected a number, found {type(scale).__name__}")
    arrays = [_array(layer[key], f"{name}.{key}", path if key in ON_DEVICE else "fast") for key in ARRAYS]
    lie = {isinstance(array, DeviceArray) for array in arrays[: len(ON_DEVICE)]}
    if len(lie) > 1:
        raise ValueError(f"{name}: expected q, k and v all on the device or all on the host, found some of each")
    return (
        number,
        None if scale is None else float(scale),
        *arrays,
        None if future is None else reals(future, f"{name}.q_future"),
    )


def extents(layer: Any, place: int, key: str) -> tuple[int, ...]:
    """The shape of one of a layer's arrays, wherever it lies; empty if there is none."""
    value, name = layer.get(key), f"layers[{place}].{key}"
    if value is None:
        return ()
    if is_of_torch(value):
        return tuple(value.shape)
    return (device_array if is_on_device(value) else reals)(value, name).shape


def _array(value: Any, name: str, path: str) -> Any:
    """An array where it lies, if this path reads it there."""
    return device_array(value, name) if path == "gpu" and is_on_device(value) else reals(value, name)


def number_of(layer: Any, place: int) -> int:
    """The layer's number in the model: its place, if it does not say."""
    name = f"layers[{place}]"
    if not isinstance(layer, Mapping):
        raise ValueError(f"{name}: expected a mapping, found {type(layer).__name__}")
    number = layer.get("layer", place)
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < 2**32:
        raise ValueError(f"{name}.layer: expected a layer's number, found {number!r:.80}")
    return int(number)
