"""A closing of one direction, used on a pool that holds both modalities.

A :class:`~isthmus.maps.Closer` has a map for queries and one for candidates of the other modality.
In a mixed pool there are also candidates of the queries' own modality: they are rows like the
queries and go through the queries' map. For ``centering`` that is GR-CLIP (arXiv 2507.19054).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.closers import fit
from isthmus.errors import OptionError, ShapeError
from isthmus.maps import Closer
from isthmus.moments import Moments
from isthmus.scores import Ranking

METHODS = ("none", "mean-shift", "database-shift", "centering", "center-both")
"""Closings that :func:`pool_closers` fits unless others are named."""

LEVELLED = ("center-both",)
"""Those that are fitted levelled as well."""


@dataclass(frozen=True, eq=False)
class PoolCloser:
    """A closer for queries of one modality and a pool of both.

    Attributes:
        closer: of the direction from the queries' modality to the other.
        own_level, other_level: taken off the stored numbers of documents of the queries' own and of
            the other modality.
    """

    closer: Closer
    own_level: float = 0.0
    other_level: float = 0.0

    @classmethod
    def levelled(cls, closer: Closer, queries: Moments, candidates: Moments) -> PoolCloser:
        """Stored numbers ⟨w, x_j⟩ lose the mean of their own modality, ⟨w, μ⟩.

        One constant per modality changes no ranking within a modality, only how the two are set
        against each other: ``center-both`` so levelled ranks by ⟨q, x - μ_m⟩, m the document's
        modality, keeps each modality's own ranking exactly, and no longer prefers one by its mean.

        Raises:
            OptionError: the closer stores no number.
        """
        if closer.bias is None:
            raise OptionError(
                f"{closer.name} stores no number to be levelled; choose center-both, or leave "
                "levelling out"
            )
        own, other = float(closer.bias @ queries.mean), float(closer.bias @ candidates.mean)
        return cls(closer, own, other)


Closings = Mapping[str, Mapping[str, PoolCloser | Closer]]
"""By name, and by the side whose rows ask: ``a`` or ``b``."""


def pool_closers(
    moments_a: Moments,
    moments_b: Moments,
    methods: Sequence[str] = METHODS,
    levelled: Sequence[str] = LEVELLED,
) -> dict[str, dict[str, PoolCloser]]:
    """Closings by name, each for queries of side ``a`` and of side ``b``.

    Args:
        moments_a, moments_b: of unit rows, of other items than those to be scored.
        methods: names of ``closers.CLOSERS`` that need moments alone. levelled: those to be fitted
            with levelled numbers as well, under ``"NAME, levelled"``.

    Raises:
        OptionError: an unknown name, or one that stores no number among ``levelled``.
    """
    out: dict[str, dict[str, PoolCloser]] = {}
    sides = {"a": (moments_a, moments_b), "b": (moments_b, moments_a)}
    for method in methods:
        fitted = {side: fit(method, *pair) for side, pair in sides.items()}
        out[method] = {side: PoolCloser(closer) for side, closer in fitted.items()}
        if method in levelled:
            out[f"{method}, levelled"] = {
                side: PoolCloser.levelled(fitted[side], *pair) for side, pair in sides.items()
            }
    return out


def pool_ranking(
    closing: PoolCloser | Closer, queries: np.ndarray, documents: np.ndarray, own: np.ndarray
) -> Ranking:
    """The search of one pool by queries of one modality. One mapped copy of the pool, O(K d).

    Args:
        queries: (n, d) rows of one modality. documents: (K, d) rows of both.
        own: (K,) bool, True for documents of the queries' modality.

    Raises:
        ShapeError: ``own`` is not one truth value per document, or dimensions do not fit.
    """
    closing = closing if isinstance(closing, PoolCloser) else PoolCloser(closing)
    closer, own = closing.closer, np.asarray(own)
    if own.shape != (len(documents),) or own.dtype != bool:
        raise ShapeError(
            f"own has shape {own.shape} and dtype {own.dtype} for {len(documents)} documents; "
            "expected one truth value per document"
        )
    asked = np.asarray(closer.query(queries))
    stored = np.empty((len(documents), asked.shape[1]), asked.dtype)
    stored[own] = closer.query(documents[own])
    stored[~own] = closer.candidate(documents[~own])
    numbers = closer.bias_of(documents) - np.where(own, closing.own_level, closing.other_level)
    return Ranking.of(asked, stored, closer.score, numbers)


def sides_of(
    closings: Mapping[str, Mapping[str, PoolCloser | Closer]], sides: Sequence[str]
) -> None:
    """Refuse closings that lack a side that is going to ask.

    Raises:
        OptionError: no closing, or one without a side.
    """
    if not closings:
        raise OptionError("no closing was given; expected at least {'none': …} by name")
    for name, of in closings.items():
        lacking = [side for side in sides if side not in of]
        if lacking:
            raise OptionError(
                f"closing '{name}' has no closer for queries of side {lacking[0]}; give one per "
                "side, as pool_closers does"
            )
