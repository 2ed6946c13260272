"""The door: embeddings are looked at once, refused or warned about, and then trusted.

Two records do the work. :class:`RowStats` is what one pass over rows tells (it can be merged, so a
file larger than memory or a thousand shards are looked at block by block); :class:`Embeddings`
and :class:`Pairs` are checked rows. What makes every later number wrong is *refused* with one
sentence; what makes some number misleading is *warned* about by a :class:`InputWarning` with a
code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isthmus.core.arrays import Array, namespace, row_norms, to_numpy, unit, working
from isthmus.errors import DtypeError, LabelsError, NotPaired, ShapeError, ValuesError, first_rows

BLOCK = 16384
UNIT_TOLERANCE = 1e-2  # |mean norm - 1| above this is "not unit norm" (float16 rows stay below)


@dataclass(frozen=True)
class InputWarning:
    """A warning that does not stop the work: a stable code and one sentence for a person."""

    code: str
    text: str

    def to_dict(self) -> dict[str, str]:
        """The form of ``report.json``."""
        return {"code": self.code, "text": self.text}


def checked_rows(rows: Any, name: str = "rows") -> Array:
    """Return ``rows`` as an (n, d) floating-point array or refuse it with one sentence.

    Accepts float16, float32, float64 and bfloat16 (also as stored, two-byte void), any memory
    order, strides, read-only and memory-mapped arrays, and tensors of array-API libraries. Values
    are not looked at here (:meth:`RowStats.of` does); no copy is made except for bfloat16.

    Raises:
        ShapeError: not two axes, no columns, or fewer than 2 rows.
        DtypeError: integers, booleans, complex numbers or objects.
    """
    if isinstance(rows, list | tuple):
        rows = _stacked(rows, name)
    if not hasattr(rows, "shape") or not hasattr(rows, "dtype"):
        raise DtypeError(
            f"{name} is a {type(rows).__name__}, not an array; pass an (n, d) array of floats"
        )
    if isinstance(rows, np.ndarray):
        rows = _known_dtype(rows, name)
    else:
        xp = namespace(rows)
        if not xp.isdtype(rows.dtype, "real floating"):
            raise DtypeError(_dtype_sentence(name, str(rows.dtype)))
    shape = tuple(int(s) for s in rows.shape)
    if len(shape) != 2:
        raise ShapeError(_axes_sentence(name, shape))
    if shape[1] == 0:
        raise ShapeError(f"{name} has shape {shape}: rows without columns hold no embeddings")
    if shape[0] < 2:
        raise ShapeError(
            f"{name} has {shape[0]} row{'s' * (shape[0] != 1)}; a gap is a difference of means "
            "and needs at least 2 rows on each side"
        )
    return rows


def _stacked(rows: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(rows)
    except ValueError:
        raise DtypeError(
            f"{name} is a list whose rows differ in length; expected equally long rows of floats: "
            "choose one vector per item first"
        ) from None


def _known_dtype(rows: np.ndarray, name: str) -> np.ndarray:
    if isinstance(rows, np.ma.MaskedArray):
        hidden = int(np.ma.getmaskarray(rows).sum())
        if hidden:
            raise ValuesError(
                f"{name} is masked and hides {hidden} of {rows.size} values; expected a number "
                "everywhere: drop those rows first"
            )
    rows = np.asarray(rows)  # subclasses (masked, matrix) have rules of their own
    kind = rows.dtype
    if kind.name == "bfloat16" or (kind.kind == "V" and kind.itemsize == 2 and not kind.names):
        bits = np.ascontiguousarray(rows).view(np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32)
    if kind.kind == "f" and kind.itemsize in (2, 4, 8):
        return rows if kind.isnative else rows.astype(kind.newbyteorder("="))
    if kind.kind == "f":
        raise DtypeError(f"{name} is {kind}; expected float16, float32 or float64: convert it")
    raise DtypeError(_dtype_sentence(name, str(kind)))


def _dtype_sentence(name: str, dtype: str) -> str:
    what = f"{name} has dtype {dtype}; expected float16, float32, float64 or bfloat16"
    if "int" in dtype:
        return what + ": decode quantised codes to floats first (scale and offset of the codec)"
    if dtype == "object":
        return what + ": the rows probably differ in length, or are Python lists; stack them first"
    return what + ": convert the rows first"


def _axes_sentence(name: str, shape: tuple[int, ...]) -> str:
    what = f"{name} has shape {shape}, expected two axes (rows, dimensions)"
    if len(shape) == 1:
        return what + ": a single vector is one row; pass rows[None, :] with at least 2 rows"
    if len(shape) == 3 and shape[1] == 1:
        return what + ": the middle axis of length 1 is a stray one; pass rows[:, 0, :]"
    if len(shape) == 3 and shape[0] == 2:
        return what + ": the first axis looks like the two modalities; pass rows[0] and rows[1]"
    return what + ": choose one vector per item first (one token, one crop, or their mean)"


@dataclass(frozen=True)
class RowStats:
    """What one pass over rows tells the door. Mergeable; O(n d) time, 8 bytes a row."""

    rows: int
    dim: int
    dtype: str
    norm_sum: float = 0.0
    norm_square_sum: float = 0.0
    nonfinite: int = 0
    nonfinite_first: tuple[int, ...] = ()
    zeros: int = 0
    zeros_first: tuple[int, ...] = ()
    hashes: tuple[np.ndarray, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, rows: Array, *, offset: int = 0) -> RowStats:
        """Look at one block of rows, (b, d); ``offset`` is the number of its first row."""
        host = to_numpy(rows)
        exact = host if host.dtype != np.float16 else host.astype(np.float32)
        norms = row_norms(exact).astype(np.float64)
        wild = ~np.isfinite(norms)
        if wild.any():  # a norm may overflow float32 although each value is finite
            norms[wild] = row_norms(exact[wild].astype(np.float64))
            wild[wild] = ~np.isfinite(exact[wild]).all(axis=1)
        norms = np.where(wild, 0.0, norms)
        zero = ~wild & (norms == 0.0)
        return cls(
            rows=len(host),
            dim=int(host.shape[1]),
            dtype=str(rows.dtype).removeprefix("torch."),
            norm_sum=float(norms.sum()),
            norm_square_sum=float((norms**2).sum()),
            nonfinite=int(wild.sum()),
            nonfinite_first=tuple(int(i) + offset for i in np.flatnonzero(wild)[:5]),
            zeros=int(zero.sum()),
            zeros_first=tuple(int(i) + offset for i in np.flatnonzero(zero)[:5]),
            hashes=(_row_hashes(host),),
        )

    def merge(self, later: RowStats) -> RowStats:
        """The stats of both; ``later`` holds the rows that come after."""
        if self.rows == 0:
            return later
        return replace(
            self,
            rows=self.rows + later.rows,
            norm_sum=self.norm_sum + later.norm_sum,
            norm_square_sum=self.norm_square_sum + later.norm_square_sum,
            nonfinite=self.nonfinite + later.nonfinite,
            nonfinite_first=(self.nonfinite_first + later.nonfinite_first)[:5],
            zeros=self.zeros + later.zeros,
            zeros_first=(self.zeros_first + later.zeros_first)[:5],
            hashes=self.hashes + later.hashes,
        )

    @property
    def norm_mean(self) -> float:
        """Mean Euclidean norm of the rows."""
        return self.norm_sum / self.rows

    @property
    def norm_std(self) -> float:
        """Standard deviation of the norms (population)."""
        return float(np.sqrt(max(self.norm_square_sum / self.rows - self.norm_mean**2, 0.0)))

    @property
    def duplicates(self) -> int:
        """How many rows repeat an earlier row bit for bit (64-bit hashes compared)."""
        if not self.hashes:
            return 0
        hashes = np.concatenate(self.hashes)
        return len(hashes) - len(np.unique(hashes))

    def refuse(self, name: str, *, cosine: bool) -> None:
        """Refuse what would make every later number wrong.

        Raises:
            ValuesError: NaN or infinity anywhere; a zero row where a cosine is asked for.
        """
        if self.nonfinite:
            raise ValuesError(
                f"{name} holds NaN or infinity in {self.nonfinite} of {self.rows} rows "
                f"({first_rows(list(self.nonfinite_first), self.nonfinite)}); "
                "drop or recompute these rows"
            )
        if cosine and self.zeros:
            raise ValuesError(
                f"{name} has {self.zeros} zero vector{'s' * (self.zeros != 1)} "
                f"({first_rows(list(self.zeros_first), self.zeros)}), which have no cosine; "
                "drop these rows (failed encodings?) or use the dot or euclidean score"
            )

    def warnings(self, name: str) -> list[InputWarning]:
        """What may make a number misleading: norms, duplicates, fewer rows than dimensions."""
        found = []
        if abs(self.norm_mean - 1) > UNIT_TOLERANCE or self.norm_std > UNIT_TOLERANCE:
            found.append(
                InputWarning(
                    "not-unit-norm",
                    f"{name}: rows are not unit norm (mean {self.norm_mean:.3g}, standard "
                    f"deviation {self.norm_std:.3g}); under the cosine score they are normalised "
                    "before anything is measured",
                )
            )
        if self.duplicates:
            found.append(
                InputWarning(
                    "duplicates",
                    f"{name}: {self.duplicates} of {self.rows} rows repeat an earlier row exactly;"
                    " a duplicate candidate ties with its twin, and the lower row wins",
                )
            )
        if self.rows < self.dim:
            found.append(
                InputWarning(
                    "fewer-rows-than-dimensions",
                    f"{name}: {self.rows} rows in {self.dim} dimensions span at most "
                    f"{self.rows - 1} directions, so every figure of orthogonality (closable "
                    "share, variance along the gap, ranks) is optimistic for a larger collection",
                )
            )
        return found


def _row_hashes(rows: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each row's bytes, (n,) uint64; -0.0 and 0.0 count as one value."""
    rows = np.ascontiguousarray(rows) + rows.dtype.type(0)
    width = rows.dtype.itemsize
    words = rows.view(np.dtype(f"u{width}"))
    rng = np.random.default_rng(0x15_7E_05)
    odd = rng.integers(0, 2**64, size=words.shape[1], dtype=np.uint64) | np.uint64(1)
    total = np.zeros(len(words), np.uint64)
    step = max(1, 2**22 // max(words.shape[1], 1))
    for start in range(0, len(words), step):
        wide = words[start : start + step].astype(np.uint64)
        wide ^= wide >> np.uint64(15)
        wide *= odd
        wide ^= wide >> np.uint64(31)
        total[start : start + step] = wide.sum(axis=1, dtype=np.uint64)
    return total


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Checked rows of one modality, (n, d), with what the door saw of them."""

    rows: Array
    name: str
    stats: RowStats
    source: str = "array"

    @classmethod
    def of(
        cls, rows: Any, name: str = "rows", *, cosine: bool = True, source: str = "array"
    ) -> Embeddings:
        """Check an array in memory.

        Args:
            rows: (n, d) floats; see :func:`checked_rows`.
            name: what messages call it, such as ``"images"``.
            cosine: whether a cosine will be taken, so that zero rows are refused.
            source: where it came from, kept for the report.

        Raises:
            ShapeError, DtypeError, ValuesError: as the sentences say.
        """
        array = checked_rows(rows, name)
        stats = RowStats(0, int(array.shape[1]), "")
        count = int(array.shape[0])
        for start in range(0, count, BLOCK):
            part = array[start : min(start + BLOCK, count), :]
            stats = stats.merge(RowStats.of(part, offset=start))
        stats.refuse(name, cosine=cosine)
        return cls(array, name, stats, source)

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return int(self.rows.shape[1])

    def unit(self, *, double: bool = False) -> Array:
        """Rows divided by their norms, float32 (float64 for float64 rows or ``double``)."""
        return unit(working(self.rows, double=double))

    def blocks(self, size: int = BLOCK) -> Iterator[Array]:
        """Views of consecutive rows."""
        for start in range(0, len(self), size):
            yield self.rows[start : min(start + size, len(self)), :]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Two modalities of one space; ``paired`` says that row i of a belongs to row i of b."""

    a: Embeddings
    b: Embeddings
    paired: bool

    @classmethod
    def of(
        cls,
        a: Any,
        b: Any,
        *,
        names: tuple[str, str] = ("a", "b"),
        paired: bool | None = None,
        cosine: bool = True,
    ) -> Pairs:
        """Check two arrays of one space.

        Args:
            a: (n, d) floats.
            b: (m, d) floats.
            names: what messages call the two.
            paired: row i belongs to row i; ``None`` takes equal lengths as paired.
            cosine: whether a cosine will be taken.

        Raises:
            ShapeError: the dimensions differ. NotPaired: paired, but of different length.
        """
        first = a if isinstance(a, Embeddings) else Embeddings.of(a, names[0], cosine=cosine)
        second = b if isinstance(b, Embeddings) else Embeddings.of(b, names[1], cosine=cosine)
        check_same_space(first.name, first.dim, second.name, second.dim)
        return cls(
            first, second, decide_paired(first.name, len(first), second.name, len(second), paired)
        )


def check_same_space(name_a: str, dim_a: int, name_b: str, dim_b: int) -> None:
    """Refuse two sides of different dimension."""
    if dim_a != dim_b:
        raise ShapeError(
            f"{name_a} has {dim_a} dimensions and {name_b} has {dim_b}; both sides must come from "
            "the two towers of one model (after its projection)"
        )


def decide_paired(name_a: str, n: int, name_b: str, m: int, paired: bool | None) -> bool:
    """Whether row i belongs to row i; refuse a claim that the lengths contradict."""
    if paired and n != m:
        raise NotPaired(
            f"{name_a} has {n} rows and {name_b} has {m}, so row i cannot belong to row i; pass "
            "labels or a relevance file, or say that the sides are unpaired"
        )
    return n == m if paired is None else paired


def checked_labels(labels: Any, queries: int, candidates: int) -> np.ndarray:
    """Labels as (n,) int64: query i's true candidate is ``labels[i]``.

    Raises:
        LabelsError: not integers, another length than the queries, or out of range.
    """
    array = _integers(labels, "labels", "one integer per query: the row of its true candidate")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise LabelsError(
            f"labels have shape {array.shape} and dtype {array.dtype}; expected one integer per "
            "query: the row of its true candidate"
        )
    if len(array) != queries:
        raise LabelsError(f"{len(array)} labels for {queries} queries; expected one per query")
    _check_range(array.astype(np.int64), candidates, "labels", "candidates")
    return array.astype(np.int64)


def checked_relevance(relevance: Any, queries: int, candidates: int) -> np.ndarray:
    """Relevance as (m, 2) int64 of (query row, candidate row), without repeats, in query order.

    Raises:
        LabelsError: another shape or dtype, no rows, or a row out of range.
    """
    array = _integers(relevance, "relevance", "two integer columns: query row, candidate row")
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise LabelsError(
            f"relevance has shape {array.shape} and dtype {array.dtype}; expected two integer "
            "columns: query row, candidate row"
        )
    if len(array) == 0:
        raise LabelsError("relevance holds no rows; expected at least one (query, candidate) pair")
    array = array.astype(np.int64)
    _check_range(array[:, 0], queries, "relevance, query column", "queries")
    _check_range(array[:, 1], candidates, "relevance, candidate column", "candidates")
    return np.unique(array, axis=0)


def _integers(values: Any, what: str, expected: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:
        raise LabelsError(f"{what} is a ragged list; expected {expected}") from None


def _check_range(values: np.ndarray, size: int, what: str, of: str) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= size))
    if len(wrong):
        raise LabelsError(
            f"{what}: {len(wrong)} value{'s' * (len(wrong) != 1)} out of range, first "
            f"{int(values[wrong[0]])} at {first_rows([int(i) for i in wrong[:5]], len(wrong))}; "
            f"there are {size} {of}, numbered from 0 to {size - 1}"
        )
