"""A closing of one direction, used on a pool that holds both modalities.

A :class:`~isthmus.closers.closer.Closer` has a map for queries and one for candidates of the other
modality. A mixed pool also holds candidates of the queries' own modality. Where queries and stored
rows of a modality are alike, these go through the queries' map; where queries are of another kind
(questions against captions), through that of a closer fitted on the stored ones. For ``centering``
that is GR-CLIP with its three means (arXiv 2507.19054).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from isthmus.closers import fit
from isthmus.closers.closer import Closer
from isthmus.closers.maps import RowMap
from isthmus.data.moments import Moments
from isthmus.errors import OptionError, ShapeError
from isthmus.robustness.mixed.levelling import PoolCloser, strengths_of
from isthmus.search.scores import Ranking

METHODS = ("none", "mean-shift", "database-shift", "centering", "center-both")
"""Closings that :func:`pool_closers` fits unless others are named."""

LEVELLED = ("center-both",)
"""Those that are fitted levelled as well."""

STRENGTHS = (1.0,)
"""Of standardised levelling."""


@dataclass(frozen=True, eq=False)
class PoolMaps:
    """A closer for queries of one modality and a pool of both.

    Attributes:
        closer: of the direction from the queries' modality to the other.
        own: the map of documents of the queries' own modality; the closer's query map by default.
        own_level, other_level: taken off the bias of documents of the queries' own and of the other
            modality.
    """

    closer: Closer
    own: RowMap | None = None
    own_level: float = 0.0
    other_level: float = 0.0

    def levelled(self, own: Moments, other: Moments) -> PoolMaps:
        """The same with candidate biases ⟨w, x_j⟩ that lose the mean of their modality, ⟨w, μ⟩.

        ``own``, ``other``: moments of documents of the queries' own and of the other modality.

        One constant per modality changes no ranking within a modality, only how the two are set
        against each other: ``center-both`` so levelled ranks by ⟨q, x - μ_m⟩, m the document's
        modality, keeps each modality's own ranking exactly, and no longer prefers one by its mean.

        Raises:
            OptionError: the closer has no candidate bias.
        """
        bias = self.closer.bias_weights
        if bias is None:
            raise OptionError(
                "no-candidate-bias",
                f"{self.closer.name} has no candidate bias to be levelled; choose center-both, or "
                "leave levelling out",
            )
        return replace(self, own_level=float(bias @ own.mean), other_level=float(bias @ other.mean))


Closing = PoolMaps | PoolCloser | Closer
"""A pool closer's modalities are here: that of the queries, then the other."""
Closings = Mapping[str, Mapping[str, Closing]]
"""By name, and by the side whose rows ask: ``a`` or ``b``."""


def pool_closers(
    moments_a: Moments,
    moments_b: Moments,
    methods: Sequence[str] = METHODS,
    levelled: Sequence[str] = LEVELLED,
    *,
    strengths: Sequence[float] = STRENGTHS,
    asking: Mapping[str, Moments] | None = None,
) -> dict[str, dict[str, PoolMaps | PoolCloser]]:
    """Closings by name, each for queries of side ``a`` and of side ``b``.

    Args:
        moments_a, moments_b: of unit rows, of other items than those to be scored.
        methods: names of the registry that need moments alone. levelled: those to be fitted
            with a levelled bias as well, under ``"NAME, levelled"``. strengths: of
            ``"standardised"`` levelling. asking: by side, moments of the queries where they are
            of another kind than the stored rows of that side.

    Raises:
        OptionError: an unknown name, or one without a candidate bias among ``levelled``.
    """
    out: dict[str, dict[str, PoolMaps | PoolCloser]] = {}
    asking = asking or {}
    sides = {"a": (moments_a, moments_b), "b": (moments_b, moments_a)}
    for method in methods:
        fitted = {}
        for side, (own, other) in sides.items():
            closer = fit(method, asking.get(side, own), other)
            fitted[side] = PoolMaps(closer, fit(method, own, other).query)
        out[method] = {**fitted}
        if method in levelled:
            out[f"{method}, levelled"] = {
                side: fitted[side].levelled(*pair) for side, pair in sides.items()
            }
    for side, (own, other) in sides.items():
        for name, pool in strengths_of({"own": own, "other": other}, strengths).items():
            out.setdefault(name, {})[side] = pool
    return out


def pool_ranking(
    closing: Closing, queries: np.ndarray, documents: np.ndarray, own: np.ndarray
) -> Ranking:
    """The search of one pool by queries of one modality. One mapped copy of the pool, O(K d).

    Args:
        queries: (n, d) rows of one modality. documents: (K, d) rows of both.
        own: (K,) bool, True for documents of the queries' modality.

    Raises:
        ShapeError: ``own`` is not one bool per document, or dimensions do not fit.
    """
    own = np.asarray(own)
    if own.shape != (len(documents),) or own.dtype != bool:
        raise ShapeError(
            "one-flag-per-document",
            f"own has shape {own.shape} and dtype {own.dtype} for {len(documents)} documents; "
            "expected one true or false per document",
        )
    if isinstance(closing, PoolCloser):
        return closing.ranking(queries, documents, np.where(own, 0, 1))
    closing = closing if isinstance(closing, PoolMaps) else PoolMaps(closing)
    closer = closing.closer
    asked = np.asarray(closer.query(queries))
    stored = np.empty((len(documents), asked.shape[1]), asked.dtype)
    stored[own] = (closing.own or closer.query)(documents[own])
    stored[~own] = closer.candidate(documents[~own])
    bias = closer.candidate_bias(documents) - np.where(own, closing.own_level, closing.other_level)
    return Ranking.of(asked, stored, closer.score, bias)


def check_closings(closings: Closings, sides: Sequence[str]) -> None:
    """Refuse closings that lack a side that is going to ask.

    Raises:
        OptionError: no closing, or one without a side.
    """
    if not closings:
        raise OptionError("no-closing", "no closing was given; give at least {'none': …} by name")
    for name, by_side in closings.items():
        lacking = [side for side in sides if side not in by_side]
        if lacking:
            raise OptionError(
                "side-without-closer",
                f"closing '{name}' has no closer for queries of side {lacking[0]}; give one per "
                "side, as pool_closers does",
            )
