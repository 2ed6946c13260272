"""The header of .npy, on its own and inside .npz; nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from tokenize import TokenError
from typing import IO

from numpy.lib import format as npy_format

from isthmus.data.dtypes import stored_as
from isthmus.data.file_errors import (
    cut_short,
    damaged,
    file_size,
    os_errors,
    refuse_empty,
    wrong_kind,
)
from isthmus.data.flat import Layout, check_member, unzipping
from isthmus.data.remote import open_binary
from isthmus.errors import CorruptFile

_CLAIM = 1032
"""So many times its size unpacks a member compressed by deflate at most; beyond it is looked."""
_MAGIC = b"\x93NUMPY"
_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
    (3, 0): npy_format.read_array_header_2_0,  # the same, but for names of fields in UTF-8
}
_PARSING = (ValueError, TypeError, SyntaxError, KeyError, RecursionError, MemoryError, TokenError)


def npy_layout(path: str, what: str) -> Layout:
    """Read the header of a .npy file. Raises CorruptFile where it is not one, or is cut short."""
    size = file_size(path)
    refuse_empty(what, size)
    with os_errors(path), open_binary(path) as handle:
        return read_header(handle, size, path, what)


def read_header(
    handle: IO[bytes],
    size: int,
    path: str,
    what: str,
    base: int = 0,
    member: str | None = None,
    packed: bool = False,
) -> Layout:
    """Read a .npy header at the start of ``handle`` whose whole content has ``size`` bytes.

    ``base`` is added to the offset of the data (an uncompressed member inside its archive).
    """
    head = handle.read(64)
    if not head.startswith(_MAGIC) and not (head and _MAGIC.startswith(head)):
        raise wrong_kind(what, "a NumPy array", head)
    handle.seek(0)
    try:
        version = npy_format.read_magic(handle)
        shape, fortran, dtype = _READERS[version](handle)
        offset = handle.tell()
    except _PARSING as error:
        if head[6:8] and tuple(head[6:8]) not in _READERS:
            raise CorruptFile(
                "unknown-version",
                f"{what} has .npy format version {head[6]}.{head[7]}; expected 1.0, 2.0 or 3.0: "
                "save it again with numpy.save",
            ) from None
        if str(error).startswith("EOF"):  # NumPy's word for a header that ends early
            raise CorruptFile(
                "cut-short",
                f"{what} is cut short inside its header (it has {size} bytes); copy or download "
                "it again",
            ) from None
        raise damaged(what, ".npy header") from error
    if any(length < 0 for length in shape):
        raise damaged(what, f".npy header, with the impossible shape {shape}")
    layout = Layout(
        path=path,
        offset=base + offset,
        shape=tuple(shape),
        stored=stored_as(dtype),
        fortran=bool(fortran) and len(shape) > 1,
        member=member,
        packed=packed,
    )
    if not dtype.hasobject:
        check_size(layout.nbytes, size - offset, what)
    return layout


def check_size(promised: int, found: int, what: str) -> None:
    """Raise CorruptFile unless the data has the bytes that the header promises."""
    if found < promised:
        raise cut_short(what, found, promised)
    if found > promised:
        raise CorruptFile(
            "longer-than-promised",
            f"{what} holds {found - promised} bytes more than the {promised} that its header "
            "promises; expected one array in a file: save it again",
        )


def npz_layouts(path: str, what: str, only: str | None = None) -> dict[str, Layout]:
    """Read the headers of the arrays of an .npz archive, in their order, by key.

    Of the key ``only`` alone, where there is such an array: others may be damaged.
    """
    size = file_size(path)
    refuse_empty(what, size)
    with os_errors(path), open_binary(path) as plain:
        head = plain.read(64)
        if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            raise wrong_kind(what, "an .npz archive", head)
        found: dict[str, Layout] = {}
        with unzipping(path), zipfile.ZipFile(plain) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            if not members:
                raise CorruptFile(
                    "no-key",
                    f"{what} is a zip archive without a NumPy array in it; expected what "
                    "numpy.savez writes: unpack it and name the file that is meant",
                )
            for info in [m for m in members if m.filename == f"{only}.npy"] or members:
                key = info.filename[: -len(".npy")]
                stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
                base = _data_start(plain, info.header_offset, path) if stored else 0
                if info.file_size > _CLAIM * info.compress_size:
                    check_member(path, info.filename)  # before anything of that size is made
                with archive.open(info) as member:
                    found[key] = read_header(
                        member,
                        info.file_size,
                        path,
                        f"the array '{key}' of '{path}'",
                        base,
                        info.filename,
                        not stored,
                    )
    return found


def _data_start(plain: IO[bytes], at: int, path: str) -> int:
    """Offset of an uncompressed member's bytes within its archive."""
    plain.seek(at)
    head = plain.read(30)
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(path)
    return at + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
