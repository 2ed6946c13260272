"""RaBitQ as FAISS searches it: one bit a coordinate, and two exact numbers with it.

The code is the sign of x - c (c the mean of the calibration rows) with a factor that makes the
decoded row x̂ an unbiased stand-in: ⟨x - c, x̂ - c⟩ = ‖x - c‖² (Gao and Long, "RaBitQ", 2024).

What FAISS ranks by is not the decoded dot product. With the bits it keeps a number from which
⟨c, x⟩ (or ‖x - c‖²) is known exactly, and its scores are

    dot        ⟨q, x̂⟩ + ⟨c, x - x̂⟩                        + constants of the query
    euclidean  -½‖q - x̂‖² + ½‖x̂ - c‖² - ½‖x - c‖²         + constants of the query

with float queries (``qb`` = 0), to rounding of float32; an estimated squared distance below zero,
which few dimensions give, FAISS takes for zero. The extra terms are :meth:`offsets`. They
are nothing where c = 0, that is, where the rows were centred before they were added. FAISS's own
default is ``qb`` = 4: the query's residual q - c is cut to 16 levels first
(:meth:`query_through`).

With 2 to 9 bits a coordinate (:class:`MultiBitRaBitQ`) the signs become levels, and the same two
formulas hold. FAISS's search looks at the signs first and leaves out candidates that they rule out
by a bound; what it scores it scores by all bits and by float queries, whatever ``qb``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.checks import in_range, one_of
from isthmus.errors import OptionError
from isthmus.perturb.codecs.base import calibration_rows, checked
from isthmus.perturb.codecs.stores import FaissCodec, library, one_thread, single


@dataclass(frozen=True, eq=False)
class RaBitQ(FaissCodec):
    """FAISS's 1-bit ``RaBitQ``, and how its search differs from the decoded dot product.

    ``query_bits``: 0 compares float queries, 1 to 8 cut them as FAISS's ``qb`` does (its default
    is 4).
    """

    query_bits: int = 0

    @property
    def bits(self) -> int:
        """Bits a coordinate."""
        return 1

    @property
    def centroid(self) -> np.ndarray:
        """c, the mean of the calibration rows, (d,) float32."""
        return np.asarray(library().vector_to_array(self.index.center))

    def offsets(
        self, rows: np.ndarray, score: str, coded: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Exact numbers (K,) float64 that FAISS adds to the decoded scores of stored ``rows``.

        None for ``cosine``, which FAISS has not: there, decoded rows are compared. ``coded``: the
        rows as the codec gives them back, where they are known already.
        """
        if score == "cosine":
            return None
        coded = self.through(rows) if coded is None else coded
        exact, coded = np.asarray(rows, np.float64), np.asarray(coded, np.float64)
        centre = self.centroid.astype(np.float64)
        found: np.ndarray = exact @ centre - coded @ centre
        if score == "dot":
            return found
        exact_square, square = (np.einsum("ij,ij->i", some, some) for some in (exact, coded))
        return 0.5 * (square - exact_square) + found

    def query_through(self, rows: np.ndarray) -> np.ndarray:
        """Queries (n, d) as FAISS compares them: q - c in 2^query_bits even levels of its own
        range, rounded; as they are where ``query_bits`` is 0."""
        rows = checked(np.asarray(rows), self.dim, self.name)
        if not self.query_bits:
            return rows
        residual = rows.astype(np.float32) - self.centroid
        low = residual.min(axis=1, keepdims=True)
        step = (residual.max(axis=1, keepdims=True) - low) / np.float32(2**self.query_bits - 1)
        per_step = np.float32(1) / np.where(step > 0, step, np.float32(1))
        levels = np.floor((residual - low) * per_step + np.float32(0.5))
        return (low + levels * step + self.centroid).astype(np.float64)

    def scores(self, queries: np.ndarray, candidates: np.ndarray, score: str = "dot") -> np.ndarray:
        """FAISS's own scores (n, K) float32 by an index of these candidates; higher is better.

        ``dot`` estimates ⟨q, x⟩, ``euclidean`` is -½ of FAISS's distance. For checks: O(n K d), and
        the codes are made anew. Search is :func:`isthmus.perturb.codecs.coded_ranking`.

        Raises:
            OptionError: another score. ShapeError: dimensions that do not fit.
        """
        one_of(score, ("dot", "euclidean"), "score")
        faiss = library()
        metric = faiss.METRIC_INNER_PRODUCT if score == "dot" else faiss.METRIC_L2
        index = faiss.IndexRaBitQ(self.dim, metric, *([self.bits] if self.bits > 1 else []))
        faiss.copy_array_to_vector(self.centroid, index.center)
        index.is_trained = True
        index.qb = self.query_bits
        stored = checked(np.asarray(candidates), self.dim, self.name)
        asked = checked(np.asarray(queries), self.dim, self.name)
        with one_thread():
            index.add(single(stored))
            found, rows = index.search(single(asked), len(stored))
        out = np.empty_like(found)
        np.put_along_axis(out, rows, found if score == "dot" else -found / 2, axis=1)
        return out


SIGN_FACTORS = 12
"""Bytes of FAISS's numbers beside the sign bits, where more bits follow."""
FACTORS = 8
"""Bytes of its two numbers beside the further bits: one to add, one to multiply levels by."""


@dataclass(frozen=True, eq=False)
class MultiBitRaBitQ(RaBitQ):
    """The same with 2 to 9 bits a coordinate, decoded here: FAISS decodes the signs alone.

    A code is the sign bits, 12 bytes, the further bits (lowest first, coordinate after coordinate)
    and 8 bytes. The index is FAISS's for distances, whose last number is -2 times the multiplier
    of the levels.
    """

    @property
    def bits(self) -> int:
        """Bits a coordinate."""
        return int(self.index.rabitq.nb_bits)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Rows (n, d) float32 of codes: c + multiplier · level, levels …, -½, ½, …"""
        codes, further = np.ascontiguousarray(codes, np.uint8), self.bits - 1
        signs = np.unpackbits(codes, axis=1, count=self.dim, bitorder="little")
        start = -(-self.dim // 8) + SIGN_FACTORS
        packed = np.unpackbits(codes[:, start:-FACTORS], axis=1, bitorder="little")
        low = packed[:, : self.dim * further].reshape(len(codes), self.dim, further)
        levels = low @ (1 << np.arange(further)) + (signs.astype(np.int64) << further)
        factors = np.ascontiguousarray(codes[:, -FACTORS:]).view(np.float32)
        middle = np.float32(2**further - 0.5)
        found: np.ndarray = self.centroid + factors[:, 1:] / -2 * (levels - middle)
        return found.astype(np.float32)


def fit_multi_bit(calibration: np.ndarray, bits: int) -> MultiBitRaBitQ:
    """RaBitQ with ``bits`` a coordinate; needs the mean of the calibration rows, O(n d).

    Raises:
        OptionError: bits outside 2 to 9, values that are not finite, or a FAISS without it.
            ShapeError: no rows.
    """
    in_range(bits, "bits of rabitq", least=2, most=9)
    faiss = library()
    if not has_multi_bit():
        raise OptionError(
            "library-too-old",
            f"faiss-cpu {faiss.__version__} has no RaBitQ of {bits} bits; install 1.15 or later",
        )
    rows = calibration_rows(calibration, f"rabitq{bits}")
    index = faiss.IndexRaBitQ(rows.shape[1], faiss.METRIC_L2, bits)
    with one_thread():
        index.train(single(rows))
    return MultiBitRaBitQ(f"rabitq{bits}", rows.shape[1], index, len(rows))


def has_multi_bit() -> bool:
    """Whether the installed FAISS has RaBitQ with more than one bit a coordinate."""
    return hasattr(getattr(library(), "RaBitQuantizer", None), "nb_bits")


def fit_rabitq(calibration: np.ndarray, *, query_bits: int = 0) -> RaBitQ:
    """The mean of the calibration rows, O(n d). No rotation: put ``rotated-`` before the name for
    the method as published.

    Raises:
        OptionError: query bits outside 0 to 8, values that are not finite, or a FAISS older than
            1.11. ShapeError: no rows.
    """
    in_range(query_bits, "query_bits", least=0, most=8, hint="; 0 is float queries")
    faiss = library()
    if not hasattr(faiss, "IndexRaBitQ"):
        raise OptionError(
            "library-too-old", f"faiss-cpu {faiss.__version__} has no RaBitQ; install 1.11 or later"
        )
    rows = calibration_rows(calibration, "rabitq")
    index = faiss.IndexRaBitQ(rows.shape[1], faiss.METRIC_INNER_PRODUCT)
    with one_thread():
        index.train(single(rows))
    return RaBitQ("rabitq", rows.shape[1], index, len(rows), query_bits)
