"""What a bank of queries says of each candidate, block by block; and what no bank may hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from isthmus.core.arrays import Array, row_norms, to_numpy, working
from isthmus.errors import OptionError, ValuesError, first_rows
from isthmus.search.scores import Ranking, top_k

BLOCK = 16384
"""Candidates whose bank scores are looked at together."""


@dataclass(frozen=True, eq=False)
class Bank:
    """Scores of bank queries with the candidates: ``forward`` ranks candidates for bank queries."""

    forward: Ranking

    @property
    def score(self) -> str:
        return self.forward.score

    @property
    def size(self) -> int:
        return int(self.forward.queries.shape[0])

    def mirrored(self) -> Iterator[tuple[Ranking, np.ndarray]]:
        """Per block of candidates: bank queries ranked for each, and what their scores lack, (b,).

        A constant of the bank query, left out when candidates are ranked, counts here.
        """
        f = self.forward
        score = "dot" if self.score == "cosine" else self.score  # both sides are unit rows then
        count = int(f.candidates.shape[0])
        for start in range(0, count, BLOCK):
            some = slice(start, min(start + BLOCK, count))
            rows = f.candidates[some, :]
            if f.scale is not None:
                rows = rows * f.scale[some][:, None]
            lack = np.zeros(some.stop - start) if f.offset is None else to_numpy(f.offset[some])
            yield Ranking.of(rows, f.queries, score), lack.astype(np.float64)

    def nearest_mean(self, name: str, k: int) -> np.ndarray:
        """Mean score (K,) of each candidate with the k bank queries that score highest with it."""
        if not 1 <= k <= self.size:
            raise OptionError(
                "bad-k",
                f"{name} takes the mean over the k={k} best of a bank of {self.size} queries; "
                "give a larger bank or a k from 1 to its size",
            )
        parts = [
            top_k(mirror, k).scores.astype(np.float64).mean(axis=1) + lack
            for mirror, lack in self.mirrored()
        ]
        return np.concatenate(parts)

    def soft_maximum(self, beta: float) -> np.ndarray:
        """(1/β) log mean exp(β s(b, x_j)) over the bank, (K,): no exponential leaves its range."""
        parts = []
        for mirror, lack in self.mirrored():
            for start, scores in mirror.score_blocks():
                scaled = to_numpy(scores).astype(np.float64)
                scaled *= beta
                top = scaled.max(axis=1)
                scaled -= top[:, None]
                soft = top + np.log(np.exp(scaled, out=scaled).mean(axis=1))
                parts.append(soft / beta + lack[start : start + len(soft)])
        return np.concatenate(parts)


def shared_rows(bank: Array, queries: Array) -> np.ndarray:
    """Numbers of the query rows (n, d) that stand, value for value, in the bank (B, d): (s,) int64.

    Equal means equal in float64: a row that was normalised, or stored in half precision, is not
    its original. O((n + B) d) time, 16 bytes a bank row.
    """
    known = {_digest(row) for row in _rows(bank)}
    return np.array([i for i, row in enumerate(_rows(queries)) if _digest(row) in known], np.int64)


def _rows(rows: Array) -> Iterator[np.ndarray]:
    for start in range(0, int(rows.shape[0]), BLOCK):
        yield from to_numpy(working(rows[start : start + BLOCK, :], double=True)) + 0.0  # no -0.0


def _digest(row: np.ndarray) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()


def check_finite(rows: Array, what: str) -> None:
    norms = row_norms(rows)
    wrong = np.flatnonzero(~np.isfinite(to_numpy(norms)))
    if len(wrong):
        named = first_rows([int(i) for i in wrong[:5]], len(wrong))
        raise ValuesError("not-finite", f"{what} holds NaN or infinity in {named}; drop these rows")
