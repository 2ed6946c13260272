"""Rows out, block by block, in the format of the suffix; each file is renamed into place."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any, Protocol

import numpy as np
from numpy.lib import format as npy_format

from isthmus.data.atomic import atomic_path
from isthmus.data.dtypes import FLOATS, decode
from isthmus.data.file_errors import os_errors
from isthmus.data.parquet import is_parquet
from isthmus.data.row_checks import check_array
from isthmus.data.tensors import WRITABLE
from isthmus.errors import FileError, IsthmusError, OptionError, ShapeError, ValuesError

_GROUP_BYTES = 32 << 20  # rows of a Parquet row group
_TABLES = (".arrow", ".feather", ".jsonl", ".npz")
WRITTEN = ".npy, .npz, .safetensors, .parquet, .arrow or .jsonl"
"""Suffixes of rows that are written."""


def holds_columns(path: str | os.PathLike[str]) -> bool:
    """Whether a file of this name holds ids and biases beside its rows."""
    name = os.fspath(path)
    return is_parquet(name) or os.path.splitext(name)[1].lower() in _TABLES


class _Sink(Protocol):
    """One format: takes checked blocks, then finishes once the number of rows is known."""

    def add(self, block: np.ndarray, extra: Mapping[str, np.ndarray]) -> None: ...

    def finish(self, rows: int) -> None: ...


class RowWriter:
    """Write rows (n, dim) block by block; a context manager, atomic as :func:`atomic_path` is.

    The suffix of ``path`` names the format: ``.npy``; ``.npz`` and ``.safetensors`` (under ``key``,
    by default "rows"); ``.parquet``, ``.arrow``, ``.feather`` and ``.jsonl`` (in ``column``, by
    default "embedding"; ``key`` and ``column`` mean the same). ``dtype`` is float16, float32 or
    float64. ``rows``, if given, is checked at the end; nothing depends on knowing it, and the same
    rows give the same bytes whatever the blocks, but for tables. Memory: a block, about 32 MB of
    waiting rows for tables, and the further columns of an .npz.

    Raises FileError for another suffix or a failing disk, OptionError for another dtype or a name
    where the format has none, ShapeError for blocks or counts that do not fit, DtypeError for
    blocks that are not floats, ValuesError where ``dtype`` cannot hold a value.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dim: int,
        dtype: str = "float32",
        rows: int | None = None,
        key: str | None = None,
        column: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.dim = int(dim)
        self.rows = rows
        self.written = 0
        self._named = key if key is not None else column
        self._suffix = os.path.splitext(self.path)[1].lower()
        self._stack = ExitStack()
        self._sink: _Sink | None = None
        if dtype not in FLOATS:
            raise OptionError(
                "unknown-dtype",
                f"rows cannot be written as '{dtype}'; choose one of {', '.join(FLOATS)}",
            )
        self.dtype = np.dtype(dtype)
        if self.dim < 1:
            raise ShapeError(
                "no-columns", f"cannot write rows of dimension {dim}; expected at least 1"
            )
        if not holds_columns(self.path) and self._suffix not in (".npy", ".safetensors"):
            raise FileError("unknown-suffix", f"'{self.path}' does not end in {WRITTEN}; rename it")
        if self._suffix == ".npy" and self._named is not None:
            raise OptionError(
                "no-keys",
                f"'{self.path}': a .npy file has no names, got '{self._named}'; leave it out",
            )

    def __enter__(self) -> RowWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            with os_errors(self.path, "written"):
                handle = stack.enter_context(open(temporary, "wb"))
                column = self._named or "embedding"
                if self._suffix == ".npz":
                    spool = stack.enter_context(tempfile.TemporaryFile())
                    rows = _FlatSink(spool, self.dim, self.dtype, None, self.path)
                    self._sink = _ZipSink(handle, spool, rows, self._named or "rows")
                elif self._suffix == ".jsonl":
                    self._sink = _LinesSink(handle, column)
                elif holds_columns(self.path):
                    table = _TableSink(handle, self.dim, self.dtype, column, is_parquet(self.path))
                    stack.callback(table.close)
                    self._sink = table
                else:
                    tensor = self._suffix == ".safetensors"
                    key = (self._named or "rows") if tensor else None
                    self._sink = _FlatSink(handle, self.dim, self.dtype, key, self.path)
            self._stack = stack.pop_all()
        return self

    def write(self, block: np.ndarray, extra: Mapping[str, np.ndarray] | None = None) -> None:
        """Append rows (k, dim), k of any size, and for formats that hold them further columns (k,).

        Every call needs the same names in ``extra``.
        """
        if self._sink is None:
            raise RuntimeError("RowWriter.write is used inside 'with RowWriter(...)' only")
        rows = self._checked(np.asarray(block))
        columns = {name: np.asarray(values) for name, values in (extra or {}).items()}
        for name, values in columns.items():
            if values.shape != (len(rows),):
                raise ShapeError(
                    "unequal-lengths",
                    f"the column '{name}' has shape {values.shape} for {len(rows)} rows",
                )
        with os_errors(self.path, "written"):
            self._sink.add(rows, columns)
        self.written += len(rows)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sink, self._sink = self._sink, None
        with self._stack as stack:
            if error is not None:
                stack.pop_all().__exit__(kind, error, trace)
            elif self.rows is not None and self.written != self.rows:
                raise ShapeError(
                    "wrong-count",
                    f"'{self.path}' got {self.written} rows, not {self.rows}; nothing is kept",
                )
            elif sink is not None:
                with os_errors(self.path, "written"):
                    sink.finish(self.written)

    def _checked(self, block: np.ndarray) -> np.ndarray:
        """The block in the dtype of the file."""
        what = f"the block for '{self.path}'"
        stored = check_array(block, what)
        if block.shape[1] != self.dim:
            raise ShapeError(
                "unequal-dimensions", f"{what} has {block.shape[1]} dimensions, the file {self.dim}"
            )
        rows = decode(block.view(np.uint16) if stored.name == "bfloat16" else block, stored)
        if rows.dtype == self.dtype:
            return np.ascontiguousarray(rows)
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(rows, dtype=self.dtype)
        if self.dtype.itemsize < rows.dtype.itemsize:
            lost = np.isinf(cast) & np.isfinite(rows)
            if lost.any():
                row = int(np.flatnonzero(lost.any(axis=1))[0])
                raise ValuesError(
                    "too-large-for-dtype",
                    f"row {self.written + row} is beyond {self.dtype.name}; take a wider dtype",
                )
        return cast


class _FlatSink:
    """.npy and .safetensors: a header that fits any row count, then the rows."""

    def __init__(
        self, handle: IO[bytes], dim: int, dtype: np.dtype, key: str | None, path: str
    ) -> None:
        self.handle = handle
        self.dim = dim
        self.dtype = dtype.newbyteorder("<")
        self.key = key
        self.path = path
        self.length = 0
        if key is not None:
            self.length = len(self._tensor_header(10**15))
        self._header(0)

    def _header(self, rows: int) -> None:
        """Write the header at the start; its length does not depend on ``rows``."""
        if self.key is not None:
            self.handle.write(self._tensor_header(rows))
            return
        fields = {"descr": self.dtype.str, "fortran_order": False, "shape": (rows, self.dim)}
        npy_format.write_array_header_1_0(self.handle, fields)

    def _tensor_header(self, rows: int) -> bytes:
        """The header of a .safetensors file of one tensor, of at least ``self.length`` bytes."""
        entry = {
            "dtype": WRITABLE[self.dtype.name],
            "shape": [rows, self.dim],
            "data_offsets": [0, rows * self.dim * self.dtype.itemsize],
        }
        text = json.dumps({self.key: entry}, ensure_ascii=False, separators=(",", ":")).encode()
        length = max(len(text) + -len(text) % 8, self.length - 8)
        return length.to_bytes(8, "little") + text.ljust(length)

    def add(self, block: np.ndarray, extra: Mapping[str, np.ndarray]) -> None:
        """Append the bytes of a block."""
        if extra:
            raise OptionError(
                "no-further-columns",
                f"no further columns go into this format, got {', '.join(extra)} for '{self.path}'",
            )
        if block.size:
            self.handle.write(block.astype(self.dtype, copy=False).reshape(-1).view(np.uint8).data)

    def finish(self, rows: int) -> None:
        """Put the final row count into the header."""
        self.handle.flush()
        self.handle.seek(0)
        self._header(rows)
        self.handle.flush()


class _ZipSink:
    """.npz: the rows through a file beside, as their number is known at the end, and columns."""

    def __init__(self, handle: IO[bytes], spool: IO[bytes], rows: _FlatSink, key: str) -> None:
        self.handle, self.spool, self.rows, self.key = handle, spool, rows, key
        self.columns: dict[str, list[np.ndarray]] = {}

    def add(self, block: np.ndarray, extra: Mapping[str, np.ndarray]) -> None:
        """Append the bytes of a block, and keep its columns."""
        self.rows.add(block, {})
        for name, values in extra.items():
            self.columns.setdefault(name, []).append(values.copy())

    def finish(self, rows: int) -> None:
        """The archive, uncompressed as numpy.savez writes it."""
        self.rows.finish(rows)
        self.spool.seek(0)
        with zipfile.ZipFile(self.handle, "w") as archive:
            with archive.open(f"{self.key}.npy", "w", force_zip64=True) as member:
                shutil.copyfileobj(self.spool, member, 1 << 20)
            for name, parts in self.columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    column = np.concatenate(parts)
                    column = column.astype(np.str_) if column.dtype == object else column
                    npy_format.write_array(member, column, allow_pickle=False)


class _LinesSink:
    """JSON lines: one object a row, its columns before its vector."""

    def __init__(self, handle: IO[bytes], column: str) -> None:
        self.handle, self.column = handle, column

    def add(self, block: np.ndarray, extra: Mapping[str, np.ndarray]) -> None:
        """Append a line a row. float32 values are written exactly, as their float64."""
        columns = {name: values.tolist() for name, values in extra.items()}
        for i, row in enumerate(block.tolist()):
            one = {name: values[i] for name, values in columns.items()} | {self.column: row}
            self.handle.write(json.dumps(one, ensure_ascii=False).encode() + b"\n")

    def finish(self, rows: int) -> None:
        """All lines are written."""
        self.handle.flush()


class _TableSink:
    """Parquet or Arrow: a column of lists of one length without nulls, and plain columns."""

    def __init__(
        self, handle: IO[bytes], dim: int, dtype: np.dtype, column: str, parquet: bool
    ) -> None:
        self.parquet = parquet
        self.handle = handle  # pyarrow takes no path that is not UTF-8
        self.dim = dim
        self.dtype = dtype
        self.column = column
        self.blocks: list[np.ndarray] = []
        self.extras: dict[str, list[np.ndarray]] | None = None
        self.waiting = 0
        self.writer: Any = None
        self.schema: Any = None

    def add(self, block: np.ndarray, extra: Mapping[str, np.ndarray]) -> None:
        """Keep a copy of the block until a row group is full."""
        if self.extras is None:
            if self.column in extra:
                raise OptionError(
                    "name-twice",
                    f"a further column has the name of the embeddings, '{self.column}'",
                )
            self.extras = {name: [] for name in extra}
        if set(extra) != set(self.extras):
            raise ShapeError(
                "columns-differ",
                f"a block has the columns {list(extra)}, earlier ones {list(self.extras)}",
            )
        self.blocks.append(block.copy())
        for name, values in extra.items():
            self.extras[name].append(values.copy())
        self.waiting += block.nbytes
        if self.waiting >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write the waiting rows as one row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        inner = pa.field("element", pa.from_numpy_dtype(self.dtype), nullable=False)
        rows = np.concatenate([np.empty((0, self.dim), self.dtype), *self.blocks])
        lists = pa.FixedSizeListArray.from_arrays(
            pa.array(rows.reshape(-1)), type=pa.list_(inner, self.dim)
        )
        fields = [pa.field(self.column, lists.type, nullable=False)]
        arrays = [lists]
        for name, parts in (self.extras or {}).items():
            values = pa.array(np.concatenate(parts))
            fields.append(pa.field(name, values.type, nullable=False))
            arrays.append(values)
        if self.writer is None:
            schema = pa.schema(fields)
            if self.parquet:
                self.writer = pq.ParquetWriter(
                    self.handle, schema, compression="none", use_dictionary=False
                )
            else:
                self.writer = pa.ipc.new_file(self.handle, schema)
            self.schema = schema
        try:
            table = pa.Table.from_arrays(arrays, schema=self.schema)
        except IsthmusError:
            raise
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise ShapeError(
                "columns-differ", "a further column changed its number format between blocks"
            ) from error
        if len(rows):
            self.writer.write_table(table, len(rows))
        self.blocks = []
        self.extras = {name: [] for name in self.extras or {}}
        self.waiting = 0

    def finish(self, rows: int) -> None:
        """Write what waits and the footer."""
        if self.blocks or self.writer is None:
            self._flush()
        self.writer.close()
        self.writer = None

    def close(self) -> None:
        """Close a file that was given up; what is in it is about to be removed."""
        if self.writer is not None:
            with contextlib.suppress(OSError):
                self.writer.close()


def write_rows(
    path: str | os.PathLike[str],
    array: np.ndarray,
    dtype: str | None = None,
    key: str | None = None,
) -> None:
    """Write an array (n, dim) in one go, in its own float format unless ``dtype`` is given.

    bfloat16 is written as float32. See :class:`RowWriter` for formats and errors.
    """
    rows = np.asarray(array)
    stored = check_array(rows, f"the array for '{os.fspath(path)}'")
    with RowWriter(
        path, rows.shape[1], dtype or stored.native.name, rows=len(rows), key=key
    ) as writer:
        for at in range(0, len(rows), 16384):
            writer.write(rows[at : at + 16384])
