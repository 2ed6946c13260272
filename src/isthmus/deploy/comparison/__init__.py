"""Are two versions of the same vectors interchangeable?

Another runtime, number format, codec or export of a model gives the same items new rows. Cosines of
old and new rows do not say whether anyone notices; answers do. Both are measured here, and for some
answers it is proved that they cannot have changed.

    from isthmus.deploy.comparison import compare
    compare("old.npy", "new.npy", "candidates.npy").result["gate"]["verdict"]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isthmus.core.checks import at_least, one_of, share
from isthmus.core.progress import Progress, quiet
from isthmus.core.seeds import stream
from isthmus.data.records import Record
from isthmus.data.row_checks import check_same_space
from isthmus.data.row_stats import InputWarning, worst_first
from isthmus.data.source import ids_of
from isthmus.deploy.comparison.affine import affine_hint
from isthmus.deploy.comparison.answers import GATES, accuracy_of, gate_of, searches, verdict
from isthmus.deploy.comparison.rotation import rotation_hint
from isthmus.deploy.comparison.rows import (
    Version,
    check_same_items,
    order_of,
    other_ids,
    paired_figures,
)
from isthmus.errors import OptionError
from isthmus.search.inputs import Input
from isthmus.search.opening import item_notes
from isthmus.search.pair_warnings import look_at_pairs
from isthmus.search.relevance import Relevance, relevance_of
from isthmus.search.scores import check_score
from isthmus.search.task import RetrievalTask

__all__ = ["GATES", "Comparison", "compare"]


@dataclass(frozen=True, eq=False)
class Comparison(Record):
    """What two versions differ in.

    Attributes:
        result: plain numbers, the JSON of ``isthmus compare``.
        flipped: per search (``new-old`` …) the query rows whose answer changed by more than
            rounding.
        rotation: (d, d) orthogonal, ``after @ rotation`` lies on ``before``; None where none was
            looked for.
    """

    result: dict[str, Any]
    flipped: dict[str, np.ndarray]
    rotation: np.ndarray | None

    @property
    def exceeded(self) -> bool:
        """Whether the flip rate lies above the limit (point estimate)."""
        return bool(self.result["gate"]["exceeded"])

    def to_dict(self) -> dict[str, Any]:
        """``result``."""
        return self.result

    def rows(self) -> list[dict[str, Any]]:
        """One line per search: its flips, overlap, certified share and accuracy."""
        keys = ("queries", "flip_reference", "flips", "near_ties", "flip_rate", "overlap_at_k")
        accuracy = self.result["accuracy"] or {}
        return [
            {"search": name}
            | {key: part[key] for key in keys}
            | {"certified": part["certified"]["share"]}
            | {"accuracy": accuracy.get(name, {}).get("accuracy")}
            for name, part in self.result["searches"].items()
        ]

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """The verdict, and the searches."""
        return verdict(self.result["gate"], self.result["searched"]), self.rows()


@dataclass(frozen=True)
class _Options:
    """How versions are compared; refused where a value is none of its values."""

    score: str
    max_flips: float
    gate: str
    k: int
    max_queries: int
    seed: int

    def checked(self, *, both: bool) -> _Options:
        check_score(self.score)
        share(self.max_flips, "max_flips", hint=", such as 0.01 for one in 100")
        one_of(self.gate, GATES, "gate")
        if self.gate in ("old-new", "new-new") and not both:
            raise OptionError(
                "gate-without-candidates",
                f"gate '{self.gate}' is a search of the candidates' new version; give "
                "after_candidates too, or choose another gate",
            )
        at_least(self.k, 1, "k")
        at_least(self.max_queries, 2, "max_queries")
        return self


def compare(
    before: Any,
    after: Any,
    candidates: Any,
    *,
    after_candidates: Any = None,
    max_flips: float = 0.01,
    gate: str = "worst",
    score: str = "cosine",
    relevance: Any = None,
    labels: Any = None,
    paired: bool = False,
    query_items: Any = None,
    candidate_items: Any = None,
    k: int = 10,
    max_queries: int = 2000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two versions of the queries, and of the candidates where both are given.

    Args:
        before, after: (n, d) query rows; row i is the same item. Rows are arrays, tensors, paths,
            globs or ``Rows``.
        candidates: (K, d), searched by both. after_candidates: (K, d), the same candidates in the
            new version: then old and new queries meet old and new candidates.
        max_flips: largest share of changed answers, 0 to 1.
        gate: which search the limit is for: ``new-old``, ``old-new``, ``new-new`` or ``worst``.
        score: dot, cosine or euclidean.
        relevance, labels, paired: what is right, for accuracies; arrays or files.
        query_items, candidate_items: names of items, arrays or files of them: another row of the
            same item is no flip. Rows of the old version that repeat an earlier one exactly are
            one item by themselves, unless items are named.
        k: depth of the overlap. max_queries: queries searched (a seeded sample above that).
        progress: called with (what, done, all) after each step.

    Raises:
        OptionError: an unknown score or gate, a limit that is no share, k or max_queries too small,
        or what is right said twice. NotPaired: versions of unequal length. ShapeError: unequal
        dimensions. LabelsError: relevance of other rows. ValuesError: NaN, infinity, or zero rows
        under cosine. FileError: a file that cannot be read.

    Cost: O(n K d) per search, everything in float64, scores in blocks; a rotation, where one is
    looked for, O(n d² + d³).

    >>> import numpy as np
    >>> old, candidates = np.random.default_rng(0).normal(size=(2, 500, 16))
    >>> same = compare(old, old.astype("float32"), candidates)
    >>> same.result["gate"]["verdict"], same.exceeded
    ('pass', False)
    """
    both = after_candidates is not None
    options = _Options(score, max_flips, gate, k, max_queries, seed).checked(both=both)
    old, new = Version.of(before, "before", score), Version.of(after, "after", score)
    pool = Version.of(candidates, "candidates", score)
    check_same_items(old, new)
    check_same_space(old.name, old.dim, pool.name, pool.dim)
    new_pool = None
    if both:
        new_pool = Version.of(after_candidates, "after-candidates", score)
        check_same_items(pool, new_pool)
    said = {"relevance": relevance, "labels": labels, "paired": paired}
    right = relevance_of(
        len(old), len(pool), names=(old.name, pool.name), sources=(old.source, pool.source), **said
    )
    items = old.items(query_items, "query_items"), pool.items(candidate_items, "candidate_items")
    say = progress or quiet
    return _compared(old, new, pool, new_pool, right, items, options, say)


def _compared(
    old: Version,
    new: Version,
    pool: Version,
    new_pool: Version | None,
    right: Relevance,
    items: tuple[np.ndarray | None, np.ndarray | None],
    options: _Options,
    say: Progress,
) -> Comparison:
    seed, cosine = options.seed, options.score == "cosine"
    c_new = None if new_pool is None else new_pool.searched
    task = RetrievalTask(
        old.searched,
        pool.searched,
        right,
        "dot" if cosine else options.score,  # unit rows by dot are rows by cosine
        cosine,
        query_input=Input(old.name, old.source, old.stats, np.arange(len(old))),
        candidate_input=Input(pool.name, pool.source, pool.stats, np.arange(len(pool))),
        query_items=items[0],
        candidate_items=items[1],
    )
    _, about_pairs = look_at_pairs(task, (old.name, pool.name), paired=True)
    task = replace(task, relevance=right.shared(*items))
    task = task.sample(options.max_queries, stream("compare.sample", seed))
    assert task.query_input is not None
    places = task.query_input.rows
    say("comparing", 1, 4)
    parts = searches(
        task,
        new.searched[places],
        c_new,
        min(options.k, len(np.unique(task.items(np.arange(len(pool)))))),
        seed=seed,
    )
    say("comparing", 2, 4)
    order = order_of(old.given, new.given, ids=ids_of(old.source), seed=seed)
    say("comparing", 3, 4)
    whole = task.score, old.searched, new.searched
    hint, rotation = rotation_hint(*whole, pool.searched, c_new, items=items[1], seed=seed)
    affine = affine_hint(
        old, new, pool.searched, cosine=cosine, score=task.score, seed=options.seed
    )
    say("comparing", 4, 4)
    versions = [side for side in (old, new, pool, new_pool) if side is not None]
    two = [(old, new)] + ([] if new_pool is None else [(pool, new_pool)])
    said = [InputWarning("ids-differ", text) for a, b in two if (text := other_ids(a, b))]
    found = (*said, *_warnings(order, hint, affine, len(places), len(old)))
    ids = ids_of(old.source)
    result: dict[str, Any] = {
        "score": options.score,
        "rows": len(old),
        "dim": old.dim,
        "candidates": len(pool),
        "dtypes": {side.name: side.stats.dtype for side in versions},
        "searched": len(places),
        "seed": seed,
        "paired": paired_figures(old, new, pool),
        "paired_candidates": None if new_pool is None else paired_figures(pool, new_pool, old),
        "order": order,
        "rotation": hint,
        "affine": affine,
        "searches": {name: part.to_dict(places, ids) for name, part in parts.items()},
        "accuracy": accuracy_of(parts, task.relevance) if len(right.pairs) else None,
        "gate": gate_of(parts, options.max_flips, options.gate),
        "warnings": [w.to_dict() for w in worst_first((*about_pairs, *item_notes(task), *found))],
    }
    flipped = {name: places[part.flipped] for name, part in parts.items() if name != "old-old"}
    return Comparison(result, flipped, rotation)


def _warnings(
    order: dict[str, Any],
    hint: dict[str, Any] | None,
    affine: dict[str, Any] | None,
    searched: int,
    count: int,
) -> Iterator[InputWarning]:
    if order["out_of_order"]:
        yield InputWarning("versions-out-of-order", order["words"])
    if hint is not None and hint["rotated"]:
        yield InputWarning("versions-rotated", hint["words"])
    if affine is not None:
        yield InputWarning("versions-affine", affine["words"])
    if searched < count:
        yield InputWarning(
            "queries-sampled",
            f"{searched} of {count} queries were searched (a seeded sample); flips are of these, "
            "paired figures of all rows",
        )
