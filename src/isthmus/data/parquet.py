"""Rows in a Parquet column of lists, one column, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from isthmus.data.columns import Vectors, find_vectors
from isthmus.data.file_errors import choose, damaged, file_size, os_errors, refuse_empty, wrong_kind
from isthmus.data.ids import checked_ids
from isthmus.data.remote import is_remote, open_binary
from isthmus.data.row_checks import check_axes
from isthmus.data.source import IDS, BaseSource
from isthmus.errors import CorruptFile, FileError, IsthmusError

_BATCH = 4096  # least rows per batch: smaller blocks are cut from these


@contextmanager
def parquet_file(path: str, what: str) -> Iterator[Any]:
    """Open a Parquet file as ``pyarrow.parquet.ParquetFile``; its errors become CorruptFile."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = file_size(path)
    refuse_empty(what, size)
    with os_errors(path), open_binary(path) as handle:
        head = handle.read(64)
        handle.seek(max(0, size - 4))
        tail = handle.read(4)
    if head.startswith(b"PARE") or tail == b"PARE":
        raise FileError("encrypted-file", f"{what} is an encrypted Parquet file; decrypt it")
    if not head.startswith(b"PAR1"):
        raise wrong_kind(what, "a Parquet file", head)
    if tail != b"PAR1" or size < 12:
        raise CorruptFile(
            "cut-short", f"{what} is cut short: the index that ends a Parquet file is missing"
        )
    try:
        with ExitStack() as stack:
            away = is_remote(path)
            place = stack.enter_context(open_binary(path, buffered=False)) if away else path
            yield stack.enter_context(pq.ParquetFile(place, pre_buffer=False))
    except IsthmusError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise damaged(what, "Parquet file") from error


def choose_column(
    schema: Any,
    what: str,
    path: str,
    name: str | None,
    fits: Callable[[Any], bool] = lambda type_: True,
    of: str | None = None,
) -> str:
    """Pick the one column that is meant (:func:`isthmus.data.file_errors.choose`).

    Raises FileError as ``choose``, and where two columns have the name: a reader of one of them
    could not say which it read.
    """
    entries = {f.name: ("" if fits(f.type) else "-") + str(f.type) for f in schema}
    wanted = {} if of is None else {"of": of}
    column = choose(what, f"'{path}'", name, entries, "column", **wanted)
    if schema.names.count(column) > 1:
        raise FileError(
            "duplicate-column",
            f"{what} has {schema.names.count(column)} columns with the name '{column}'; rename "
            "them, or write the one that is meant on its own",
        )
    return column


def open_parquet(path: str, key: str | None, spec: str, name: str) -> ParquetSource:
    """Open the vectors of a Parquet file (:mod:`isthmus.data.columns`); reads the footer, and one
    row where it does not say their length.

    Raises FileError for a column that is missing or ambiguous, DtypeError for one without lists of
    floats, CorruptFile for a damaged file.
    """
    what = f"'{spec}'"
    with parquet_file(path, what) as file:
        vectors = find_vectors(file.schema_arrow, what, path, key)
        rows = int(file.metadata.num_rows)
        groups = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        dim = vectors.dim
        if dim is None and rows == 0:
            dim = 0  # a column of varying lists without rows does not say its dimension
        elif dim is None:
            batches = file.iter_batches(
                batch_size=1, columns=list(vectors.columns), use_threads=False
            )
            batch = next(batches, None)
            if batch is None or len(batch) == 0:
                raise _too_few(what, 0, rows)
            dim = vectors.read(batch, 0, what, None).shape[1]
    if rows or dim:
        check_axes((rows, dim), what)
    return ParquetSource(path, vectors, groups, spec, name, dim)


class ParquetSource(BaseSource):
    """The vectors of a Parquet file; memory is about a row group of their columns."""

    def __init__(
        self, path: str, vectors: Vectors, groups: list[int], spec: str, name: str, dim: int
    ) -> None:
        super().__init__(spec, name, sum(groups), dim, vectors.number)
        self.path, self.vectors = path, vectors
        self.bounds = np.cumsum([0, *groups])  # row offsets of the row groups, and the end

    @property
    def ids(self) -> np.ndarray | None:
        """The column ``id`` (``_id``, ``ids``, ``key``), read when it is asked for; None: none."""
        import pyarrow.types as pt

        what = f"'{self.spec}'"
        with parquet_file(self.path, what) as file:
            schema = file.schema_arrow
            for name in (
                n for n in IDS if n not in self.vectors.columns and schema.names.count(n) == 1
            ):
                kind = schema.field(name).type
                if pt.is_integer(kind) or pt.is_string(kind) or pt.is_large_string(kind):
                    column = file.read(columns=[name], use_threads=False).column(0)
                    return checked_ids(column.to_pylist(), what, self.rows)
        return None

    def pieces(self, size: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Rows batch by batch, from the row groups that hold them."""
        first = int(np.searchsorted(self.bounds, start, side="right")) - 1
        last = int(np.searchsorted(self.bounds, stop, side="left"))
        for at, rows in self._groups(list(range(first, last)), size):
            lo, hi = max(start - at, 0), min(stop - at, len(rows))
            if lo < hi:
                yield rows[lo:hi]

    def take_sorted(self, wanted: np.ndarray) -> np.ndarray:
        """Rows at increasing indices; only row groups that hold one are read."""
        out = np.empty((len(wanted), self.dim), self.native)
        groups = np.unique(np.searchsorted(self.bounds, wanted, side="right") - 1).tolist()
        for at, rows in self._groups(groups, _BATCH):
            lo, hi = np.searchsorted(wanted, [at, at + len(rows)])
            out[lo:hi] = rows[wanted[lo:hi] - at]
        return out

    def _groups(self, groups: list[int], size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Batches of the row groups named, each with the number of its first row."""
        what = f"'{self.spec}'"
        with parquet_file(self.path, what) as file:
            if int(file.metadata.num_rows) != self.rows:
                raise CorruptFile(
                    "file-changed",
                    f"{what} had {self.rows} rows, now {file.metadata.num_rows}; open it again",
                )
            for group in groups:
                at = int(self.bounds[group])
                batches = file.iter_batches(
                    batch_size=max(size, _BATCH),
                    row_groups=[group],
                    columns=list(self.vectors.columns),
                    use_threads=False,
                )
                for batch in batches:
                    rows = self.vectors.read(batch, at, what, self.dim)
                    yield at, rows
                    at += len(rows)
                if at != self.bounds[group + 1]:
                    raise _too_few(what, at, int(self.bounds[group + 1]))


def _too_few(what: str, found: int, promised: int) -> CorruptFile:
    return CorruptFile(
        "cut-short",
        f"{what} is a damaged Parquet file: its rows end at {found} where its index promises "
        f"{promised}; write it again",
    )


def is_parquet(path: str) -> bool:
    """Whether the name of a file says that it is Parquet."""
    return os.path.splitext(path)[1].lower() in (".parquet", ".pq")
