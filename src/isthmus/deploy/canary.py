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
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus._version import __version__
from isthmus.core.arrays import to_numpy, unit
from isthmus.data import load_tensors, save_tensors
from isthmus.data.records import Record
from isthmus.errors import CorruptFile, OptionError, ShapeError

SCHEMA = 1
ROUNDING = 3e-3
"""Largest distance of unit rows that float16 vectors or weights cause; beyond it rows changed."""
JITTER = 8.0
"""So many times the distance that was seen when nothing changed is still the same."""
LEAST_JITTER = 1e-5
SHIFT_SHARE = 0.5
"""Above this share of the movement in one common vector, it is called a shift."""
NORMS = 0.01
FAILURES = ("not-finite", "zero", "order", "norms", "shift", "changed")
"""Kinds of change with which a check fails."""


@dataclass(frozen=True, eq=False)
class Canary(Record):
    """Vectors of a few inputs as they were, and what is known of them.

    Attributes:
        ids: (n,) names of the inputs, in order. vectors: (n, d) float32 as the model gave them.
        jitter: largest distance of unit rows between two runs in which nothing changed; 0 where
            only one run was given.
        digests: of inputs, model and preprocessing, by name: what a difference is traced to.
        created_by: version of Isthmus that wrote it.
    """

    ids: tuple[str, ...]
    vectors: np.ndarray
    jitter: float
    digests: Mapping[str, str]
    created_by: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Everything but the vectors."""
        return {
            "schema": SCHEMA,
            "inputs": len(self.ids),
            "dim": int(self.vectors.shape[1]),
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

    def save(self, path: str | os.PathLike[str]) -> Any:
        """Write as ``.safetensors`` (what :meth:`load` reads), or as any other record."""
        if not os.fspath(path).endswith(".safetensors"):
            return super().save(path)
        memo = {
            "isthmus": "canary",
            "schema": str(SCHEMA),
            "jitter": repr(self.jitter),
            "created_by": self.created_by,
            "ids": "\n".join(self.ids),
            **{f"digest.{name}": value for name, value in self.digests.items()},
        }
        save_tensors(path, {"vectors": self.vectors}, memo)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Canary:
        """Read what :meth:`save` wrote.

        Raises:
            CorruptFile: the file holds something else, or another schema.
        """
        tensors, memo = load_tensors(path)
        if memo.get("isthmus") != "canary" or "vectors" not in tensors:
            raise CorruptFile(
                "not-a-canary", f"'{os.fspath(path)}' holds no canary; make one first"
            )
        if memo.get("schema") != str(SCHEMA):
            raise CorruptFile(
                "unknown-schema",
                f"'{os.fspath(path)}' has schema {memo.get('schema')}; this version reads {SCHEMA}",
            )
        vectors = np.asarray(tensors["vectors"], np.float32)
        ids = tuple(memo.get("ids", "").split("\n"))
        if vectors.ndim != 2 or len(ids) != len(vectors) or not np.isfinite(vectors).all():
            raise CorruptFile(
                "damaged-canary", f"'{os.fspath(path)}' is damaged: names and vectors do not fit"
            )
        digests = {k[7:]: v for k, v in memo.items() if k.startswith("digest.")}
        return cls(ids, vectors, float(memo["jitter"]), digests, memo.get("created_by", ""))


@dataclass(frozen=True)
class CanaryCheck(Record):
    """What new vectors of the same inputs say.

    Attributes:
        kind: the worst kind of change found (see the module); ``passed`` is False for failures.
        worst, middle: largest and median distance of unit rows, old to new.
        tolerance: distance up to which rows count as the same.
        flips: inputs whose nearest other input is another one.
        shifted: share of the squared movement that is one common vector.
        displaced: inputs whose new vector is nearest to another input's old one.
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
    vectors: Any,
    *,
    ids: Sequence[str] | None = None,
    again: Sequence[Any] = (),
    digests: Mapping[str, str] | None = None,
) -> Canary:
    """Keep the vectors of a few inputs.

    Args:
        vectors: (n, d) floats, n at least 4. ids: names of the inputs; row numbers by default.
        again: vectors of the same inputs from further runs (other batch sizes), which say how far
            rows move when nothing changed.
        digests: of inputs, model files and preprocessing, by name.

    Raises:
        ShapeError: fewer than 4 rows, or runs of other shapes. OptionError: names that repeat or
            hold line ends.
    """
    rows = _rows(vectors, "vectors")
    names = tuple(ids) if ids is not None else tuple(str(i) for i in range(len(rows)))
    if len(names) != len(rows) or len(set(names)) != len(names) or any("\n" in n for n in names):
        raise OptionError(
            "canary-names", f"{len(names)} names for {len(rows)} inputs; expected one name each"
        )
    base = np.asarray(unit(rows.astype(np.float64)))
    jitter = 0.0
    for run in again:
        other = np.asarray(unit(_rows(run, "again", rows.shape).astype(np.float64)))
        jitter = max(jitter, float(np.linalg.norm(other - base, axis=1).max()))
    return Canary(names, rows.astype(np.float32), jitter, dict(digests or {}))


def check_canary(
    canary: Canary | str | os.PathLike[str],
    vectors: Any,
    *,
    digests: Mapping[str, str] | None = None,
    rounding: float = ROUNDING,
) -> CanaryCheck:
    """Hold new vectors of the same inputs, in the same order, against a canary.

    Args:
        canary: the record or its file. vectors: (n, d) floats.
        digests: as :func:`make_canary` took them, of what is checked.
        rounding: largest distance of unit rows that passes; 0 allows only the run-to-run jitter.

    Raises:
        ShapeError: another number of rows or dimensions.
    """
    known = canary if isinstance(canary, Canary) else Canary.load(canary)
    new = to_numpy(vectors)
    if new.shape != known.vectors.shape:
        raise ShapeError(
            "other-shape",
            f"the vectors have shape {new.shape}, the canary's {known.vectors.shape}; expected the "
            "same inputs through a model of the same size",
        )
    new = new.astype(np.float64)
    old = known.vectors.astype(np.float64)
    changed = tuple(
        name for name, value in (digests or {}).items() if known.digests.get(name, value) != value
    )
    finite = np.isfinite(new).all(axis=1)
    norms = np.linalg.norm(np.where(finite[:, None], new, 0.0), axis=1)
    empty = finite & (norms == 0)
    tolerance = max(JITTER * known.jitter, LEAST_JITTER)
    if not finite.all() or empty.any():
        bad = np.flatnonzero(~finite | empty)
        kind = "not-finite" if not finite.all() else "zero"
        names = tuple(known.ids[i] for i in bad[:5])
        return CanaryCheck(
            kind,
            False,
            float("inf"),
            float("inf"),
            tolerance,
            len(bad),
            0.0,
            0,
            0.0,
            len(new),
            names,
            changed,
        )
    a, b = np.asarray(unit(old)), np.asarray(unit(new))
    moved = np.linalg.norm(b - a, axis=1)
    common = (b - a).mean(axis=0)
    total = float(((b - a) ** 2).sum())
    shifted = len(a) * float(common @ common) / total if total else 0.0
    across = b @ a.T
    displaced = int((across.argmax(axis=1) != np.arange(len(a))).sum())
    scale = float(np.median(norms / np.linalg.norm(old, axis=1)))
    flips = int((_answers(a)[0] != _answers(b)[0]).sum())
    kind = _kind(moved, shifted, displaced, scale, tolerance, max(rounding, tolerance), len(a))
    order = np.argsort(-moved, kind="stable")[:5]
    return CanaryCheck(
        kind,
        kind not in FAILURES,
        float(moved.max()),
        float(np.median(moved)),
        tolerance,
        flips,
        shifted,
        displaced,
        scale,
        len(a),
        tuple(known.ids[i] for i in order),
        changed,
    )


def _kind(
    moved: np.ndarray,
    shifted: float,
    displaced: int,
    scale: float,
    tolerance: float,
    rounding: float,
    count: int,
) -> str:
    if moved.max() <= tolerance:
        return "same" if abs(scale - 1) <= NORMS else "norms"
    if displaced > max(1, count // 10):
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


def _rows(given: Any, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    rows = to_numpy(given)
    if rows.ndim != 2 or len(rows) < 4 or (shape is not None and rows.shape != shape):
        raise ShapeError(
            "canary-shape",
            f"{name} has shape {rows.shape}; expected "
            f"{shape if shape is not None else '(n, d) with 4 rows or more'}",
        )
    if not np.isfinite(rows).all() or not (np.linalg.norm(rows, axis=1) > 0).all():
        raise OptionError(
            "canary-values", f"{name} holds NaN, infinity or zero rows; make it of good inputs"
        )
    return rows
