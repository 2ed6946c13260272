"""Rows that lie one after another in a file: the body of .npy, .safetensors and .npz members."""

from __future__ import annotations

import itertools
import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

import numpy as np

from isthmus.data.dtypes import Stored, check_float, decode
from isthmus.data.file_errors import damaged, os_errors, regular
from isthmus.data.remote import open_binary
from isthmus.data.row_checks import check_axes
from isthmus.data.source import BaseSource
from isthmus.errors import CorruptFile, IsthmusError

_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, struct.error)
_PIECE_BYTES = 1 << 20  # small blocks are cut from reads of about this size
_SPAN_BYTES = 4 << 20  # take() reads neighbouring rows together up to this span
_GAP_BYTES = 16 << 10  # … when no more than this lies between them
_COLUMN_ROWS = 16384  # rows per pass over the columns of a Fortran-order file


@dataclass(frozen=True)
class Layout:
    """An array of any shape and number format at ``offset`` bytes of a file.

    ``member`` names the member of a zip archive that holds it: its checksum is tested before it
    is read. Where the member is ``packed``, the offset is inside what it unpacks to.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    stored: Stored
    fortran: bool = False
    member: str | None = None
    packed: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of data."""
        return math.prod(self.shape) * self.stored.raw.itemsize

    def __str__(self) -> str:
        return f"{self.stored.name} {self.shape}"

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the bytes; a compressed member can only be sought forward cheaply."""
        if self.member is not None:
            check_member(self.path, self.member)
        if self.member is None or not self.packed:
            with ExitStack() as stack:
                with os_errors(self.path):
                    handle = stack.enter_context(open_binary(self.path, buffered=False))
                yield handle
            return
        with (
            unzipping(self.path),
            open_binary(self.path) as plain,
            zipfile.ZipFile(plain) as archive,
            archive.open(self.member) as member,
        ):
            yield member

    def load(self, what: str) -> np.ndarray:
        """The whole array in its own shape, decoded; for small arrays."""
        raw = np.empty(self.nbytes, np.uint8)
        with self.open() as handle:
            handle.seek(self.offset)
            read_exactly(handle, raw, what)
        array = np.ndarray(self.shape, self.stored.raw, raw, order="F" if self.fortran else "C")
        return decode(array, self.stored)


def check_member(path: str, member: str) -> None:
    """Read a member of a zip archive once, to its end: its checksum and length must be right.

    Raises:
        CorruptFile: they are not. Cost: one pass over the member, once for a process and file.
    """
    found = regular(path)
    _check_member(path, member, (found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(1024)
def _check_member(path: str, member: str, _: tuple[int, ...]) -> None:
    with (
        unzipping(path),
        open_binary(path) as plain,
        zipfile.ZipFile(plain) as archive,
        archive.open(member) as data,
    ):
        left = archive.getinfo(member).file_size
        while piece := data.read(_PIECE_BYTES):
            left -= len(piece)
        if left:
            raise zipfile.BadZipFile(path)


@contextmanager
def unzipping(path: str) -> Iterator[None]:
    """Turn the errors of a damaged zip archive into CorruptFile."""
    try:
        with os_errors(path):
            yield
    except IsthmusError:
        raise
    except _BAD_ZIP as error:
        raise damaged(f"'{path}'", "or incomplete zip archive") from error
    except (NotImplementedError, RuntimeError) as error:
        raise CorruptFile(
            "unreadable-archive",
            f"'{path}' is encrypted or compressed in a way that cannot be read; write it with "
            "numpy.savez",
        ) from error


def read_exactly(handle: IO[bytes], into: np.ndarray, what: str) -> None:
    """Fill the byte array ``into`` from the file; raises CorruptFile where it ends early."""
    view = memoryview(into.data)
    done = 0
    while done < len(view):
        count = handle.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise CorruptFile(
                "cut-short",
                f"{what} ended {len(view) - done} bytes too early while it was read; "
                "expected all rows its header promises: is it still being written?",
            )
        done += count


class FlatSource(BaseSource):
    """Rows at an offset of a file, in C or Fortran order, read with ``readinto``.

    No memory map: its pages would count as the process's own memory.
    """

    def __init__(self, layout: Layout, spec: str, name: str) -> None:
        what = f"'{spec}'"
        check_float(layout.stored, what, layout.shape)
        check_axes(layout.shape, what)
        rows, dim = layout.shape
        super().__init__(spec, name, rows, dim, layout.stored.name)
        self.layout = layout

    def pieces(self, size: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Rows in reused buffers."""
        if self.layout.fortran:
            return self._by_column(size, start, stop)
        return self._by_row(size, start, stop)

    def _by_row(self, size: int, start: int, stop: int) -> Iterator[np.ndarray]:
        stored = self.layout.stored
        width = self.dim * stored.raw.itemsize
        many = min(size * max(1, _PIECE_BYTES // (size * width)), stop - start)
        raw = np.empty(many * width, np.uint8)
        out = self._spare(many)
        with self.layout.open() as handle:
            handle.seek(self.layout.offset + start * width)
            for at in range(start, stop, many):
                k = min(many, stop - at)
                read_exactly(handle, raw[: k * width], f"'{self.spec}'")
                rows = raw[: k * width].view(stored.raw).reshape(k, self.dim)
                yield rows if out is None else decode(rows, stored, out[:k])

    def _by_column(self, size: int, start: int, stop: int) -> Iterator[np.ndarray]:
        stored = self.layout.stored
        item = stored.raw.itemsize
        many = min(max(size, _COLUMN_ROWS), stop - start)
        raw = np.empty((self.dim, many * item), np.uint8)
        out = np.empty((many, self.dim), stored.native)
        with self._seekable() as (handle, offset):
            for at in range(start, stop, many):
                k = min(many, stop - at)
                for column in range(self.dim):
                    handle.seek(offset + (column * self.rows + at) * item)
                    read_exactly(handle, raw[column, : k * item], f"'{self.spec}'")
                block = raw[:, : k * item].view(stored.raw)
                out[:k] = decode(block, stored).T
                yield out[:k]

    @contextmanager
    def _seekable(self) -> Iterator[tuple[IO[bytes], int]]:
        """The data and its offset; a compressed member is unpacked to a temporary file first."""
        with self.layout.open() as handle:
            if not self.layout.packed:
                yield handle, self.layout.offset
                return
            with os_errors(tempfile.gettempdir(), "written"), tempfile.TemporaryFile() as spool:
                while chunk := handle.read(_PIECE_BYTES):
                    spool.write(chunk)
                yield spool, self.layout.offset

    def _spare(self, rows: int) -> np.ndarray | None:
        stored = self.layout.stored
        if stored.name != "bfloat16" and stored.raw.isnative:
            return None
        return np.empty((rows, self.dim), stored.native)

    def read(self) -> np.ndarray:
        """See :meth:`Rows.read`: all bytes at once."""
        if self.layout.fortran or not self.rows:
            return super().read()
        (rows,) = self._by_row(self.rows, 0, self.rows)
        return rows

    def take_sorted(self, wanted: np.ndarray) -> np.ndarray:
        """Rows at increasing indices: one read for each run of near neighbours."""
        if self.layout.fortran:
            return super().take_sorted(wanted)
        stored = self.layout.stored
        width = self.dim * stored.raw.itemsize
        raw = np.empty((len(wanted), width), np.uint8)
        breaks = np.flatnonzero(np.diff(wanted) * width > _GAP_BYTES + width) + 1
        edges = [0, *breaks.tolist(), len(wanted)]
        longest = max(1, _SPAN_BYTES // width)
        with self.layout.open() as handle:
            for lo, end in itertools.pairwise(edges):
                while lo < end:
                    first = int(wanted[lo])
                    hi = min(end, int(np.searchsorted(wanted, first + longest)))
                    span = np.empty(((int(wanted[hi - 1]) + 1 - first), width), np.uint8)
                    handle.seek(self.layout.offset + first * width)
                    read_exactly(handle, span.reshape(-1), f"'{self.spec}'")
                    raw[lo:hi] = span[wanted[lo:hi] - first]
                    lo = hi
        return decode(raw.view(stored.raw).reshape(len(wanted), self.dim), stored)
