"""The safetensors format: a length, a JSON header, then the data of all tensors.

Reading and writing are done here and not by the library: rows can be streamed from an offset, and
the bytes written depend on the content alone (the library orders metadata at random).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.data.atomic import atomic_path
from isthmus.data.dtypes import Stored
from isthmus.data.flat import Layout, file_size
from isthmus.data.words import looks_like, opening, refuse_empty
from isthmus.errors import CorruptFile, DtypeError, IsthmusError

_HEADER_LIMIT = 100_000_000  # the format's own limit

STORED: dict[str, Stored] = {
    "F64": Stored("float64", np.dtype("<f8")),
    "F32": Stored("float32", np.dtype("<f4")),
    "F16": Stored("float16", np.dtype("<f2")),
    "BF16": Stored("bfloat16", np.dtype("<u2")),
    "I64": Stored("int64", np.dtype("<i8")),
    "I32": Stored("int32", np.dtype("<i4")),
    "I16": Stored("int16", np.dtype("<i2")),
    "I8": Stored("int8", np.dtype("i1")),
    "U64": Stored("uint64", np.dtype("<u8")),
    "U32": Stored("uint32", np.dtype("<u4")),
    "U16": Stored("uint16", np.dtype("<u2")),
    "U8": Stored("uint8", np.dtype("u1")),
    "BOOL": Stored("bool", np.dtype("?")),
    "C64": Stored("complex64", np.dtype("<c8")),
    "F8_E4M3": Stored("float8_e4m3", np.dtype("V1")),
    "F8_E5M2": Stored("float8_e5m2", np.dtype("V1")),
}
_CODES = {s.name: code for code, s in STORED.items() if not code.startswith(("F8", "BF"))}


def tensor_layouts(path: str, what: str) -> tuple[dict[str, Layout], dict[str, str]]:
    """Read the header: where each tensor lies, by name in file order, and the metadata.

    Raises CorruptFile where the file is not safetensors, or is cut short.
    """
    size = file_size(path)
    refuse_empty(what, size)
    with opening(path), open(path, "rb") as handle:
        head = handle.read(64)
        length = int.from_bytes(head[:8], "little")
        if len(head) < 9 or head[8:9] != b"{" or length > _HEADER_LIMIT:
            raise CorruptFile(
                f"{what} is not a safetensors file: it looks like {looks_like(head)}; "
                "expected what safetensors writes: check where the file came from"
            )
        if size < 8 + length:
            raise CorruptFile(
                f"{what} is cut short inside its header (it has {size} bytes, the header alone "
                f"{8 + length}); copy or download it again"
            )
        handle.seek(8)
        text = handle.read(length)
    damaged = CorruptFile(
        f"{what} has a damaged safetensors header; expected JSON with the dtype, shape and place "
        "of every tensor: write it again"
    )
    try:
        header = json.loads(text)
    except IsthmusError:
        raise
    except (ValueError, RecursionError):
        raise damaged from None
    if not isinstance(header, dict):
        raise damaged
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        raise damaged
    layouts: dict[str, Layout] = {}
    room = size - 8 - length
    for key, entry in header.items():
        try:
            code, shape = entry["dtype"], tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            sound = all(type(n) is int and n >= 0 for n in (*shape, begin, end)) and begin <= end
        except IsthmusError:
            raise
        except (TypeError, KeyError, ValueError):
            raise damaged from None
        if not sound or not isinstance(code, str):
            raise damaged
        stored = STORED.get(code, Stored(code, np.dtype("V1")))
        if end > room:
            raise CorruptFile(
                f"{what} is cut short: its header promises {end} bytes of data and it holds "
                f"{room}; copy or download it again"
            )
        if code in STORED and end - begin != math.prod(shape) * stored.raw.itemsize:
            raise damaged
        layouts[key] = Layout(path=path, offset=8 + length + begin, shape=shape, stored=stored)
    return layouts, {str(k): str(v) for k, v in metadata.items()}


def tensor_header(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str], room: int = 0
) -> bytes:
    """Header bytes for tensors (dtype name, shape) that lie in the order given.

    ``room`` is the least length in bytes, for a header that is rewritten once sizes are known.
    """
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = {k: metadata[k] for k in sorted(metadata)}
    at = 0
    for key, (dtype, shape) in tensors.items():
        code = _CODES[dtype]
        end = at + math.prod(shape) * STORED[code].raw.itemsize
        header[key] = {"dtype": code, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    length = max(len(text), room - 8)
    length += -length % 8
    return length.to_bytes(8, "little") + text.ljust(length)


def save_tensors(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write arrays and text metadata as safetensors: atomic, the same bytes for the same content.

    Wide number formats come first and names are sorted, so the data of every tensor is aligned.
    Raises DtypeError for a dtype that safetensors has no name for, FileError where writing fails.
    """
    plain: dict[str, np.ndarray] = {}
    for key, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.name not in _CODES:
            raise DtypeError(
                f"the array '{key}' holds {array.dtype}, which safetensors cannot store; "
                f"expected one of: {', '.join(_CODES)}"
            )
        if key == "__metadata__":
            raise DtypeError(
                "no array may be named '__metadata__' in a safetensors file: rename it"
            )
        little = array.dtype.newbyteorder("<")
        plain[key] = np.asarray(array, dtype=little, order="C")
    for name, text in metadata.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise DtypeError(
                f"the metadata entry '{name}' is a {type(text).__name__}; expected text: "
                "write it as a string"
            )
    order = sorted(plain, key=lambda key: (-plain[key].dtype.itemsize, key))
    header = tensor_header({k: (plain[k].dtype.name, plain[k].shape) for k in order}, metadata)
    with atomic_path(path) as temporary, opening(path, "written"), open(temporary, "wb") as handle:
        handle.write(header)
        for key in order:
            handle.write(plain[key].tobytes())


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read all tensors (bfloat16 decoded to float32) and the metadata of a safetensors file.

    Raises FileError where there is none, CorruptFile where it is damaged, DtypeError for number
    formats that NumPy does not have.
    """
    place = os.fspath(path)
    layouts, metadata = tensor_layouts(place, f"'{place}'")
    arrays: dict[str, np.ndarray] = {}
    for key in sorted(layouts):
        layout = layouts[key]
        if layout.stored.raw.kind == "V":
            raise DtypeError(
                f"the tensor '{key}' of '{place}' holds {layout.stored.name}, which NumPy does not "
                "have; expected ordinary floats, integers or booleans: convert it first"
            )
        arrays[key] = layout.load(f"'{place}'")
    return arrays, metadata
