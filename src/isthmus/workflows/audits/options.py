"""Everything an audit may be told, and the defaults of the contract's grid."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.core.levels import CONVENTIONS
from isthmus.errors import OptionError
from isthmus.robustness import GAUSSIAN_LEVELS
from isthmus.search.scores import check_score
from isthmus.workflows.recommendation import DEFAULT_FLOOR

SCHEMA = 1
MAX_QUERIES = 2000
MAX_CANDIDATES = 10_000
TRIALS = 60
TRIAL_PRODUCTS = 60 * 500 * 500
LEAST_TRIALS = 8
VARIANCES = (0.9, 0.95, 0.99, 0.999, 1.0)


@dataclass(frozen=True)
class AuditOptions:
    """Everything an audit may be told. The defaults are the contract's default grid."""

    names: tuple[str, str] = ("a", "b")
    paired: bool | None = None
    score: str = "cosine"
    seed: int = 0
    levels: tuple[float, ...] = GAUSSIAN_LEVELS
    convention: str = "total"
    trials: int | None = None
    floor: float = DEFAULT_FLOOR
    max_queries: int = MAX_QUERIES
    max_candidates: int = MAX_CANDIDATES
    fit_share: float = 0.0

    def __post_init__(self) -> None:
        check_score(self.score)
        if self.convention not in CONVENTIONS:
            raise OptionError(
                f"level convention '{self.convention}' is unknown; choose one of "
                f"{', '.join(CONVENTIONS)}"
            )
        if not 0 <= self.fit_share < 1:
            raise OptionError(f"fit share {self.fit_share}; expected 0 (all rows) to below 1")
        if not 0 <= self.floor <= 1:
            raise OptionError(f"floor {self.floor} is not a share; expected 0 to 1")
        if self.trials is not None and self.trials < 1:
            raise OptionError(f"{self.trials} trials; expected at least 1")
        if min(self.max_queries, self.max_candidates) < 2:
            raise OptionError("at least 2 queries and 2 candidates are needed to see a flip")

    @property
    def unit_rows(self) -> bool:
        """Rows are normalised first: under cosine only."""
        return self.score == "cosine"
