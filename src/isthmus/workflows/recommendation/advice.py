"""What advice is: figures of both halves for each closer, what is recommended, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from isthmus.closers.maps import Closer

Shown = Literal["by guarantee", "by count", "unresolved", "missed"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Figures:
    """A closer on one half of the queries. Shares of queries; intervals are 95 %.

    Attributes:
        queries: how many.
        flips: measured; ``flips_ci`` resamples trials and queries. ``predicted``: by formula, or
            None where there is none.
        removed: flips of plain search less these, paired; ``removed_ci``.
        agreement: of the disturbed answers with today's.
        clean_agreement: of the undisturbed ones; ``clean_agreement_ci`` is Wilson's.
        near_ties: answers that differ but scored alike today, counted as kept.
        accuracy, clean_accuracy: right answers, disturbed and not; None where no truth is known.
    """

    queries: int
    flips: float
    flips_ci: Interval
    predicted: float | None
    removed: float
    removed_ci: Interval
    agreement: float
    clean_agreement: float
    clean_agreement_ci: Interval
    near_ties: int
    accuracy: float | None
    clean_accuracy: float | None


@dataclass(frozen=True)
class Row:
    """One closer at the setting chosen on the calibration half.

    ``rank`` and ``predicted_rank`` count from 1 among closers above the floor, by flips on the
    judging half. ``shown`` says how the floor is met: by the guarantee, by counting, not resolved
    with so few queries, or missed. ``spread`` is the stored vectors' variance over that before:
    where it is not 1, noise of a fixed size is relatively smaller or larger. ``beside`` counts
    floats per candidate beside the vector, ``bytes`` the coded vector.
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
    calibration: Figures
    judging: Figures
    tried: int
    spread: float
    beside: int
    bytes: float | None

    def flat(self) -> dict[str, Any]:
        """One row of a table: judged figures, then those of calibration as ``calibration_…``."""
        told: dict[str, Any] = {
            "rank": self.rank,
            "closer": self.closer,
            "score": self.score,
            "strength": self.strength,
            "ridge": self.options.get("ridge"),
            "variance": self.options.get("variance"),
            "kept_rank": self.options.get("rank"),
            "guarantee": self.guarantee,
            "passes": self.passes,
            "shown": self.shown,
            "predicted_rank": self.predicted_rank,
            "tried": self.tried,
            "spread": self.spread,
            "beside": self.beside,
            "bytes": self.bytes,
        }
        for prefix, figures in (("", self.judging), ("calibration_", self.calibration)):
            for name, value in vars(figures).items():
                if name.endswith("_ci"):
                    told[f"{prefix}{name[:-3]}_lo"], told[f"{prefix}{name[:-3]}_hi"] = value
                else:
                    told[prefix + name] = value
        return told

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, nested."""
        told = dict(vars(self))
        told["options"] = dict(self.options)
        for half in ("calibration", "judging"):
            told[half] = {
                k: list(v) if isinstance(v, tuple) else v for k, v in vars(told[half]).items()
            }
        return told


@dataclass(frozen=True)
class Raise:
    """A closer that changes answers on purpose: undisturbed accuracy without and with it.

    Its setting is the most accurate one on the calibration half; ``before`` and ``after`` are of
    the judging half, ``p`` McNemar's exact p-value there times the number of closers so tested.
    """

    closer: str
    score: str
    options: Mapping[str, float]
    strength: float
    clean_agreement: float
    calibration_before: float
    calibration_after: float
    before: float
    after: float
    won: int
    lost: int
    p: float
    raises: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return dict(vars(self)) | {"options": dict(self.options)}


@dataclass(frozen=True, eq=False)
class Advice:
    """What :func:`isthmus.workflows.recommendation.advise` found.

    Attributes:
        name, score, options: of the closer recommended; ``none`` under today's score where
            ``nothing`` is True.
        closer: the fitted closer, as it was judged: ``advice.closer.save(...)``.
        reason: why, in a sentence or two. notes: what else has to be known, a sentence each.
        rows: every closer, those above the floor by judged flips first.
        changes: closers that change answers, by accuracy (empty without a truth); ``raises`` marks
            those that are shown to raise it.
        plain: figures of today's search, calibration and judging.
        control: where theory says that nothing can change: the flips of all exact closers, and how
            far they lie from plain search; else None.
        skipped: closers that could not be fitted, and why.
        setup: what was asked: score, side, family, levels, floor, trials, seed, sizes of halves.
    """

    name: str
    score: str
    options: Mapping[str, float]
    nothing: bool
    reason: str
    notes: tuple[str, ...]
    closer: Closer = field(repr=False)
    rows: tuple[Row, ...] = field(repr=False)
    changes: tuple[Raise, ...] = field(repr=False)
    plain: Row = field(repr=False)
    control: Mapping[str, Any] | None = field(repr=False)
    skipped: Mapping[str, str] = field(repr=False)
    setup: Mapping[str, Any] = field(repr=False)

    @property
    def table(self) -> list[dict[str, Any]]:
        """Flat rows, for a data frame."""
        return [row.flat() for row in self.rows]

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
            "rows": [row.to_dict() for row in self.rows],
            "changes": [change.to_dict() for change in self.changes],
            "control": None if self.control is None else dict(self.control),
            "skipped": dict(self.skipped),
            "setup": dict(self.setup),
        }
