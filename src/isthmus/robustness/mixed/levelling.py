"""Closings of a mixed pool that keep every ranking within a modality.

A store returns ⟨q, x⟩. For a document of modality m, with mean μ_m and covariance Σ_m, rank by

    (⟨q, x⟩ - ⟨q, μ_m⟩) / (qᵀ Σ_m q)^(s/2)

For one query this is an increasing affine function within each modality, so no ranking within a
modality changes. Strength s = 0 levels the means of the scores alone, s = 1 their spreads too.
Nothing is stored with a document: the two numbers per modality are functions of the query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from isthmus.core.arrays import EPS64, unit
from isthmus.data.moments import Moments
from isthmus.data.saved import Parts, SavedRecord
from isthmus.errors import OptionError, ShapeError
from isthmus.search.scores import Ranking, top_k

MOST_STRENGTH = 2.0
ROUNDING = 1e-3
"""Of the largest score: by so much the next hit of a list may score more, as in half precision."""


@dataclass(frozen=True, eq=False)
class PoolHits:
    """The best documents of each query over all modalities, best first, each (n, k).

    ``rows``: as the lists named them, -1 where nothing was found. ``scores``: rescored, NaN there.
    ``modality``: place in ``PoolCloser.names``, -1 there.
    """

    rows: np.ndarray
    scores: np.ndarray
    modality: np.ndarray


@dataclass(frozen=True, eq=False)
class PoolCloser(SavedRecord):
    """Levelling of a pool of several modalities, searched by inner product.

    Attributes:
        names: of the M modalities.
        means: (M, d) means of the documents of each modality.
        covariances: (M, d, d), or None at strength 0, which does not need them.
        strength: 0: means are levelled. 1: spreads too. Up to 2, see ``docs/mixed.md``.
        normalised: documents are unit rows, and queries are normalised first (cosine).
        counts: documents that the means are of.
    """

    KIND: ClassVar[str] = "pool-closer"
    MADE_BY: ClassVar[str] = "isthmus mixed --out"
    SUFFIXES: ClassVar[tuple[str, ...]] = (".safetensors", ".json")
    NESTED: ClassVar[str | None] = "about"

    names: tuple[str, ...]
    means: np.ndarray
    covariances: np.ndarray | None
    strength: float = 1.0
    normalised: bool = True
    counts: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, moments: Mapping[str, Moments], strength: float = 1.0, *, normalised: bool = True
    ) -> PoolCloser:
        """From the moments of the documents of each modality, by its name. O(M d²) memory.

        Moments of the very documents that are searched are allowed: no query and no answer is
        looked at.

        Raises:
            OptionError: fewer than two modalities, or a strength outside 0 to 2. ShapeError:
                moments of unequal dimensions.
        """
        if len(moments) < 2:
            raise OptionError(
                "too-few-modalities",
                f"{len(moments)} modalities were given; a mixed pool has two or more",
            )
        if not 0 <= strength <= MOST_STRENGTH:
            raise OptionError(
                "strength-out-of-range", f"strength {strength:g}; expected 0 to {MOST_STRENGTH:g}"
            )
        every = list(moments.values())
        if len({m.dim for m in every}) > 1:
            raise ShapeError(
                "unequal-dimensions",
                f"moments have {', '.join(str(m.dim) for m in every)} dimensions; all modalities "
                "must come from one model",
            )
        spread = np.stack([m.covariance() for m in every]) if strength else None
        means, counts = np.stack([m.mean for m in every]), tuple(m.count for m in every)
        return cls(tuple(moments), means, spread, float(strength), normalised, counts)

    @property
    def method(self) -> str:
        """``levelled`` at strength 0, else ``standardised``."""
        return "standardised" if self.strength else "levelled"

    def levels(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is taken off a modality's scores, and what they are divided by: (n, M) each.

        Args:
            queries: (n, d) of any float dtype; computed in float64. O(n M d²), O(n M d) at
                strength 0.

        Raises:
            ShapeError: another number of dimensions.
        """
        offsets, variances = self.variances(queries)
        return offsets, np.asarray(variances ** (self.strength / 2))

    def variances(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same with the variances of a modality's scores, whatever the strength: (n, M) each;
        1 where there is none, and at strength 0."""
        q = self._prepared(queries)
        offsets = q @ self.means.T
        if self.covariances is None:
            return offsets, np.ones_like(offsets)
        variances = np.stack([((q @ c) * q).sum(axis=1) for c in self.covariances], axis=1)
        # a modality whose documents all score alike has no spread to divide by
        floor = EPS64 * q.shape[1] * (q * q).sum(axis=1, keepdims=True)
        return offsets, np.where(variances > floor, variances, 1.0)

    def _prepared(self, queries: np.ndarray) -> np.ndarray:
        q = np.asarray(queries, np.float64)
        if q.ndim != 2 or q.shape[1] != self.means.shape[1]:
            raise ShapeError(
                "wrong-dim",
                f"queries have shape {q.shape}; expected rows of {self.means.shape[1]} dimensions, "
                "those of the model that the documents come from",
            )
        return np.asarray(unit(q)) if self.normalised else q

    def parameters(self, query: np.ndarray) -> dict[str, float]:
        """``NAME_level`` and ``NAME_spread`` of one query (d,), to be bound in a store's query."""
        offsets, spreads = self.levels(np.asarray(query)[None])
        out: dict[str, float] = {}
        for name, offset, spread in zip(self.names, offsets[0], spreads[0], strict=True):
            out |= {f"{name}_level": float(offset), f"{name}_spread": float(spread)}
        return out

    def merge(
        self, queries: np.ndarray, hits: Mapping[str, tuple[np.ndarray, np.ndarray]], k: int
    ) -> PoolHits:
        """One list of the k best out of a list per modality, as the whole pool would rank them.

        Exact where each list holds its modality's k best documents, or all of them: of these a
        document beyond place k cannot be among the k best of the pool. The order within a list
        is kept as it is, also where rescored scores tie. O(n M (d² + k log k)).

        Args:
            queries: (n, d), as the store was asked. hits: by modality, rows (n, c) of integers, -1
                for none at the end, and their scores (n, c), best first. k: depth.

        Raises:
            OptionError: an unknown modality, or k below 1. ShapeError: lists that do not fit, or
                whose scores do not fall.
        """
        if k < 1:
            raise OptionError("k-out-of-range", f"k={k}; expected 1 or more")
        offsets, spreads = self.levels(queries)
        parts = []
        for name, (rows, scores) in hits.items():
            place = self._place(name)
            rows, scores = np.asarray(rows), np.asarray(scores, np.float64)
            _check_list(name, rows, scores, len(offsets))
            level = (scores - offsets[:, place, None]) / spreads[:, place, None]
            # scores of a store may rise by rounding; its order counts
            level = np.minimum.accumulate(np.where(rows < 0, -np.inf, level), axis=1)
            parts.append((rows, level, np.where(rows < 0, -1, place)))
        rows, level, modality = (np.concatenate(p, axis=1) for p in zip(*parts, strict=True))
        order = np.argsort(-level, axis=1, kind="stable")[:, :k]
        best = [np.take_along_axis(part, order, axis=1) for part in (rows, level, modality)]
        return PoolHits(best[0], np.where(best[0] < 0, np.nan, best[1]), best[2])

    def search(
        self, queries: np.ndarray, documents: np.ndarray, modality: np.ndarray, k: int
    ) -> PoolHits:
        """The k best documents of a pool in memory: the k best of each modality, merged.

        Args:
            queries: (n, d). documents: (K, d). modality: (K,) integers, places in ``names``.

        Raises:
            ShapeError: ``modality`` does not fit the documents.
        """
        modality = _checked(modality, len(documents), len(self.names))
        hits = {}
        for place, name in enumerate(self.names):
            own = np.flatnonzero(modality == place)
            if len(own):
                score = "cosine" if self.normalised else "dot"
                asked = unit(queries) if self.normalised else queries
                found = top_k(Ranking.of(asked, documents[own], score), min(k, len(own)))
                hits[name] = own[found.rows], found.scores
        return self.merge(queries, hits, k)

    def ranking(self, queries: np.ndarray, documents: np.ndarray, modality: np.ndarray) -> Ranking:
        """The whole ranking in one linear form, for measuring. M d dimensions, O(K M d) memory.

        A document is x - μ_m in block m and 0 elsewhere, a query q / spread_m in block m.
        """
        modality = _checked(modality, len(documents), len(self.names))
        q, x = self._prepared(queries), self._prepared(documents)
        _, spreads = self.levels(queries)
        asked = (q[:, None, :] / spreads[:, :, None]).reshape(len(q), -1)
        stored = np.zeros((len(x), len(self.names), x.shape[1]))
        stored[np.arange(len(x)), modality] = x - self.means[modality]
        return Ranking.of(asked, stored.reshape(len(x), -1), "dot")

    def _place(self, name: str) -> int:
        if name not in self.names:
            raise OptionError(
                "unknown-modality",
                f"modality '{name}' is unknown; expected one of {', '.join(self.names)}",
            )
        return self.names.index(name)

    def to_dict(self) -> dict[str, Any]:
        """What is to be read of it, without its arrays."""
        return {
            "method": self.method,
            "strength": self.strength,
            "names": list(self.names),
            "counts": list(self.counts),
            "dimensions": int(self.means.shape[1]),
            "normalised": self.normalised,
        }

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        spread = {} if self.covariances is None else {"covariances": self.covariances}
        return self.to_dict(), {"means": self.means, **spread}

    @classmethod
    def _from_parts(cls, parts: Parts) -> PoolCloser:
        names, strength = tuple(parts.value("names")), parts.number("strength", 0, MOST_STRENGTH)
        means = parts.array("means", len(names), None).astype(np.float64)
        dim, spread = means.shape[1], None
        if strength or "covariances" in parts.arrays:
            spread = parts.array("covariances", len(names), dim, dim).astype(np.float64)
        counts = tuple(Parts.of(parts.fields).array("counts", len(names)).tolist())
        if bool(strength) != (spread is not None):
            raise ValueError(f"strength is {strength} with covariances")
        if len(names) < 2 or len(set(map(str, names))) < len(names) or dim < 1:
            raise ValueError(f"names are {names}, of {dim} dimensions")
        return cls(names, means, spread, strength, parts.flag("normalised"), counts)


def _checked(modality: np.ndarray, documents: int, modalities: int) -> np.ndarray:
    modality = np.asarray(modality)
    fits = modality.shape == (documents,) and modality.dtype.kind in "iu"
    if not fits or (documents and not 0 <= modality.min() <= modality.max() < modalities):
        raise ShapeError(
            "one-modality-per-document",
            f"modality has shape {modality.shape} and dtype {modality.dtype} for {documents} "
            f"documents; expected one integer from 0 to {modalities - 1} for each",
        )
    return modality


def _check_list(name: str, rows: np.ndarray, scores: np.ndarray, queries: int) -> None:
    if rows.ndim != 2 or rows.shape != scores.shape or len(rows) != queries:
        raise ShapeError(
            "hits-do-not-fit",
            f"{name} has rows of shape {rows.shape} and scores of shape {scores.shape} for "
            f"{queries} queries; expected one line of hits for each",
        )
    later, before = rows[:, 1:] >= 0, rows[:, :-1] >= 0
    rounding = ROUNDING * np.abs(np.where(rows >= 0, scores, 0)).max(initial=0)
    rises = np.diff(scores, axis=1) > rounding
    if (later & ~before).any() or (later & before & rises).any():
        raise ShapeError(
            "hits-out-of-order",
            f"hits of {name} do not come best first; sort them by inner product, the largest first",
        )


def strengths_of(
    moments: Mapping[str, Moments], strengths: Sequence[float], *, normalised: bool = True
) -> dict[str, PoolCloser]:
    """A pool closer per strength, by what tables call it."""
    return {closing_name(s): PoolCloser.of(moments, s, normalised=normalised) for s in strengths}


def closing_name(strength: float) -> str:
    """``levelled``, ``standardised``, or ``standardised, strength S``."""
    names = {0.0: "levelled", 1.0: "standardised"}
    return names.get(float(strength), f"standardised, strength {strength:g}")
