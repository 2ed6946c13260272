"""What one pass over rows finds: norms, bad rows, duplicates; what is refused or warned of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from isthmus.core.arrays import Array, row_norms, to_numpy, working
from isthmus.core.seeds import stream
from isthmus.data.source import ids_of
from isthmus.errors import ValuesError, first_rows

UNIT_TOLERANCE = 1e-2  # |mean norm - 1| above this is "not unit norm" (float16 rows stay below)


NORMS_MATTER = {
    True: "under the cosine score they are normalised before anything is measured",
    False: "the score in use sees norms, so rows are measured as they are, noise levels are shares "
    "of the mean squared norm unless a convention is said, and answers differ from the cosine's",
}

BROKEN = frozenset(
    {
        "pairs-slipped",
        "pairs-without-signal",
        "labels-off",
        "relevance-off",
        "rows-out-of-order",
        "different-models",
        "collapsed",
        "versions-out-of-order",
    }
)
"""Codes of findings that make every number meaningless."""
NOTES = frozenset(
    {"fewer-rows-than-dimensions", "fit-equals-score", "queries-sampled", "candidates-sampled"}
)


@dataclass(frozen=True)
class InputWarning:
    """A warning that does not stop the work: a stable code and one sentence for a person."""

    code: str
    text: str

    @property
    def severity(self) -> str:
        """``broken``: every number is meaningless; ``caution``: some may mislead; ``note``."""
        if self.code in BROKEN:
            return "broken"
        return "note" if self.code in NOTES else "caution"

    def to_dict(self) -> dict[str, str]:
        """The form of ``report.json``."""
        return {"code": self.code, "text": self.text, "severity": self.severity}


def broken_of(warnings: Iterable[InputWarning]) -> InputWarning | None:
    """The first finding that makes every number meaningless, if there is one."""
    return next((w for w in warnings if w.severity == "broken"), None)


def worst_first(warnings: Iterable[InputWarning]) -> tuple[InputWarning, ...]:
    """Those that make every number meaningless, then all others in their order."""
    return tuple(sorted(warnings, key=lambda warning: warning.severity != "broken"))


BEYOND = 1e150
"""Norm whose square leaves float64."""


@dataclass(frozen=True)
class RowStats:
    """What one pass over rows finds. Mergeable; O(n d) time, 8 bytes a row."""

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
    def of(cls, rows: Array, *, offset: int = 0, dtype: str | None = None) -> RowStats:
        """Look at one block of rows, (b, d).

        ``offset`` is the number of its first row; ``dtype`` that of the file, where float16 rows
        have been converted already.
        """
        exact = working(to_numpy(rows))
        norms = row_norms(exact).astype(np.float64)
        wild = ~(norms < BEYOND)
        if wild.any():  # a norm may overflow float32 although each value is finite
            norms[wild] = row_norms(exact[wild].astype(np.float64))
            wild[wild] = ~(norms[wild] < BEYOND)
        norms = np.where(wild, 0.0, norms)
        zero = ~wild & (norms == 0.0)
        return cls(
            rows=len(exact),
            dim=int(exact.shape[1]),
            dtype=dtype or str(rows.dtype).removeprefix("torch."),
            norm_sum=float(norms.sum()),
            norm_square_sum=float((norms**2).sum()),
            nonfinite=int(wild.sum()),
            nonfinite_first=tuple(int(i) + offset for i in np.flatnonzero(wild)[:5]),
            zeros=int(zero.sum()),
            zeros_first=tuple(int(i) + offset for i in np.flatnonzero(zero)[:5]),
            hashes=(_row_hashes(exact),),
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

    @cached_property
    def duplicates(self) -> int:
        """How many rows repeat an earlier row bit for bit (64-bit hashes compared)."""
        if not self.hashes:
            return 0
        hashes = np.concatenate(self.hashes)
        return len(hashes) - len(np.unique(hashes))

    @property
    def firsts(self) -> np.ndarray:
        """(n,) the first row with the same values as each row, by 64-bit hashes."""
        first, back = np.unique(
            np.concatenate(self.hashes), return_index=True, return_inverse=True
        )[1:]
        return first[back.reshape(-1)]

    def refuse(self, name: str, *, cosine: bool, source: Any = None) -> None:
        """Refuse what would make every later number wrong; ``source`` knows the rows' ids.

        Raises:
            ValuesError: NaN, infinity or a length beyond BEYOND anywhere; a zero row where a cosine
                is asked for.
        """
        ids = ids_of(source) if self.nonfinite or self.zeros else None
        if self.nonfinite:
            which = first_rows(list(self.nonfinite_first), self.nonfinite, ids)
            raise ValuesError(
                "not-finite",
                f"{name} holds NaN or infinity in {self.nonfinite} of {self.rows} rows "
                f"({which}), or lengths beyond {BEYOND:g}, whose squares are infinite; "
                "drop or recompute these rows",
            )
        if cosine and self.zeros:
            raise ValuesError(
                "zero-rows",
                f"{name} has {self.zeros} zero vector{'s' * (self.zeros != 1)} "
                f"({first_rows(list(self.zeros_first), self.zeros, ids)}), which have no cosine; "
                "drop these rows (failed encodings?) or use the dot or euclidean score",
            )

    def repeated(self, name: str, apart: int = 0) -> list[InputWarning]:
        """That rows repeat, if they do, and what searches do about it; ``apart`` of them are named
        as other items."""
        counts = (
            (self.duplicates - apart, "exactly; they count as one item"),
            (apart, "exactly and are named as other items; they stay apart"),
        )
        return [
            InputWarning(
                "duplicates", f"{name}: {count} of {self.rows} rows repeat an earlier row {what}"
            )
            for count, what in counts
            if count > 0
        ]

    def warnings(self, name: str, score: str = "cosine") -> list[InputWarning]:
        """What may make a number misleading: norms, fewer rows than dimensions.

        ``score`` is the one in use: only the cosine does not see norms.
        """
        found = []
        if abs(self.norm_mean - 1) > UNIT_TOLERANCE or self.norm_std > UNIT_TOLERANCE:
            found.append(
                InputWarning(
                    "not-unit-norm",
                    f"{name}: rows are not unit norm (mean {self.norm_mean:.3g}, standard "
                    f"deviation {self.norm_std:.3g}); {NORMS_MATTER[score == 'cosine']}",
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


HASH_BYTES = 1 << 18
"""Bytes hashed at once: they stay in the cache of one core."""


def _row_hashes(rows: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each row's values, (n,) uint64; -0.0 and 0.0 count as one value.

    Each word of 8 bytes goes through a one-to-one map of its own (shift, multiply by an odd number,
    shift), so rows that differ in one word differ; a row's hash is the sum.
    """
    count, dim = rows.shape
    width = -(-dim * rows.itemsize // 8)
    odd = stream("row-hashes", 0).integers(0, 2**64, size=width, dtype=np.uint64) | np.uint64(1)
    step = max(1, min(HASH_BYTES // (8 * max(width, 1)), count))
    values = np.zeros((step, width * 8 // rows.itemsize), rows.dtype.newbyteorder("="))
    words = values.view(np.uint64)
    moved = np.empty_like(words)
    total = np.empty(count, np.uint64)
    for start in range(0, count, step):
        part = rows[start : start + step]
        np.add(part, rows.dtype.type(0), out=values[: len(part), :dim])
        values[:, dim:] = 0
        words ^= np.right_shift(words, np.uint64(29), out=moved)
        words *= odd
        words ^= np.right_shift(words, np.uint64(32), out=moved)
        np.sum(words[: len(part)], axis=1, dtype=np.uint64, out=total[start : start + step])
    return total
