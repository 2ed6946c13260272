"""The header of .npy, on its own and inside .npz; nothing is ever unpickled."""

from __future__ import annotations

import tokenize
import zipfile
from typing import IO

from numpy.lib import format as npy_format

from isthmus.data.dtypes import stored_as
from isthmus.data.flat import Layout, file_size, unzipping
from isthmus.data.words import looks_like, opening, refuse_empty
from isthmus.errors import CorruptFile

_MAGIC = b"\x93NUMPY"
_PARSING = (ValueError, TypeError, SyntaxError, KeyError, RecursionError, MemoryError)
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4, (3, 0): 4}


def npy_layout(path: str, what: str) -> Layout:
    """Read the header of a .npy file. Raises CorruptFile where it is not one, or is cut short."""
    size = file_size(path)
    refuse_empty(what, size)
    with opening(path), open(path, "rb") as handle:
        return read_header(handle, size, path, what)


def read_header(
    handle: IO[bytes], size: int, path: str, what: str, base: int = 0, member: str | None = None
) -> Layout:
    """Read a .npy header at the start of ``handle`` whose whole content has ``size`` bytes.

    ``base`` is added to the offset of the data (an uncompressed member inside its archive).
    """
    head = handle.read(64)
    if not head.startswith(_MAGIC) and not (head and _MAGIC.startswith(head)):
        raise CorruptFile(
            f"{what} is not a NumPy array: it looks like {looks_like(head)}; expected what "
            "numpy.save writes: check where the file came from"
        )
    version = (head[6], head[7]) if len(head) >= 8 else (1, 0)
    length = _LENGTH_BYTES.get(version)
    if length is None:
        raise CorruptFile(
            f"{what} has .npy format version {version[0]}.{version[1]}; expected 1.0, 2.0 or 3.0: "
            "save it again with numpy.save"
        )
    promised = int.from_bytes(head[8 : 8 + length], "little")
    if len(head) < 8 + length or size < 8 + length + promised:
        raise CorruptFile(
            f"{what} is cut short inside its header (it has {size} bytes); "
            "expected a whole .npy file: copy or download it again"
        )
    handle.seek(0)
    try:
        npy_format.read_magic(handle)
        read = (
            npy_format.read_array_header_1_0
            if version == (1, 0)
            else npy_format.read_array_header_2_0
        )
        shape, fortran, dtype = read(handle)
    except (*_PARSING, tokenize.TokenError) as error:
        raise CorruptFile(
            f"{what} has a damaged .npy header; expected shape, order and number format in it: "
            "save it again with numpy.save"
        ) from error
    if any(length < 0 for length in shape):
        raise CorruptFile(
            f"{what} claims the impossible shape {shape}; expected lengths of 0 or more: "
            "save it again with numpy.save"
        )
    offset = 8 + length + promised
    layout = Layout(
        path=path,
        offset=base + offset,
        shape=tuple(shape),
        stored=stored_as(dtype),
        fortran=bool(fortran) and len(shape) > 1,
        member=member,
    )
    if not dtype.hasobject:
        check_size(layout.nbytes, size - offset, f"{what}", layout.shape)
    return layout


def check_size(promised: int, found: int, what: str, shape: tuple[int, ...]) -> None:
    """Raise CorruptFile unless the data has the bytes that the header promises."""
    if found < promised:
        raise CorruptFile(
            f"{what} is cut short: it holds {found} of the {promised} bytes that its header "
            f"promises for shape {shape}; copy or download it again"
        )
    if found > promised:
        raise CorruptFile(
            f"{what} holds {found - promised} bytes more than the {promised} that its header "
            f"promises for shape {shape}; expected one array in a file: save it again"
        )


def npz_layouts(path: str, what: str) -> dict[str, Layout]:
    """Read the headers of all arrays of an .npz archive, in their order, by key."""
    size = file_size(path)
    refuse_empty(what, size)
    with opening(path), open(path, "rb") as plain:
        head = plain.read(64)
        if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            raise CorruptFile(
                f"{what} is not an .npz archive: it looks like {looks_like(head)}; expected what "
                "numpy.savez writes: check where the file came from"
            )
        found: dict[str, Layout] = {}
        with unzipping(path), zipfile.ZipFile(plain) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            if not members:
                raise CorruptFile(
                    f"{what} is a zip archive without a NumPy array in it; expected what "
                    "numpy.savez writes: unpack it and name the file that is meant"
                )
            for info in members:
                key = info.filename[: -len(".npy")]
                stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
                base = _data_start(plain, info.header_offset, path) if stored else 0
                with archive.open(info) as member:
                    found[key] = read_header(
                        member,
                        info.file_size,
                        path,
                        f"the array '{key}' of '{path}'",
                        base,
                        None if stored else info.filename,
                    )
    return found


def _data_start(plain: IO[bytes], at: int, path: str) -> int:
    """Offset of an uncompressed member's bytes within its archive."""
    plain.seek(at)
    head = plain.read(30)
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(path)
    return at + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
