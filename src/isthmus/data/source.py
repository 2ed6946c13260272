"""The contract of a source of rows, what all sources share, and the source that is an array."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from isthmus.data.dtypes import FLOATS, decode, stored_as
from isthmus.data.row_checks import check_array
from isthmus.errors import DtypeError

IDS = ("id", "_id", "ids", "key")
"""Names of columns, keys and arrays that hold ids."""
VECTORS = ("embedding", "embeddings", "vector", "vectors")
"""Names of columns and keys that hold vectors, in the order in which they are looked for."""


@runtime_checkable
class Rows(Protocol):
    """Rows of embeddings, wherever they lie; opening one reads headers only.

    A source keeps no file open between calls and can be pickled, so it may be sent to another
    process instead of its rows.
    """

    @property
    def spec(self) -> str:
        """What the user typed."""

    @property
    def name(self) -> str:
        """Short name for display."""

    @property
    def rows(self) -> int:
        """Number of rows n."""

    @property
    def dim(self) -> int:
        """Length d of every row."""

    @property
    def dtype(self) -> str:
        """Number format as stored: float16, float32, float64 or bfloat16."""

    @property
    def shard_bounds(self) -> list[int]:
        """Row offsets where shards begin, plus the end: ``[0, rows]`` for one file."""

    def blocks(
        self, size: int = 16384, start: int = 0, stop: int | None = None
    ) -> Iterator[np.ndarray]:
        """Rows ``start`` to ``stop`` in order, as arrays (size, dim); only the last is shorter.

        Blocks of two sources of equal length therefore line up, whatever their shards. Blocks are
        float16, float32 or float64 (bfloat16 is decoded to float32). A block is valid only until
        the next one is asked for, because buffers are reused: copy what you keep, and treat it as
        read-only. Memory: a few blocks, never the whole file.

        Raises ValueError for a size below 1 and IndexError for a range outside the rows, both at
        once; CorruptFile, ShapeError or ValuesError while reading.
        """

    def take(self, indices: Any) -> np.ndarray:
        """Rows at ``indices`` (k integers, repeats allowed) in the order asked: (k, dim), a copy.

        Raises IndexError for an index outside 0 … rows - 1. Cost: about the rows asked for in
        plain files; a pass over the part of the file that holds them where it is compressed.
        """

    def read(self) -> np.ndarray:
        """All rows (rows, dim), for inputs that fit memory."""


def ids_of(source: Any) -> np.ndarray | None:
    """Ids (n,) of the rows of a source, or None; sources of third parties need not know them."""
    ids = getattr(source, "ids", None)
    return None if ids is None else np.asarray(ids)


def id_at(ids: np.ndarray | None, row: int) -> int | str | None:
    """The id of one row as a plain number or word; None where rows have none."""
    if ids is None:
        return None
    one = ids[row]
    return one.item() if isinstance(one, np.generic) else one


def exact_blocks(pieces: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Cut pieces (any, d) into blocks of exactly ``size`` rows, the last perhaps shorter.

    A block that lies within one piece is a view of it; only blocks across pieces are copied.
    """
    held: np.ndarray | None = None
    filled = 0
    for piece in pieces:
        at = 0
        if filled and held is not None:
            at = min(size - filled, len(piece))
            held[filled : filled + at] = piece[:at]
            filled += at
            if filled < size:
                continue
            yield held
            filled = 0
        while len(piece) - at >= size:
            yield piece[at : at + size]
            at += size
        if at < len(piece):
            if held is None:
                held = np.empty((size, piece.shape[1]), piece.dtype)
            filled = len(piece) - at
            held[:filled] = piece[at:]
    if filled and held is not None:
        yield held[:filled]


class BaseSource(ABC):
    """What every source shares; a format adds ``pieces`` and, if it can, ``take_sorted``."""

    def __init__(self, spec: str, name: str, rows: int, dim: int, dtype: str) -> None:
        self.spec, self.name, self.rows, self.dim, self.dtype = spec, name, rows, dim, dtype

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.spec}', {self.dtype} ({self.rows}, {self.dim}))"

    @property
    def native(self) -> np.dtype:
        """Dtype of the blocks."""
        return np.dtype(np.float32 if self.dtype == "bfloat16" else self.dtype)

    @property
    def shard_bounds(self) -> list[int]:
        """Row offsets where shards begin, plus the end."""
        return [0, self.rows]

    @property
    def ids(self) -> np.ndarray | None:
        """Id of each row (n,) where the source has them, else None."""
        return None

    @abstractmethod
    def pieces(self, size: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Rows start … stop in order, in arrays of any length; ``size`` suits the caller."""

    def blocks(
        self, size: int = 16384, start: int = 0, stop: int | None = None
    ) -> Iterator[np.ndarray]:
        """See :meth:`Rows.blocks`."""
        stop = self.rows if stop is None else stop
        if size < 1:
            raise ValueError(f"block size {size}; expected at least 1 row")
        if not 0 <= start <= stop <= self.rows:
            raise IndexError(f"rows {start} to {stop} asked of {self.rows} rows ('{self.spec}')")
        if start == stop:
            return iter(())
        size = min(size, stop - start)
        return exact_blocks(self.pieces(size, start, stop), size)

    def take(self, indices: Any) -> np.ndarray:
        """See :meth:`Rows.take`."""
        wanted = np.asarray(indices)
        if wanted.size == 0:
            return np.empty((0, self.dim), self.native)
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
            raise IndexError(
                f"take needs one axis of integers, got {wanted.dtype} of shape {wanted.shape}"
            )
        low, high = int(wanted.min()), int(wanted.max())
        if low < 0 or high >= self.rows:
            bad = low if low < 0 else high
            raise IndexError(f"row {bad} asked of {self.rows} rows ('{self.spec}')")
        wanted = wanted.astype(np.int64)
        if wanted.size == 1 or bool(np.all(np.diff(wanted) > 0)):
            return self.take_sorted(wanted)
        distinct, back = np.unique(wanted, return_inverse=True)
        return self.take_sorted(distinct)[back.reshape(-1)]

    def take_sorted(self, wanted: np.ndarray) -> np.ndarray:
        """Rows at strictly increasing ``wanted`` (k,), k ≥ 1, by a pass over the part with them."""
        out = np.empty((len(wanted), self.dim), self.native)
        at = int(wanted[0])
        for piece in self.pieces(16384, at, int(wanted[-1]) + 1):
            lo, hi = np.searchsorted(wanted, [at, at + len(piece)])
            out[lo:hi] = piece[wanted[lo:hi] - at]
            at += len(piece)
        return out

    def read(self) -> np.ndarray:
        """See :meth:`Rows.read`."""
        out = np.empty((self.rows, self.dim), self.native)
        at = 0
        for block in self.blocks():
            out[at : at + len(block)] = block
            at += len(block)
        return out


class ArraySource(BaseSource):
    """An array in memory (or memory-mapped by the caller) as a source of rows.

    Takes any strides and byte order; blocks are read-only views where nothing needs decoding.
    Raises ShapeError unless it has two axes, DtypeError unless it holds floats, ValuesError where
    a masked array hides values.
    """

    def __init__(
        self,
        array: np.ndarray,
        name: str = "array",
        spec: str | None = None,
        ids: np.ndarray | None = None,
    ) -> None:
        what = f"the array '{name}'"
        if not isinstance(array, np.ndarray):
            raise DtypeError(
                "not-an-array",
                f"{what} is a {type(array).__name__}; expected a NumPy array: use numpy.asarray",
            )
        stored = check_array(array, what)
        rows, dim = array.shape
        super().__init__(name if spec is None else spec, name, rows, dim, stored.name)
        plain = np.asarray(array)
        plain = (plain.view(np.uint16) if stored.name == "bfloat16" else plain).view()
        plain.flags.writeable = False
        self.array, self.row_ids = plain, ids

    @property
    def ids(self) -> np.ndarray | None:
        """As given."""
        return self.row_ids

    def pieces(self, size: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Views of ``size`` rows, decoded where needed."""
        for at in range(start, stop, size):
            yield self._decoded(self.array[at : min(at + size, stop)])

    def take_sorted(self, wanted: np.ndarray) -> np.ndarray:
        """Rows by plain indexing."""
        return self._decoded(self.array[wanted])

    def read(self) -> np.ndarray:
        """The array itself as a read-only view, or its decoded copy."""
        return self._decoded(self.array)

    def _decoded(self, part: np.ndarray) -> np.ndarray:
        if self.dtype in FLOATS:
            return part if part.dtype.isnative else part.astype(self.native)
        return decode(part, stored_as(np.dtype("V2")))
