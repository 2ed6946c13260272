"""The safetensors format: a length, a JSON header, then the data of all tensors.

The library writes, and says whether a header is sound. Rows are streamed from an offset of the
file, where the library maps the file into memory.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from isthmus.data.atomic import atomic_path
from isthmus.data.dtypes import Stored
from isthmus.data.file_errors import (
    cut_short,
    damaged,
    each_once,
    file_size,
    os_errors,
    refuse_empty,
    wrong_kind,
)
from isthmus.data.flat import Layout
from isthmus.data.remote import is_remote, open_binary
from isthmus.errors import DtypeError

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
WRITABLE = {s.name: code for code, s in STORED.items() if not code.startswith(("F8", "BF"))}
"""NumPy's name -> the format's, for what is written."""


def tensor_layouts(path: str, what: str) -> tuple[dict[str, Layout], dict[str, str]]:
    """Read the header: where each tensor lies, by name in file order, and the metadata.

    Raises CorruptFile where the file is not safetensors, or is cut short.
    """
    from safetensors import SafetensorError, safe_open

    size = file_size(path)
    refuse_empty(what, size)
    with os_errors(path), open_binary(path) as handle:
        head = handle.read(64)
        length = int.from_bytes(head[:8], "little")
        if len(head) < 9 or head[8:9] != b"{" or length > _HEADER_LIMIT:
            raise wrong_kind(what, "a safetensors file", head)
        if size < 8 + length:
            raise cut_short(what, size, 8 + length, "of its header")
        handle.seek(8)
        text = handle.read(length)
    try:
        header = json.loads(text.decode(), object_pairs_hook=each_once)
        held, end = size - 8 - length, _end(header)
        if end > held:
            raise cut_short(what, held, end)
        with (
            _for_library(path, head[:8] + text, size) as file,
            safe_open(file, "np"),
        ):  # the library's own rules: no holes, no overlaps, no bytes left
            metadata = header.pop("__metadata__", None) or {}
    except (SafetensorError, ValueError, RecursionError) as error:
        raise damaged(what, "safetensors header") from error
    layouts: dict[str, Layout] = {}
    for key, entry in header.items():
        stored = STORED.get(entry["dtype"], Stored(entry["dtype"], np.dtype("V1")))
        offset = 8 + length + entry["data_offsets"][0]
        layouts[key] = Layout(path, offset, tuple(entry["shape"]), stored)
    return layouts, metadata


@contextmanager
def _for_library(path: str, header: bytes, size: int) -> Iterator[str]:
    """A file that has the header and the length: the file itself, or one of holes for it."""
    if not is_remote(path):
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as holes:
        holes.write(header)
        holes.truncate(size)
        holes.flush()
        yield holes.name


def _end(header: Any) -> int:
    """Where the last tensor of a header ends, as far as it can be read; 0 where it cannot."""
    try:
        ends = [entry["data_offsets"][1] for entry in header.values() if "dtype" in entry]
    except (TypeError, KeyError, IndexError):
        return 0
    return max((end for end in ends if type(end) is int), default=0)


def save_tensors(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write arrays and text metadata as safetensors: atomic, the same bytes for the same content.

    Raises DtypeError for a dtype that safetensors has no name for, FileError where writing fails.
    """
    from safetensors.numpy import save

    plain: dict[str, np.ndarray] = {}
    for key, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.name not in WRITABLE:
            raise DtypeError(
                "unknown-dtype",
                f"the array '{key}' holds {array.dtype}, which safetensors cannot store; "
                f"expected one of: {', '.join(WRITABLE)}",
            )
        if key == "__metadata__":
            raise DtypeError(
                "reserved-name", "no array of a safetensors file may be named '__metadata__'"
            )
        plain[key] = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    for name, text in metadata.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise DtypeError(
                "metadata-not-text",
                f"the metadata entry '{name}' is a {type(text).__name__}, not text",
            )
    content = _sorted_metadata(save(plain, dict(metadata) or None))
    with atomic_path(path) as temporary, os_errors(path, "written"):
        temporary.write_bytes(content)


def _sorted_metadata(content: bytes) -> bytes:
    """The same file with its metadata in the order of their names.

    The library writes them in an order that changes from run to run.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


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
                "unknown-dtype",
                f"the tensor '{key}' of '{place}' holds {layout.stored.name}; convert it first",
            )
        arrays[key] = layout.load(f"'{place}'")
    return arrays, metadata
