"""A few known inputs and their vectors: does another runtime, export or version still agree?

:func:`make_canary` keeps vectors of a few inputs, how far they move when nothing changes, and their
answers among each other. :func:`check_canary` holds new vectors of the same inputs against it and
says what kind of change it sees. The file is small and made for continuous integration.

The kinds of change, worst first: ``not-finite`` (an overflow), ``zero`` (failed inputs), ``order``
(rows stand in each other's places), ``norms`` (another scale), ``shift`` (one common vector was
added), ``changed`` (rows moved by more than rounding), ``rounding`` (float16 or another runtime),
``same``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from isthmus._version import __version__
from isthmus.core.arrays import unit
from isthmus.data.records import Record
from isthmus.data.saved import SCHEMA, Parts, SavedRecord
from isthmus.deploy.canary_inputs import Taken, take_again, take_first
from isthmus.errors import OptionError, ShapeError

LEAST = 4
"""Inputs below which nothing can be said of order and of a common shift."""
ROUNDING = 3e-3
"""Largest distance of unit rows that float16 vectors or weights cause; beyond it rows changed."""
JITTER = 8.0
"""So many times the distance that was seen when nothing changed is still the same."""
LEAST_JITTER = 1e-5
SHIFT_SHARE = 0.5
"""Above this share of the movement in one common vector, it is called a shift."""
NORMS = 0.01
MOST_JITTER = 0.01
"""A model whose rows move by more with the batch size has a fault that a canary would hide."""
FAILURES = ("not-finite", "zero", "order", "norms", "shift", "changed")
"""Kinds of change with which a check fails."""


@dataclass(frozen=True, eq=False)
class Canary(SavedRecord):
    """Vectors of a few inputs as they were, and what is known of them.

    Attributes:
        ids: (n,) names of the inputs, in order; the texts themselves where ``kind`` is texts.
        vectors: (n, d) float32 as the model gave them.
        jitter: largest distance of unit rows between two runs in which nothing changed; 0 where
            only one run was given.
        digests: of inputs, model and preprocessing, by name: what a difference is traced to.
        kind: ``rows``, ``texts`` or ``images``: what it was made of.
        places, total: (n,) places of the inputs among all that were given, and how many those were.
        created_by: version of Isthmus that wrote it.
    """

    KIND: ClassVar[str] = "canary"
    MADE_BY: ClassVar[str] = "isthmus canary make"
    SUFFIXES: ClassVar[tuple[str, ...]] = (".safetensors", ".json", ".parquet")
    NESTED: ClassVar[str | None] = "canary"
    PACKED: ClassVar[tuple[str, ...]] = ("vectors",)

    ids: tuple[str, ...]
    vectors: np.ndarray
    jitter: float
    digests: Mapping[str, str]
    kind: str
    places: np.ndarray
    total: int
    created_by: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Everything but the vectors."""
        return {
            "schema": SCHEMA,
            "inputs": len(self.ids),
            "dim": int(self.vectors.shape[1]),
            "kind": self.kind,
            "of": self.total,
            "jitter": self.jitter,
            "digests": dict(self.digests),
            "created_by": self.created_by,
        }

    def rows(self) -> list[dict[str, Any]]:
        """One line per input: its name, its nearest other input and by what margin."""
        nearest, margin = _answers(np.asarray(unit(self.vectors.astype(np.float64))))
        return [
            {"id": name, "nearest": self.ids[int(n)], "margin": float(m)}
            for name, n, m in zip(self.ids, nearest, margin, strict=True)
        ]

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        fields = self.to_dict() | {"ids": list(self.ids)}
        return fields, {"vectors": self.vectors, "places": self.places.astype(np.int64)}

    @classmethod
    def _from_parts(cls, parts: Parts) -> Canary:
        ids, total = tuple(parts.value("ids")), parts.count("of", 1)
        vectors = parts.array("vectors", len(ids), None).astype(np.float32)
        places = parts.array("places", len(ids))
        if not all(isinstance(name, str) for name in ids) or len(set(ids)) < len(ids) or not ids:
            raise ValueError(f"{len(ids)} names, {len(set(ids))} of them different")
        if places.dtype.kind not in "iu" or not 0 <= places.min() <= places.max() < total:
            raise ValueError(f"places from {places.min()} to {places.max()} of {total}")
        return cls(
            ids,
            vectors,
            parts.number("jitter", 0),
            {str(name): str(digest) for name, digest in parts.value("digests").items()},
            parts.text("kind", "rows", "texts", "images"),
            places.astype(np.int64),
            total,
            parts.text("created_by"),
        )


@dataclass(frozen=True)
class CanaryCheck(Record):
    """What new vectors of the same inputs say.

    Attributes:
        kind: the worst kind of change found (see the module); ``passed`` is False for failures.
        worst, middle: largest and median distance of unit rows, old to new.
        tolerance: distance up to which rows count as the same.
        flips: inputs whose nearest other input is another one.
        shifted: share of the squared movement that is one common vector.
        displaced: inputs whose new vector is another input's old one, or much nearer to it.
        scale: median ratio of norms, new to old.
        inputs: how many; ``worst_inputs``: names of up to 5 that moved most.
        changed_digests: names of digests that differ.
    """

    kind: str
    passed: bool
    worst: float
    middle: float
    tolerance: float
    flips: int
    shifted: float
    displaced: int
    scale: float
    inputs: int
    worst_inputs: tuple[str, ...]
    changed_digests: tuple[str, ...]


def make_canary(
    rows: Any,
    *,
    images: Any = None,
    texts: Any = None,
    ids: Any = None,
    again: Sequence[Any] | None = None,
    digests: Mapping[str, str] | None = None,
    max_inputs: int = 256,
    batch_size: int = 64,
    device: str = "cpu",
) -> Canary:
    """Keep the vectors of a few inputs.

    Args:
        rows: (n, d) floats, n at least 4, or a file of rows; or an encoder, by name or as an
            object, with ``images`` or ``texts``. An encoder is run again with other batch sizes,
            and digests of the inputs, of the model's files and versions of libraries are kept.
        images, texts: what an encoder embeds, as :func:`isthmus.embed` takes it.
        ids: names of the inputs: a list, a text file with one a line, or a JSON list; row numbers
            by default, and names or texts where an encoder embeds them.
        again: rows of the same inputs from further runs, which say how far rows move when nothing
            changed.
        digests: further ones, by name.
        max_inputs: of more than these, evenly spaced ones are kept.
        batch_size, device: of the encoder.

    Raises:
        ShapeError: fewer than 4 rows, or runs of other shapes. OptionError: names that repeat or
            hold line ends, rows that are not finite, or a model whose rows depend on the batch.

    Cost: with an encoder three runs over the inputs.

    >>> rows = np.random.default_rng(0).normal(size=(20, 8))
    >>> check_canary(make_canary(rows), rows + 0.5).kind
    'shift'
    """
    run = {"images": images, "texts": texts, "batch_size": batch_size, "device": device}
    taken = take_first(rows, ids=ids, most=max_inputs, **run)
    names = taken.ids
    if len(set(names)) != len(names) or any("\n" in n for n in names):
        raise OptionError(
            "canary-names",
            f"{len(names)} names, {len(set(names))} of them different; expected one name each, "
            "without line ends",
        )
    base = np.asarray(unit(_good(taken.vectors, "rows").astype(np.float64)))
    jitter = 0.0
    for vectors in (*taken.again, *(take_again(a, taken).vectors for a in again or ())):
        other = np.asarray(unit(_good(vectors, "again", base.shape).astype(np.float64)))
        jitter = max(jitter, float(np.linalg.norm(other - base, axis=1).max()))
    if taken.again and jitter > MOST_JITTER:
        raise OptionError(
            "batch-changes-rows",
            f"rows move by up to {jitter:.2g} of their length with the batch size; expected "
            f"{MOST_JITTER} at most: look for missing masks of padding or for batch statistics",
        )
    found = {**taken.digests, **(digests or {})}
    kept = taken.vectors.astype(np.float32)
    return Canary(names, kept, jitter, found, taken.kind, taken.places, taken.total)


def check_canary(
    canary: Canary | str | os.PathLike[str],
    rows: Any,
    *,
    images: Any = None,
    texts: Any = None,
    digests: Mapping[str, str] | None = None,
    rounding: float = ROUNDING,
    batch_size: int = 64,
    device: str = "cpu",
) -> CanaryCheck:
    """Hold new vectors of the same inputs against a canary.

    Args:
        canary: the record or its file.
        rows: new rows of the same inputs in the same order, or of all inputs that it was made
            from; or an encoder. A canary of texts knows them.
        images, texts: what an encoder embeds; inputs are found by their names.
        digests: as :func:`make_canary` took them, of what is checked.
        rounding: largest distance of unit rows that passes; 0 allows only the run-to-run jitter.
        batch_size, device: of the encoder.

    Raises:
        ShapeError: another number of rows or dimensions. FileError: inputs that are not there.

    >>> rows = np.random.default_rng(0).normal(size=(20, 8))
    >>> found = check_canary(make_canary(rows), rows[::-1])
    >>> found.passed, found.kind
    (False, 'order')
    """
    known = canary if isinstance(canary, Canary) else Canary.load(canary)
    before = Taken(known.vectors, known.ids, known.places, known.total, known.kind)
    taken = take_again(
        rows, before, images=images, texts=texts, batch_size=batch_size, device=device
    )
    new, old = taken.vectors.astype(np.float64), known.vectors.astype(np.float64)
    if new.shape != old.shape:
        raise ShapeError(
            "other-shape",
            f"the vectors have shape {new.shape}, the canary's {old.shape}; expected the same "
            "inputs through a model of the same size",
        )
    given = {**taken.digests, **(digests or {})}
    changed = tuple(k for k, v in given.items() if known.digests.get(k, v) != v)
    tolerance = max(JITTER * known.jitter, LEAST_JITTER)
    bad = ~np.isfinite(new).all(axis=1)
    kind = "not-finite" if bad.any() else "zero"
    bad = bad if bad.any() else ~new.any(axis=1)
    if bad.any():
        names, far = tuple(known.ids[i] for i in np.flatnonzero(bad)[:5]), float("inf")
        return CanaryCheck(
            kind, False, far, far, tolerance, int(bad.sum()), 0.0, 0, 0.0, len(new), names, changed
        )
    found = _compared(old, new, tolerance, max(rounding, tolerance))
    return replace(
        found,
        worst_inputs=tuple(known.ids[int(i)] for i in found.worst_inputs),
        changed_digests=changed,
    )


def _compared(old: np.ndarray, new: np.ndarray, tolerance: float, rounding: float) -> CanaryCheck:
    """What finite rows say; the worst inputs by their places."""
    a, b = np.asarray(unit(old)), np.asarray(unit(new))
    moved = np.linalg.norm(b - a, axis=1)
    common = (b - a).mean(axis=0)
    total = float(((b - a) ** 2).sum())
    shifted = len(a) * float(common @ common) / total if total else 0.0
    across = b @ a.T
    displaced = _displaced(across, moved, rounding)
    scale = float(np.median(np.linalg.norm(new, axis=1) / np.linalg.norm(old, axis=1)))
    kind = _kind(moved, shifted, displaced, scale, tolerance, rounding)
    return CanaryCheck(
        kind,
        kind not in FAILURES,
        float(moved.max()),
        float(np.median(moved)),
        tolerance,
        int((_answers(a)[0] != _answers(b)[0]).sum()),
        shifted,
        displaced,
        scale,
        len(a),
        tuple(str(i) for i in np.argsort(-moved, kind="stable")[:5]),
        (),
    )


def _displaced(across: np.ndarray, moved: np.ndarray, rounding: float) -> int:
    """Inputs that moved and lie at least twice as near to another input's old vector.

    Counted once for each such other input, so rows that all fell onto one point are not taken for
    rows that changed places; nor are twins, which are near each other without having moved.
    """
    best = across.argmax(axis=1)
    distance = np.sqrt(np.maximum(2 - 2 * across.max(axis=1), 0))
    there = (best != np.arange(len(best))) & (moved > rounding)
    there &= distance <= np.maximum(rounding, moved / 2)
    return len(np.unique(best[there]))


def _kind(
    moved: np.ndarray,
    shifted: float,
    displaced: int,
    scale: float,
    tolerance: float,
    rounding: float,
) -> str:
    if moved.max() <= tolerance:
        return "same" if abs(scale - 1) <= NORMS else "norms"
    if displaced > max(1, len(moved) // 10):
        return "order"
    if moved.max() <= rounding:
        return "rounding" if abs(scale - 1) <= NORMS else "norms"
    return "shift" if shifted > SHIFT_SHARE else "changed"


def _answers(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest other row of each, (n,), and its margin over the next, (n,)."""
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    best = np.sort(scores, axis=1)
    return scores.argmax(axis=1), best[:, -1] - best[:, -2]


def _good(rows: np.ndarray, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    if rows.ndim != 2 or len(rows) < LEAST or (shape is not None and rows.shape != shape):
        raise ShapeError(
            "canary-shape",
            f"{name} has shape {rows.shape}; expected "
            f"{shape if shape is not None else f'(n, d) with {LEAST} rows or more'}",
        )
    if not np.isfinite(rows).all() or not rows.any(axis=1).all():
        raise OptionError(
            "canary-values", f"{name} holds NaN, infinity or zero rows; make it of good inputs"
        )
    return rows
