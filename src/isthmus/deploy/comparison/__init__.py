"""Are two versions of the same vectors interchangeable?

Another runtime, number format, codec or export of a model gives the same items new rows. Whether
anyone notices is a question of answers, not of cosines: this room measures both, and says which of
the answers *cannot* have changed.

    from isthmus.deploy.comparison import compare
    found = compare(before, after, candidates)
    found.result["gate"]["verdict"]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.arrays import to_numpy, unit, working
from isthmus.core.seeds import stream
from isthmus.data.embeddings import Embeddings, InputWarning, check_same_space
from isthmus.deploy.comparison.answers import GATES, accuracy_of, gate_of, searches
from isthmus.deploy.comparison.rotation import rotation_hint
from isthmus.deploy.comparison.rows import order_of, paired_figures
from isthmus.errors import NotPaired, OptionError, ShapeError
from isthmus.search.relevance import Relevance
from isthmus.search.scores import check_score

__all__ = ["GATES", "Comparison", "compare"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came out, and the rows behind it.

    ``result``: plain numbers, the JSON of ``isthmus compare``. ``flipped``: per search
    (``new-old`` …) the query rows whose answer changed by more than rounding. ``rotation``: (d, d)
    orthogonal, ``after @ rotation`` lies on ``before``; None where none was looked for.
    """

    result: dict[str, Any]
    flipped: dict[str, np.ndarray]
    rotation: np.ndarray | None

    @property
    def exceeded(self) -> bool:
        """Whether the flip rate lies above the limit (point estimate)."""
        return bool(self.result["gate"]["exceeded"])


def compare(
    before: Any,
    after: Any,
    candidates: Any,
    *,
    after_candidates: Any = None,
    score: str = "cosine",
    truth: Relevance | None = None,
    max_flips: float = 0.01,
    gate: str = "worst",
    k: int = 10,
    max_queries: int = 2000,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Comparison:
    """Compare two versions of the queries, and of the candidates where both are given.

    Args:
        before, after: (n, d) query rows; row i is the same item.
        candidates: (K, d), searched by both. after_candidates: (K, d), the same candidates in the
            new version: then old and new queries meet old and new candidates.
        score: dot, cosine or euclidean. truth: what is right (``tasks``), or None.
        max_flips: largest share of changed answers, 0 to 1.
        gate: which search the limit is for: ``new-old``, ``old-new``, ``new-new`` or ``worst``.
        k: depth of the overlap. max_queries: queries searched (a seeded sample above that).
        progress: told (what, done, all) after each step.

    Raises:
        OptionError: an unknown score or gate, a limit that is no share, k or max_queries below 1.
        NotPaired: versions of unequal length. ShapeError: unequal dimensions, or a truth that
        speaks of other rows. ValuesError: NaN, infinity, or zero rows under cosine.

    Cost: O(n K d) per search, everything in float64, scores in blocks; a rotation, where one is
    looked for, O(n d² + d³).
    """
    check_score(score)
    _check(max_flips, gate, after_candidates is not None, k, max_queries)
    cosine = score == "cosine"
    old = Embeddings.of(before, "before", cosine=cosine)
    new = Embeddings.of(after, "after", cosine=cosine)
    pool = Embeddings.of(candidates, "candidates", cosine=cosine)
    _same_items(old, new)
    check_same_space(old.name, old.dim, pool.name, pool.dim)
    new_pool = None
    if after_candidates is not None:
        new_pool = Embeddings.of(after_candidates, "after-candidates", cosine=cosine)
        _same_items(pool, new_pool)
    if truth is not None and (truth.queries, truth.candidates) != (len(old), len(pool)):
        raise ShapeError(
            f"the truth speaks of {truth.queries} queries and {truth.candidates} candidates; "
            f"expected {len(old)} and {len(pool)}"
        )

    form = "dot" if cosine else score  # unit rows by dot are rows by cosine
    raw, raw_new, raw_pool = (_double(door) for door in (old, new, pool))
    q, q_new, c = (_as_searched(r, cosine) for r in (raw, raw_new, raw_pool))
    moved, c_new = None, None
    if new_pool is not None:
        raw_new_pool = _double(new_pool)
        c_new = _as_searched(raw_new_pool, cosine)
        moved = paired_figures(raw_pool, raw_new_pool, c, c_new, q)
    places = _places(len(old), max_queries, seed)
    progress("comparing", 1, 4)
    parts = searches(q[places], q_new[places], c, c_new, form, min(k, len(c)), seed=seed)
    progress("comparing", 2, 4)
    order = order_of(raw, raw_new, seed=seed)
    progress("comparing", 3, 4)
    hint, rotation = rotation_hint(q, q_new, c, c_new, form, seed=seed)
    progress("comparing", 4, 4)
    judged = None if truth is None else truth.restricted(places, np.arange(len(c)))

    result: dict[str, Any] = {
        "score": score,
        "rows": len(old),
        "dim": old.dim,
        "candidates": len(pool),
        "dtypes": {d.name: d.stats.dtype for d in (old, new, pool, new_pool) if d is not None},
        "searched": len(places),
        "seed": seed,
        "paired": paired_figures(raw, raw_new, q, q_new, c),
        "paired_candidates": moved,
        "order": order,
        "rotation": hint,
        "searches": {name: part.to_dict(places) for name, part in parts.items()},
        "accuracy": None if judged is None else accuracy_of(parts, judged),
        "gate": gate_of(parts, max_flips, gate),
        "warnings": [w.to_dict() for w in _cautions(order, hint, len(places), len(old))],
    }
    flipped = {name: places[part.flipped] for name, part in parts.items() if name != "old-old"}
    return Comparison(result, flipped, rotation)


def _double(door: Embeddings) -> np.ndarray:
    return to_numpy(working(door.rows, double=True))


def _as_searched(rows: np.ndarray, cosine: bool) -> np.ndarray:
    return np.asarray(unit(rows)) if cosine else rows


def _check(max_flips: float, gate: str, both: bool, k: int, max_queries: int) -> None:
    if not 0 <= max_flips <= 1:
        raise OptionError(
            f"max flips {max_flips} is not a share; expected 0 to 1, such as 0.01 for one in 100"
        )
    if gate not in GATES:
        raise OptionError(f"gate '{gate}' is unknown; choose one of {', '.join(GATES)}")
    if gate in ("old-new", "new-new") and not both:
        raise OptionError(
            f"gate '{gate}' is a search of the candidates' new version, which was not given; "
            "expected --after-candidates FILE beside it"
        )
    if k < 1 or max_queries < 2:
        raise OptionError(f"k {k}, max queries {max_queries}; expected at least 1 and at least 2")


def _same_items(old: Embeddings, new: Embeddings) -> None:
    if len(old) != len(new):
        raise NotPaired(
            f"{old.name} has {len(old)} rows and {new.name} has {len(new)}; expected two versions "
            "of the same items, row i of one being row i of the other: drop what only one has"
        )
    if old.dim != new.dim:
        raise ShapeError(
            f"{old.name} has {old.dim} dimensions and {new.name} has {new.dim}; expected two "
            "versions of the same vectors: rows of another length cannot meet the old index"
        )


def _places(count: int, most: int, seed: int) -> np.ndarray:
    if count <= most:
        return np.arange(count)
    return np.sort(stream("compare.sample", seed).permutation(count)[:most])


def _cautions(
    order: dict[str, Any], hint: dict[str, Any] | None, searched: int, count: int
) -> list[InputWarning]:
    found = []
    if order["out_of_order"]:
        found.append(InputWarning("versions-out-of-order", order["words"]))
    if hint is not None and hint["rotated"]:
        found.append(InputWarning("versions-rotated", hint["words"]))
    if searched < count:
        found.append(
            InputWarning(
                "queries-sampled",
                f"{searched} of {count} queries were searched (a seeded sample); flips are of "
                "these, paired figures of all rows",
            )
        )
    return found
