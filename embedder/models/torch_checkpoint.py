"""Read the tensors of a PyTorch checkpoint without PyTorch, and without running anything the file says.

Owns the file format that `torch.save` wrote before PyTorch 1.6 (five pickles, then each storage as a count and raw bytes). A
pickle can name any function for its reader to call; this one knows two names, and refuses a file that holds a third. Called by
`embedder.models.pretrained`.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from lookalike.errors import InvalidArgument, NotFound

_MAGIC = 0x1950A86A20F9469CFC6C
"""torch/serialization.py, MAGIC_NUMBER."""
_PROTOCOL = 1001
_ZIP = b"PK\x03\x04"
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8", "HalfStorage": "<f2", "DoubleStorage": "<f8", "IntStorage": "<i4"}
_MALFORMED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError, OverflowError,
    MemoryError, struct.error, UnicodeDecodeError,
)  # fmt: skip
"""What unpickling a file that is not such a checkpoint was seen to end in."""


@dataclass(frozen=True, slots=True)
class _StorageType:
    """Stands for `torch.FloatStorage` and the like."""

    dtype: str


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage that has not been read yet."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of the state dict in `path`, by name, in the file's order, of the shape and dtype they were saved with.

    Raises `NotFound` where there is no such file, `InvalidArgument` for one that is not such a checkpoint: of PyTorch's newer
    zip format, damaged, or naming anything but tensors.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound("weights file", str(path)) from error
    except OSError as error:
        raise InvalidArgument("weights", f"{path} cannot be read: {error.strerror}") from error
    if data.startswith(_ZIP):
        raise InvalidArgument("weights", f"{path} is of PyTorch's zip format; only the one from before PyTorch 1.6 is read")
    try:
        return _read(io.BytesIO(data))
    except _MALFORMED as error:
        raise InvalidArgument("weights", f"{path} is not a PyTorch checkpoint that can be read: {error}") from error


def _read(stream: IO[bytes]) -> dict[str, npt.NDArray[Any]]:
    if _Unpickler(stream).load() != _MAGIC or _Unpickler(stream).load() != _PROTOCOL:
        raise ValueError("it does not begin as one")
    if not _Unpickler(stream).load()["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    unpickler = _Unpickler(stream)
    state = unpickler.load()
    if not isinstance(state, dict) or not all(isinstance(tensor, _Tensor) for tensor in state.values()):
        raise ValueError("it holds more than tensors by name")
    storages = {}
    for key in _Unpickler(stream).load():
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", stream.read(8))
        if count != storage.count:
            raise ValueError(f"storage {key} is {count} long, and was said to be {storage.count}")
        size_bytes = np.dtype(storage.dtype).itemsize
        storages[key] = np.frombuffer(stream.read(count * size_bytes), storage.dtype, count)
    return {name: _view(storages, tensor) for name, tensor in state.items()}


def _view(storages: Mapping[str, npt.NDArray[Any]], tensor: _Tensor) -> npt.NDArray[Any]:
    """The tensor's own copy of its numbers: some were transposed before they were saved, and say so by their strides."""
    storage, shape, strides = storages[tensor.storage.key], tensor.shape, tensor.strides
    whole = all(isinstance(number, int) and number >= 0 for number in (tensor.offset, *shape, *strides))
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if not whole or last >= len(storage) or math.prod(shape) > len(storage):
        raise ValueError("a tensor reaches beyond its storage")
    steps = tuple(stride * storage.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], shape, steps).copy()


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    """`torch._utils._rebuild_tensor_v2`; whether it wants a gradient, and its hooks, are of no interest."""
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Knows how to rebuild a tensor and an ordered dict, and nothing else."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no tensor")

    def persistent_load(self, said: Any) -> _Storage:
        kind, storage_type, key, _device, count, view = said
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError("it refers to something that is no storage")
        return self.storages.setdefault(key, _Storage(key, storage_type.dtype, count))
