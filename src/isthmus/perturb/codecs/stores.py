"""Codecs as FAISS computes them: half floats, scalar and product quantisers, rotated or not.

FAISS trains, encodes and decodes (``sa_encode``, ``sa_decode``); what is added is what its users
trip over: refusals in place of crashes, saturation in place of infinities, one thread and a fixed
seed, so that the same rows give the same codes on any number of cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.checks import at_least, in_range
from isthmus.errors import OptionError
from isthmus.perturb.codecs.base import calibration_rows, checked

SCALAR = {"fp16": "SQfp16", "bf16": "SQbf16", "sq8": "SQ8", "sq6": "SQ6", "sq4": "SQ4"}
LARGEST = {"fp16": 65504.0, "bf16": float(np.float32(3.3895313892515355e38))}
FLOAT32_MAX = float(np.finfo(np.float32).max)
LAST_CODE = {"sq8": 255, "sq6": 63, "sq4": 15}
ROWS_PER_CENTROID = 39
"""What FAISS asks for; with fewer a codebook remembers its calibration rows."""


def library() -> Any:
    """The FAISS module, loaded when first needed."""
    import faiss

    return faiss


def single(rows: np.ndarray, limit: float = FLOAT32_MAX) -> np.ndarray:
    """Rows as FAISS takes them: float32, row after row, in float32's range or another."""
    found = np.empty(rows.shape, np.float32)
    np.clip(rows, -limit, limit, out=found, casting="same_kind")
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS on one thread meanwhile: sums of several threads depend on how many there are."""
    faiss = library()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@dataclass(frozen=True, eq=False)
class FaissCodec:
    """A trained FAISS index used for its code alone; it holds no rows.

    Attributes:
        name: its name in the table. dim: dimensions of its rows. index: the FAISS index.
        fitted_on: how many calibration rows it saw.
    """

    name: str
    dim: int
    index: Any
    fitted_on: int

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Codes (n, bytes) uint8 as FAISS packs them."""
        limit = LARGEST.get(self.name, FLOAT32_MAX)
        clipped = single(checked(np.asarray(rows), self.dim, self.name), limit)
        with one_thread():
            found: np.ndarray = self.index.sa_encode(clipped)
        return found

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Rows (n, d) float32 of codes."""
        with one_thread():
            found: np.ndarray = self.index.sa_decode(np.ascontiguousarray(codes, np.uint8))
        return found

    def through(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) float32 as the codec gives them back."""
        return self.decode(self.encode(rows))

    def bytes_per_vector(self, dim: int) -> float:
        """Storage of one row: FAISS's own code size, whole bytes.

        Raises:
            ShapeError: another number of dimensions than it was fitted for.
        """
        checked(np.empty((0, dim)), self.dim, self.name)
        return float(self.index.sa_code_size())

    @property
    def warning(self) -> str | None:
        """One sentence where the codebook is fitted on too few rows to be judged, or None."""
        quantizer = _product_quantizer(self.index)
        if quantizer is None or self.fitted_on >= ROWS_PER_CENTROID * int(quantizer.ksub):
            return None
        return (
            f"{self.name} has {int(quantizer.ksub)} centroids a part and was fitted on "
            f"{self.fitted_on} rows; below {ROWS_PER_CENTROID * int(quantizer.ksub)} it remembers "
            "its calibration rows, and other rows lose more than they would with enough"
        )


@dataclass(frozen=True, eq=False)
class FaissScalar(FaissCodec):
    """``sq8``, ``sq6``, ``sq4``: each coordinate's own range in 255, 63 or 15 steps, cut down.

    FAISS decodes code c to (c + ½) / 255 of the range: half a step above the maximum at most.
    """

    @property
    def low(self) -> np.ndarray:
        """Lower end of each range, (d,) float32."""
        return self._trained[: self.dim]

    @property
    def high(self) -> np.ndarray:
        """Upper end of each range, (d,) float32."""
        return self.low + self._trained[self.dim :]

    @property
    def last_code(self) -> int:
        """The largest code."""
        return LAST_CODE[self.name]

    @property
    def _trained(self) -> np.ndarray:
        return np.asarray(library().vector_to_array(self.index.sq.trained))

    def unclipped(self, rows: np.ndarray) -> np.ndarray:
        """Whole numbers (n, d) before clipping; zero where a coordinate has no range."""
        rows = checked(np.asarray(rows, np.float32), self.dim, self.name)
        width = self._trained[self.dim :]
        share = (rows - self.low) / np.where(width > 0, width, np.float32(np.inf))
        return np.trunc(share * np.float32(self.last_code))


def fit_scalar(name: str, calibration: np.ndarray) -> FaissCodec:
    """``fp16``, ``bf16`` (nothing to fit), ``sq8``, ``sq6`` or ``sq4``; O(n d).

    Raises:
        ShapeError, OptionError: no rows, or values that are not finite.
    """
    faiss = library()
    rows = calibration_rows(calibration, name)
    index = faiss.index_factory(rows.shape[1], SCALAR[name], faiss.METRIC_INNER_PRODUCT)
    with one_thread():
        index.train(single(rows))
    kind = FaissScalar if name in LAST_CODE else FaissCodec
    return kind(name, rows.shape[1], index, len(rows))


def fit_pq(calibration: np.ndarray, parts: int, bits: int, *, seed: int = 0) -> FaissCodec:
    """Product quantiser: ``parts`` pieces of a row, each to one of 2^bits centroids of its own.

    Trained without FAISS's polysemous step (the factory's ``np``), which takes a minute and is not
    needed for search by decoded rows. k-means of n rows: O(25 n 2^bits d).

    Raises:
        OptionError: ``parts`` does not divide d, bits outside 1 to 12, or fewer than 2^bits rows.
        ShapeError: no rows.
    """
    name = f"pq{parts}x{bits}"
    rows = _for_codebook(calibration, name, parts, bits)
    index = _bare_pq(rows.shape[1], parts, bits, seed)
    with one_thread():
        index.train(rows)
    return FaissCodec(name, rows.shape[1], index, len(rows))


def fit_opq(
    calibration: np.ndarray, parts: int, bits: int, *, seed: int = 0, rounds: int = 10
) -> FaissCodec:
    """A rotation trained for the product quantiser behind it (Ge et al., "Optimized Product
    Quantization", 2013); decoded rows are turned back.

    ``rounds`` of alternating k-means and SVD: about 0.5 s each at 512 dimensions (FAISS's own
    default is 50). FAISS 1.15 writes past its memory when the rotation is trained on fewer rows
    than dimensions, so such rows are repeated until there are enough: the same objective.

    Raises:
        OptionError: as :func:`fit_pq`, or no round. ShapeError: no rows.
    """
    at_least(rounds, 1, "rounds", "option-range")
    faiss = library()
    name = f"opq{parts}x{bits}"
    rows = _for_codebook(calibration, name, parts, bits)
    dim = rows.shape[1]
    rotation = faiss.OPQMatrix(dim, parts)
    rotation.niter = rounds
    trainer = faiss.ProductQuantizer(dim, parts, bits)
    _settle(trainer, seed)
    rotation.pq = trainer
    inner = _bare_pq(dim, parts, bits, seed)
    with one_thread():
        rotation.train(np.tile(rows, (-(-dim // len(rows)), 1)))
        rotation.pq = None
        inner.train(rotation.apply(rows))
    return FaissCodec(name, dim, faiss.IndexPreTransform(rotation, inner), len(rows))


def _for_codebook(calibration: np.ndarray, name: str, parts: int, bits: int) -> np.ndarray:
    rows = calibration_rows(calibration, name)
    in_range(bits, f"bits a part of {name}", least=1, most=12)
    if parts < 1 or rows.shape[1] % parts:
        raise OptionError(
            "parts-do-not-divide",
            f"{name}: {parts} parts do not divide {rows.shape[1]} dimensions; take a divisor",
        )
    if len(rows) < 2**bits:
        raise OptionError(
            "too-few-rows",
            f"{name} has {2**bits} centroids a part but {len(rows)} calibration rows; give at "
            f"least {2**bits} rows, or at most {len(rows).bit_length() - 1} bits",
        )
    return single(rows)


def _bare_pq(dim: int, parts: int, bits: int, seed: int) -> Any:
    faiss = library()
    index = faiss.index_factory(dim, f"PQ{parts}x{bits}np", faiss.METRIC_INNER_PRODUCT)
    _settle(index.pq, seed)
    return index


def _settle(quantizer: Any, seed: int) -> None:
    """A seed, and no warning on standard error about few rows: ``warning`` says it."""
    quantizer.cp.seed = seed
    quantizer.cp.min_points_per_centroid = 1


def _product_quantizer(index: Any) -> Any:
    faiss = library()
    inner = faiss.downcast_index(index.index) if hasattr(index, "chain") else index
    return getattr(inner, "pq", None)
