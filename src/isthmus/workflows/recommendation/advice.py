"""What advice is: the figures of each closer, what is recommended, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from isthmus.closers.closer import Closer
from isthmus.data.records import Record
from isthmus.data.row_stats import InputWarning
from isthmus.robustness import FlipReference

Shown = Literal["by guarantee", "by count", "unresolved", "missed"]
Range = tuple[float, float]
SIGNIFICANT = 0.01
"""Greatest p-value with which a gain in accuracy is stated."""
KEYS = {
    "validation": "calibration",
    "test": "judging",
    "floats_per_candidate": "beside",
    "validation_before": "calibration_before",
    "validation_after": "calibration_after",
}
"""Attribute -> how JSON and tables spell it."""


@dataclass(frozen=True)
class PartFigures:
    """A closer on the validation or the test queries. Shares of queries; intervals are 95 %.

    Attributes:
        queries: how many.
        flips: measured, or by law where ``by_law`` says so (docs/laws.md); ``flips_ci`` resamples
            trials and queries. ``predicted``: by formula, or None where there is none.
        removed: flips of plain search less these, paired; ``removed_ci``.
        agreement: of the disturbed answers with today's.
        clean_agreement: of the undisturbed ones; ``clean_agreement_ci`` is Wilson's.
        near_ties: answers that differ but scored alike today, counted as kept.
        accuracy, clean_accuracy: right answers, disturbed and not; None where nothing is known to
            be right.
    """

    queries: int
    flips: float
    flips_ci: Range
    predicted: float | None
    removed: float
    removed_ci: Range
    agreement: float
    clean_agreement: float
    clean_agreement_ci: Range
    near_ties: int
    accuracy: float | None
    clean_accuracy: float | None
    by_law: bool = False


@dataclass(frozen=True)
class CloserFigures:
    """One closer at the setting chosen on the validation queries.

    ``rank`` and ``predicted_rank`` count from 1 among closers above the floor, by flips on the
    test queries. ``shown`` says how the floor is met: by the guarantee, by counting, not resolved
    with so few queries, or missed. ``spread`` is the stored vectors' variance over that before:
    where it is not 1, noise of a fixed size is relatively smaller or larger. ``bytes`` are of the
    coded vector. ``flip_reference`` is what flips are counted against.
    """

    closer: str
    score: str
    options: Mapping[str, float]
    strength: float
    guarantee: str
    passes: bool
    shown: Shown
    rank: int | None
    predicted_rank: int | None
    validation: PartFigures
    test: PartFigures
    tried: int
    spread: float
    floats_per_candidate: int
    bytes: float | None
    flip_reference: FlipReference = "own"

    def flat(self) -> dict[str, Any]:
        """One row of a table: figures of the test queries, then validation as ``calibration_…``."""
        found: dict[str, Any] = {"rank": self.rank}
        for name, value in vars(self).items():
            if name == "options":
                found |= {"ridge": value.get("ridge"), "variance": value.get("variance")}
                found["kept_rank"] = value.get("rank")
            elif name not in ("validation", "test"):
                found[KEYS.get(name, name)] = value
        for prefix, figures in (("", self.test), ("calibration_", self.validation)):
            for name, value in vars(figures).items():
                if name.endswith("_ci"):
                    low, high = value
                    found |= {f"{prefix}{name[:-3]}_lo": low, f"{prefix}{name[:-3]}_hi": high}
                else:
                    found[prefix + name] = value
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, nested."""
        return _spelled(self)


@dataclass(frozen=True)
class AccuracyGain:
    """A closer that changes answers on purpose: undisturbed accuracy without and with it.

    Its setting is the most accurate one on the validation queries; ``before`` and ``after`` are of
    the test queries, ``p`` McNemar's exact p-value there times the number of closers so tested.
    """

    closer: str
    score: str
    options: Mapping[str, float]
    strength: float
    clean_agreement: float
    validation_before: float
    validation_after: float
    before: float
    after: float
    won: int
    lost: int
    p: float
    raises: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return _spelled(self)


def _spelled(record: Any) -> dict[str, Any]:
    """Its attributes as plain values, in the spelling of JSON."""
    found = {}
    for name, value in vars(record).items():
        if isinstance(value, PartFigures):
            value = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(value).items()}
        found[KEYS.get(name, name)] = dict(value) if isinstance(value, Mapping) else value
    return found


@dataclass(frozen=True, eq=False)
class Advice(Record):
    """What :func:`isthmus.recommend` found.

    Attributes:
        name, score, options: of the closer recommended; ``none`` under today's score where
            ``nothing`` is True.
        closer: the fitted closer, as its figures were measured.
        reason: why, in a sentence or two. notes: what else has to be known, a sentence each.
        closers: figures of every closer, those above the floor by flips on the test queries first.
        changes: closers that change answers, by accuracy (empty where nothing is known to be
            right); ``raises`` marks those that are shown to raise it.
        plain: figures of today's search.
        control: where theory says that nothing can change: the flips of all exact closers, and how
            far they lie from plain search; else None.
        skipped: closers that could not be fitted, and why.
        setup: what was asked: score, target, family, levels, floor, trials, seed, sizes.
        gallery: where the candidates searched are a sample, and Gaussian noise hits them: the same
            closer and plain search among all candidates, by law (``docs/gallery.md``); else None.
        warnings: what is suspicious about the rows; where one makes every number meaningless, it
            is the reason why nothing is recommended.
    """

    name: str
    score: str
    options: Mapping[str, float]
    nothing: bool
    reason: str
    notes: tuple[str, ...]
    closer: Closer = field(repr=False)
    closers: tuple[CloserFigures, ...] = field(repr=False)
    changes: tuple[AccuracyGain, ...] = field(repr=False)
    plain: CloserFigures = field(repr=False)
    control: Mapping[str, Any] | None = field(repr=False)
    skipped: Mapping[str, str] = field(repr=False)
    setup: Mapping[str, Any] = field(repr=False)
    warnings: tuple[InputWarning, ...] = ()
    gallery: Mapping[str, Any] | None = field(default=None, repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """A flat row per closer, in the order of ``closers``."""
        return [figures.flat() for figures in self.closers]

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """The reason, and what was measured of each closer."""
        shown = ("rank", "closer", "score", "clean_agreement", "flips", "removed", "accuracy")
        return self.reason, [{name: row[name] for name in shown} for row in self.rows()]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """``.safetensors`` is the recommended closer, ``.json`` and ``.parquet`` the figures.

        Raises:
            OptionError: another suffix. FileError: the file cannot be written.
        """
        out = Path(path)
        if out.suffix.lower() != ".safetensors":
            return super().save(out)
        self.closer.save(out)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and words: everything but the closer's arrays."""
        return {
            "closer": self.name,
            "score": self.score,
            "options": dict(self.options),
            "nothing": self.nothing,
            "reason": self.reason,
            "notes": list(self.notes),
            "guarantee": self.closer.guarantee.to_dict(),
            "plain": self.plain.to_dict(),
            "rows": [figures.to_dict() for figures in self.closers],
            "changes": [change.to_dict() for change in self.changes],
            "control": None if self.control is None else dict(self.control),
            "skipped": dict(self.skipped),
            "setup": dict(self.setup),
            "gallery": None if self.gallery is None else dict(self.gallery),
            "warnings": [warning.to_dict() for warning in self.warnings],
        }
