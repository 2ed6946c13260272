"""Fit a closing method by its name, from rows in any form or from their moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.method import ClosingMethod
from isthmus.closers.promises import Given
from isthmus.closers.registry import METHODS
from isthmus.core.arrays import unit
from isthmus.core.seeds import stream
from isthmus.data import Rows
from isthmus.data.moments import Moments, PairMoments
from isthmus.data.row_checks import check_same_space
from isthmus.data.summary import opened, summarise
from isthmus.errors import CloserError, OptionError
from isthmus.perturb.codecs import held_out_error
from isthmus.search.pair_warnings import look_at_order
from isthmus.search.relevance import relevance_of
from isthmus.search.scores import check_score

SAMPLE = {"queries": 2000, "candidates": 20_000}
"""Rows at most that are read for what moments do not tell, and for verifying."""

BRINGS = {
    "pairs": "pairs=PairMoments of (queries, candidates), or rows of both with what is right",
    "query_rows": "query_rows=(n, d) rows for what moments do not tell, some hundreds",
}
"""What a method may need beyond moments, and how it is given."""

Progress = Callable[[str, int, int], None]


def fit(
    method: str,
    queries: Any,
    candidates: Any,
    *,
    score: str | None = None,
    normalised: bool = True,
    pairs: PairMoments | None = None,
    query_rows: Any = None,
    relevance: Any = None,
    labels: Any = None,
    paired: bool | None = None,
    engine: Any = None,
    progress: Progress | None = None,
    **options: Any,
) -> Closer:
    """Fit one closer by name.

    Args:
        method: a name of the registry, ``list(isthmus.closers)``.
        queries, candidates: rows (n, d) and (K, d): arrays, tensors, paths, globs or ``Rows``,
            read once, block by block; or their :class:`~isthmus.data.moments.Moments`, of rows as
            they enter the maps.
        score: dot, cosine or euclidean; None takes the method's own default.
        normalised: the maps begin by normalising rows. Moments must be of such rows.
        pairs, query_rows: what some methods need beyond moments (``ClosingMethod.needs``); made
            from rows where these are given.
        relevance, labels, paired: what is right, for methods that need pairs; rows of equal number
            are taken as pairs.
        engine: what sums rows that are many (:func:`isthmus.engines.open_engine`).
        progress: called with (what, done, all).
        options: ``strength`` and the method's own. ``noise`` of ``ridge-shift`` may be a codec's
            name: its error is then measured on candidates that it was not fitted on.

    Cost: one pass over the rows, O((n + K) d²), and O(d³) at most for the fit.

    Raises:
        OptionError: an unknown method, score or option, or a value outside its range.
        ShapeError, ValuesError: rows that do not fit together, or that are not finite.
        CloserError: the method needs more than it was given, moments are of other rows, or pairs
            that nobody stated (``paired=True``) slip or are out of order.

    >>> import numpy as np
    >>> images, captions = np.random.default_rng(0).normal(size=(2, 40, 8)) + 1
    >>> closer = fit("center-queries", captions, images)
    >>> closer.score, closer.guarantee.kind
    ('dot', 'exact')
    >>> candidates = closer.candidates(images)
    >>> candidates.rows.shape, candidates.bias.shape
    ((40, 8), (40,))
    """
    found = METHODS[method]
    if score is not None:
        _check_score(found, score)
    codec = options.pop("noise") if isinstance(options.get("noise"), str) else None
    found.check({**options, "normalised": normalised} | ({} if codec is None else {"noise": 1.0}))
    brought: dict[str, Any] = {"pairs": pairs, "query_rows": query_rows}
    missing = {name for name in found.needs if brought[name] is None}
    sides = _Sides.opened(queries, candidates, normalised, score == "cosine", progress, engine)
    if "pairs" in missing and sides.all_rows:
        brought["pairs"] = sides.pairs(relevance, labels, paired)
    moments = [sides.moments(side) for side in ("queries", "candidates")]
    check_same_space("queries", moments[0].dim, "candidates", moments[1].dim)
    _check_kind(method, normalised, *moments, *(p for p in [brought["pairs"]] if p is not None))
    if "query_rows" in missing and "queries" in sides.sources:
        brought["query_rows"] = sides.sample("queries")
    if codec is not None:
        options["noise"] = sides.codec_error(codec)
    for name in sorted(found.needs):
        if brought[name] is None:
            raise CloserError(f"needs-{name.replace('_', '-')}", f"{method} needs {BRINGS[name]}")
        options[name] = brought[name]
    usual = 1.0 if found.strength is None else found.strength.default
    strength = options.pop("strength", usual)
    given = Given(method, moments[0], moments[1], score or found.score, strength, normalised)
    return found.function(given, **options)


def needed(method: str, **brought: Any) -> dict[str, Any]:
    """Of what was brought (``pairs``, ``query_rows``), the options that ``method`` needs."""
    return {name: brought.get(name) for name in METHODS[method].needs}


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """Options as the command line has them.

    Raises:
        OptionError: a text that is not NAME=VALUE.

    >>> options_of(["rank=64", "ridge=0.3", "scale=true", "noise=rabitq"])
    {'rank': 64, 'ridge': 0.3, 'scale': True, 'noise': 'rabitq'}
    """
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name.isidentifier() and equals and value):
            raise OptionError(
                "bad-option", f"--option {text}: expected NAME=VALUE, such as rank=64"
            )
        options[name] = _value(value)
    return options


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _check_score(method: ClosingMethod, score: str) -> None:
    if check_score(score) not in method.scores:
        raise OptionError(
            "score-not-offered",
            f"{method.name} is fitted for {' or '.join(method.scores)} (got {score}); leave the "
            "score out: unit rows have the same clean ranking under every score",
        )


def _check_kind(method: str, normalised: bool, *moments: Moments | PairMoments) -> None:
    """Refuse moments of other rows than those that will enter the maps."""
    for m in moments:
        if m.normalised is not None and m.normalised != normalised:
            kinds = "normalised rows", "rows as they are"
            of, wanted = kinds if m.normalised else kinds[::-1]
            raise CloserError(
                "moments-of-other-rows",
                f"{method} is fitted for {wanted} (normalised={normalised}), but these are moments "
                f"of {of}; sum moments of {wanted}, or say normalised={not normalised}",
            )


@dataclass(frozen=True, eq=False)
class _Sides:
    """The two sides of a fit: moments as they were given, or opened rows."""

    sources: dict[str, Rows]
    known: dict[str, Moments]
    normalised: bool
    cosine: bool
    progress: Progress | None
    engine: Any = None

    @classmethod
    def opened(
        cls, queries: Any, candidates: Any, normalised: bool, cosine: bool, *watch: Any
    ) -> _Sides:
        given = {"queries": queries, "candidates": candidates}
        known = {name: side for name, side in given.items() if isinstance(side, Moments)}
        rows = {name: opened(side, name) for name, side in given.items() if name not in known}
        if len(rows) == 2:
            check_same_space("queries", rows["queries"].dim, "candidates", rows["candidates"].dim)
        return cls(rows, known, normalised, normalised or cosine, *watch)

    @property
    def all_rows(self) -> bool:
        """Rows of both sides are there."""
        return len(self.sources) == 2

    def moments(self, name: str) -> Moments:
        """Moments of one side; read once."""
        if name not in self.known:
            found = summarise(self.sources[name], **self._watched())
            found.stats_a.refuse(name, cosine=self.cosine, source=self.sources[name])
            self.known[name] = found.a
        return self.known[name]

    def pairs(self, relevance: Any, labels: Any, paired: bool | None) -> PairMoments | None:
        """Moments of rows that belong together; None where nothing is known to."""
        q, c = self.sources["queries"], self.sources["candidates"]
        said = relevance is not None or labels is not None or bool(paired)
        for wrong in [] if said else look_at_order(q, c):
            raise CloserError(wrong.code, f"{wrong.text}, or say paired=True to fit on these pairs")
        right = relevance_of(
            q.rows,
            c.rows,
            relevance=relevance,
            labels=labels,
            paired=paired if said else True,
            sources=(q, c),
        )
        if right.is_paired:
            both = summarise(q, c, **self._watched())
            assert both.pair is not None
            assert both.stats_b is not None
            both.stats_a.refuse("queries", cosine=self.cosine, source=q)
            both.stats_b.refuse("candidates", cosine=self.cosine, source=c)
            self.known.update(queries=both.pair.a, candidates=both.pair.b)
            return both.pair
        first, second = (
            self._entering(source.take(rows))
            for source, rows in zip((q, c), right.pairs.T, strict=True)
        )
        return PairMoments.of(first, second, precise=True, normalised=self.normalised)

    def sample(self, name: str) -> np.ndarray:
        """Evenly spread rows (m, d) of one side as they enter the maps, float64."""
        return self._entering(evenly(self.sources[name], SAMPLE[name]))

    def codec_error(self, codec: str) -> float:
        """Error variance per dimension of a codec: fitted on half of the rows, seen on the rest.

        Rows lose their mean first, as candidates of ``ridge-shift`` do before they are coded.
        """
        if "candidates" not in self.sources:
            raise CloserError(
                "needs-rows",
                f"noise='{codec}' is measured on candidate rows; give rows instead of moments, or "
                "the variance",
            )
        rows = self.sample("candidates")
        rows = rows - rows.mean(axis=0)
        first, rest = np.array_split(stream("close.noise", 0).permutation(len(rows)), 2)
        return held_out_error(codec, rows[np.sort(first)], rows[np.sort(rest)]).per_dimension

    def _entering(self, rows: np.ndarray) -> np.ndarray:
        rows = rows.astype(np.float64)
        return np.asarray(unit(rows)) if self.normalised else rows

    def _watched(self) -> dict[str, Any]:
        say = self.progress
        report = None if say is None else lambda done, of: say("rows", done, of)
        return {"normalised": self.normalised, "on_partition": report, "engine": self.engine}


def evenly(source: Rows, most: int | None) -> np.ndarray:
    """All rows, or ``most`` evenly spread ones."""
    if most is None or source.rows <= most:
        return source.read()
    return source.take(np.linspace(0, source.rows - 1, most).astype(np.int64))
