"""One scikit-learn transformer over the table of closers."""

from __future__ import annotations

from copy import copy
from typing import Any, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from isthmus.closers import METHODS, fit
from isthmus.closers.closer import ROLES, Closer, Role, check_role
from isthmus.closers.estimators.sides import DTYPES, Side, masks, opposite, sides_of
from isthmus.core.arrays import to_numpy
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import CloserError


class GapCloser(TransformerMixin, BaseEstimator):
    """Close the modality gap inside a scikit-learn pipeline.

    ``fit`` makes a frozen :class:`~isthmus.closers.closer.Closer` from both modalities;
    ``transform`` maps
    rows of one role, ``role``. A closer is searched with its own score (``closer_.score``), and
    where it stores a number per candidate, :meth:`candidate_bias` is added to that score.

    **Where the other modality comes from.** ``fit(X, y)`` knows one X. POT's transports take two
    arrays in ``fit``, which no pipeline passes on; ``y`` is a label of the rows and belongs to the
    classifier further down. So there are two ways, for two situations:

    * ``other=``, a parameter: X is of ``role``, the other side is known and fixed (the candidates
      of a store). Rows, or :class:`~isthmus.data.moments.Moments`, as they would enter this step:
      earlier steps of a pipeline do not touch them. Works with everything, cross-validation
      included.
    * ``modality=``, labels "query" or "candidate" of X, an argument of ``fit`` (metadata, as
      ``sample_domain`` in skada): X holds both, earlier steps see both, and cross-validation
      splits the labels too. In a pipeline it is routed:
      ``set_config(enable_metadata_routing=True)`` and ``set_fit_request(modality=True)``,
      ``set_transform_request(modality=True)``.

    With neither, X alone is enough for ``none`` and for ``center-queries`` in the role of the
    query, whose closers do not depend on the candidates; every other closer refuses.

    Args:
        method: a name of the registry, ``list(isthmus.closers)``.
        role: ``query`` or ``candidate``: what X is without labels. Read again by ``transform``;
            see :meth:`as_role`.
        other: the other modality, (m, d) rows or Moments, or None.
        metric: the score to fit for: dot, cosine, euclidean, or None for the closer's own. (An
            attribute ``score`` would be taken for scikit-learn's method of that name.)
        strength: 0 nothing, 1 fully, or None for the closer's own.
        normalised: rows are normalised before anything else. Moments given must be of such rows.
        options: the closer's own options by name, e.g. ``{"variance": 0.95}``.

    Attributes:
        closer_: the fitted record; ``closer_.save`` writes it. n_features_in_: d.
        moments_: (queries, candidates) moments it was fitted from; None for a side not seen.

    Pairs (``procrustes``): row i of X belongs to row i of ``other``; with labels the i-th query to
    the i-th candidate. Fits are formed in float64; O(n d²) for n rows and O(d³) for the closer.
    """

    closer_: Closer
    moments_: tuple[Moments | None, Moments | None]

    def __init__(
        self,
        method: str = "center-queries",
        *,
        role: str = "query",
        other: Any = None,
        metric: str | None = None,
        strength: float | None = None,
        normalised: bool = True,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.method = method
        self.role = role
        self.other = other
        self.metric = metric
        self.strength = strength
        self.normalised = normalised
        self.options = options

    def fit(self, X: Any, y: Any = None, *, modality: Any = None) -> Self:
        """Fit on rows (n, d) of ``role``, or of both with ``modality`` labels (n,). y is ignored.

        Raises:
            ValueError: rows that scikit-learn refuses (not finite, not 2-d, other features).
            LabelsError: labels that do not fit. CloserError: the other modality is missing or given
                twice. OptionError, ShapeError: as ``closers.fit``.
        """
        X = self._checked(X, reset=True)
        sides = sides_of(X, check_role(self.role), self.other, modality, self.normalised)
        options = self._rows_needed(sides)
        self._freeze({role: s.moments if s else None for role, s in sides.items()}, options)
        return self

    def partial_fit(self, X: Any, y: Any = None, *, modality: Any = None) -> Self:
        """Take in one more batch: moments merge, and the closer is fitted from all seen so far.

        As exact as one ``fit`` of all rows, up to rounding. ``other`` is read with the first batch
        only. With labels a batch may hold one modality; there is no ``closer_`` until both were
        seen.

        Raises:
            CloserError: the method needs rows or pairs, which no moments hold.
        """
        if needs := METHODS[self.method].needs:
            raise CloserError(
                "needs-one-fit",
                f"{self.method} needs {' and '.join(needs)}; fit it in one call of fit",
            )
        first = not hasattr(self, "moments_")
        X = self._checked(X, reset=first)
        other = self.other if first else None
        sides = sides_of(X, check_role(self.role), other, modality, self.normalised)
        merged: dict[Role, Moments | None] = {}
        for place, role in enumerate(ROLES):
            before = None if first else self.moments_[place]
            side = sides[role]
            now = side.moments if side else None
            merged[role] = before.merge(now) if before and now else before or now
        if modality is not None and None in merged.values():
            self.moments_ = merged["query"], merged["candidate"]
            return self
        self._freeze(merged, {})
        return self

    def transform(self, X: Any, *, modality: Any = None) -> np.ndarray:
        """Map rows (n, d) -> (n, r): all by the map of ``role``, or each by its label's.

        float16 rows come out as float32.
        """
        check_is_fitted(self, "closer_")
        X = self._checked(X, reset=False)
        if modality is None:
            return to_numpy(self.closer_.apply(X, check_role(self.role)))
        parts = {
            role: (mask, to_numpy(self.closer_.apply(X[mask], role)))
            for role, mask in masks(modality, len(X)).items()
        }
        out = np.empty((len(X), self._n_features_out), parts["query"][1].dtype)
        for mask, rows in parts.values():
            out[mask] = rows
        return out

    def fit_transform(self, X: Any, y: Any = None, *, modality: Any = None) -> np.ndarray:
        """``fit`` and then ``transform``, with the same labels in both."""
        return self.fit(X, y, modality=modality).transform(X, modality=modality)

    def candidate_bias(self, X: Any) -> np.ndarray:
        """The number each candidate (n, d) stores, (n,) float64, from its rows before the map.

        Whatever ``role`` is, X are candidates. Zeros where the closer stores none.
        """
        check_is_fitted(self, "closer_")
        return self.closer_.candidate_bias(self._checked(X, reset=False))

    def as_role(self, role: str) -> Self:
        """The same fitted closer for the other role: a shallow copy that shares ``closer_``."""
        out = copy(self)
        out.role = check_role(role)
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that come out.

        The names that went in where both maps only move and scale rows; ``gapcloser0``, … where
        columns are mixed.
        """
        check_is_fitted(self, "closer_")
        steps = (*self.closer_.query.steps, *self.closer_.candidate.steps)
        kept = all(step.matrix is None for step in steps)
        names = OneToOneFeatureMixin if kept else ClassNamePrefixFeaturesOutMixin
        return np.asarray(names.get_feature_names_out(self, input_features), object)

    @property
    def _n_features_out(self) -> int:
        return self.closer_.query.dim_out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _checked(self, X: Any, *, reset: bool) -> np.ndarray:
        return np.asarray(validate_data(self, X, dtype=DTYPES, reset=reset))

    def _rows_needed(self, sides: dict[Role, Side | None]) -> dict[str, Any]:
        """What the method needs beyond moments, of what is here."""
        needs = METHODS[self.method].needs
        queries, candidates = (side.rows if (side := sides[role]) else None for role in ROLES)
        brought: dict[str, Any] = {}
        if "query_rows" in needs:
            brought["query_rows"] = queries
        if "pairs" in needs and queries is not None and candidates is not None:
            brought["pairs"] = PairMoments.of(queries, candidates, precise=True)
        return brought

    def _freeze(self, moments: dict[Role, Moments | None], options: dict[str, Any]) -> None:
        """Fit the closer, or refuse where a side is missing that it depends on."""
        missing = next((role for role, m in moments.items() if m is None), None)
        if missing and opposite(missing) not in METHODS[self.method].alone:
            raise CloserError(
                "other-role-missing",
                f"{self.method} needs rows of the other role too ({missing}); give other=rows or "
                "Moments, or fit on both with modality= labels",
            )
        given = [m for m in moments.values() if m is not None]
        queries, candidates = (moments[role] or given[0] for role in ROLES)
        options = {**options, **(self.options or {}), "normalised": self.normalised}
        if self.strength is not None:
            options["strength"] = self.strength
        self.closer_ = fit(self.method, queries, candidates, score=self.metric, **options)
        self.moments_ = moments["query"], moments["candidate"]
