"""CleanRows rows in the form predictions need: float64, the winner, and one cost per candidate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isthmus.core.arrays import Array, to_numpy
from isthmus.errors import OptionError
from isthmus.search.scores import Ranking, top1
from isthmus.search.shared import Moved, Product

if TYPE_CHECKING:
    from isthmus.closers.closer import Closer

BLOCK = 2**18


@dataclass(frozen=True, eq=False)
class CleanRows:
    """A ranking in float64, with its candidate biases apart from the score's own offset.

    ``queries`` (n, d), ``candidates`` (K, d), ``bias`` (K,), ``winner`` (n,): the answers of
    ``ranking`` itself, ties and all. ``items`` (K,): other rows of the winner's item are no rivals;
    None: every row is an item.
    """

    queries: np.ndarray
    candidates: np.ndarray
    bias: np.ndarray
    winner: np.ndarray
    score: str
    items: np.ndarray | None = None

    @classmethod
    def of(
        cls, ranking: Ranking, items: np.ndarray | None = None, winner: np.ndarray | None = None
    ) -> CleanRows:
        """Read a ranking; ``items`` (K,) is the lowest row of each row's item, ``winner`` (n,) its
        answers where they are known."""
        queries, candidates = (
            np.asarray(to_numpy(rows), np.float64) for rows in (ranking.queries, ranking.candidates)
        )
        bias = np.zeros(len(candidates))
        if ranking.bias is not None:
            bias = to_numpy(ranking.bias).astype(np.float64)
        if ranking.scale is not None:
            candidates = candidates * to_numpy(ranking.scale).astype(np.float64)[:, None]
        winner = top1(ranking) if winner is None else winner
        return cls(queries, candidates, bias, winner, ranking.score, items)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """(queries, margins m_j = s_1 - s_j clipped at 0 (b, K), winners (b,)), block by block.

        Margins to other rows of the winner's item are inf.
        """
        offset = self.bias
        if self.score == "euclidean":
            offset = offset - 0.5 * np.einsum("ij,ij->i", self.candidates, self.candidates)
        step = max(1, BLOCK // len(self.candidates))
        for start in range(0, len(self.queries), step):
            part = slice(start, min(start + step, len(self.queries)))
            scores = self.queries[part] @ self.candidates.T + offset
            first = self.winner[part]
            best = np.take_along_axis(scores, first[:, None], axis=1)
            margins = np.maximum(best - scores, 0.0)
            if self.items is not None:
                margins[self.items[first][:, None] == self.items] = np.inf
                margins[np.arange(len(first)), first] = 0.0
            yield part, margins, first

    def squares(self, part: slice, dims: int) -> np.ndarray:
        """‖q - x_j‖² over the first ``dims`` coordinates, (b, K)."""
        q, x = self.queries[part, :dims], self.candidates[:, :dims]
        out = np.einsum("ij,ij->i", q, q)[:, None] - 2 * q @ x.T
        return np.maximum(out + np.einsum("ij,ij->i", x, x), 0.0)


def closed_ranking(closer: Closer, queries: Array, candidates: Array) -> Ranking:
    """The search of a closer: both maps applied, its candidate biases, its score."""
    bias = closer.candidate_bias(candidates)
    return Ranking.of(closer.query(queries), closer.candidate(candidates), closer.score, bias)


def moves_only(closer: Closer, *, normalised: bool) -> bool:
    """Whether both maps only move rows (and perhaps normalise them after).

    ``normalised``: the rows are unit rows, so that a map that begins by normalising moves them.
    """
    steps = (*closer.query.steps, *closer.candidate.steps)
    if len(steps) != 2 or closer.memo or any(s.matrix is not None for s in steps):
        return False
    return normalised or not any(s.normalised for s in steps)


def moved_search(
    product: Product, closer: Closer, ranking: Ranking, *, normalised: bool
) -> Moved | None:
    """The search of a closer from the products of the rows; None where a map does more than move.

    Args:
        product: of the rows before the maps. ranking: of the rows after them, on the host.
        normalised: as :func:`moves_only` has it.
    """
    if not moves_only(closer, normalised=normalised):
        return None
    steps = closer.query.steps[0], closer.candidate.steps[0]
    ends = steps[0].renormalised, steps[1].renormalised
    return Moved.of(product, ranking, (steps[0].offset, steps[1].offset), ends)


def check_noise(total: float, name: str = "total") -> None:
    """Refuse a level that is no variance."""
    if not (np.isfinite(total) and total >= 0):
        raise OptionError("bad-level", f"{name} {total} is not a variance; expected a number >= 0")


def check_dims(noisy_dims: int | None, dim: int) -> int:
    """How many leading coordinates carry noise; all by default."""
    if noisy_dims is None:
        return dim
    if not 1 <= noisy_dims <= dim:
        raise OptionError(
            "bad-dims", f"noisy_dims={noisy_dims} of {dim} coordinates; expected 1 to {dim}"
        )
    return noisy_dims
