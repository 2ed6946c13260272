"""Which closer, for this direction and family of perturbation, under a clean-agreement floor.

The rule, in order: drop closers whose clean agreement is below the floor; of the rest take the
one with the fewest flips over the judged perturbations; recommend it only where its flips are
fewer than
those of plain search by more than the paired interval; otherwise "leave it alone".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.statistics import paired_difference
from isthmus.robustness import Result

DEFAULT_FLOOR = 1.0


@dataclass(frozen=True)
class Recommendation:
    """A closer's name (``none``: leave it alone), and why, in words and numbers."""

    closer: str
    score: str
    reason: str
    flips_before: float
    flips_after: float
    flips_removed: float
    flips_removed_ci: tuple[float, float]
    clean_agreement: float
    floor: float
    judged_on: str
    rejected: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The form of ``report.json``; the file is filled in by whoever writes it."""
        return {
            "closer": self.closer,
            "score": self.score,
            "file": None,
            "reason": self.reason,
            "flips_before": self.flips_before,
            "flips_after": self.flips_after,
            "flips_removed": self.flips_removed,
            "flips_removed_ci": list(self.flips_removed_ci),
            "clean_agreement": self.clean_agreement,
            "floor": self.floor,
            "judged_on": self.judged_on,
            "rejected": list(self.rejected),
        }


def recommend(
    results: Sequence[Result],
    *,
    score: str,
    floor: float = DEFAULT_FLOOR,
    family: str = "gaussian",
    side: str = "candidates",
    seed: int = 0,
) -> Recommendation:
    """Choose among the closers that were measured.

    Args:
        results: perturbations of one direction, every closer under the same perturbations and
        trials.
        score: what the user searches with today: the baseline is ``none`` under it.
        floor: least share of the answers of plain search by ``score`` that a closer must keep.
        family, side: the perturbation that counts.
    """
    judged = [
        r for r in results if r.perturbation.family == family and r.perturbation.target == side
    ]
    by_play: dict[int, list[Result]] = {}
    for result in judged:
        by_play.setdefault(id(result.search), []).append(result)
    plain = {c[0].search.score: c for c in by_play.values() if c[0].search.closer.name == "none"}
    if score == "cosine" and score not in plain:
        score = "dot"
    base = _flips(plain[score])
    answers = plain[score][0].search.clean_top1  # what the user gets today
    levels = ", ".join(f"{r.perturbation.level:g}" for r in plain[score])
    judged_on = f"{family} on {side}, levels {levels}"
    scored, rejected = [], []
    for perturbations in by_play.values():
        search = perturbations[0].search
        name, with_score = search.closer.name, search.score
        if name == "none":
            continue
        agreement = float((search.clean_top1 == answers).mean())
        flips = _flips(perturbations)
        change = paired_difference(flips, base, seed=seed)  # flips removed: base - flips
        entry = (float(flips.mean()), search.closer, with_score, agreement, change)
        if agreement < floor:
            rejected.append(
                {
                    "closer": name,
                    "score": with_score,
                    "clean_agreement": agreement,
                    "flips": float(flips.mean()),
                    "why": f"changes {1 - agreement:.1%} of the clean answers",
                }
            )
        else:
            scored.append(entry)
    before = float(base.mean())
    if scored:
        after, closer, with_score, agreement, change = min(scored, key=lambda e: e[0])
        name = closer.name
        if change.low > 0:
            reason = (
                f"{name} (searched by {with_score}) keeps {agreement:.1%} of the clean answers "
                f"and removes {change.mean / before:.0%} of the flips: {before:.1%} of answers "
                f"flip without it, {after:.1%} with it ({judged_on})"
            )
            return Recommendation(
                name,
                with_score,
                reason,
                before,
                after,
                change.mean,
                (change.low, change.high),
                agreement,
                floor,
                judged_on,
                tuple(rejected),
            )
        why = (
            f"the best closer that keeps the clean answers, {name}, changes the share of flips by "
            f"{-change.mean:+.1%} (95 % interval {-change.high:+.1%} to {-change.low:+.1%})"
        )
    else:
        why = f"no closer keeps {floor:.1%} of the clean answers"
    reason = f"leave it alone: {why}; {before:.1%} of answers flip ({judged_on})"
    return Recommendation(
        "none",
        score,
        reason,
        before,
        before,
        0.0,
        (0.0, 0.0),
        1.0,
        floor,
        judged_on,
        tuple(rejected),
    )


def _flips(perturbations: Sequence[Result]) -> np.ndarray:
    """(trials, queries): share of levels at which the answer flipped."""
    trials = min(r.trials for r in perturbations)
    return 1.0 - np.mean([r.kept[:trials] for r in perturbations], axis=0)
