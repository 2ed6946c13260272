"""What an audit is asked, with the defaults of the contract's grid."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.robustness import GAUSSIAN_LEVELS
from isthmus.robustness.perturbations import check_noise
from isthmus.robustness.stress_runs import MAX_CANDIDATES, MAX_QUERIES, check_counts
from isthmus.search.scores import check_score
from isthmus.workflows.recommendation import DEFAULT_FLOOR, Rules


@dataclass(frozen=True)
class AuditOptions:
    """The options of :func:`isthmus.audit` that its parts need."""

    names: tuple[str, str] = ("image", "text")
    score: str = "cosine"
    levels: tuple[float, ...] = GAUSSIAN_LEVELS
    convention: str | None = None
    trials: int | None = None
    floor: float = DEFAULT_FLOOR
    fit_share: float = 0.0
    max_queries: int = MAX_QUERIES
    max_candidates: int = MAX_CANDIDATES
    seed: int = 0

    def __post_init__(self) -> None:
        check_score(self.score)
        check_noise(self.levels, self.convention or "total")
        check_counts(self.fit_share, self.trials, self.max_queries, self.max_candidates)
        _ = self.rules

    @property
    def rules(self) -> Rules:
        """What a recommended closer has to keep."""
        return Rules(self.floor, seed=self.seed)

    def direction_name(self, direction: str) -> str:
        """``image → text`` for ``a_to_b``, for people."""
        roles = dict(zip("ab", self.names, strict=True))
        return f"{roles[direction[0]]} → {roles[direction[-1]]}"
