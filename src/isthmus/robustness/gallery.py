"""Closers over a whole gallery: what survives Gaussian noise on every candidate, by law.

Of a gallery that is too large to be searched under drawn noise, one pass keeps each query's best
rows and some random ones (``search.gallery``); lists that a store returns are as good. The law of
noise needs no more (``theory.curves.gallery``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.progress import Progress
from isthmus.core.statistics import wilson
from isthmus.data import Rows
from isthmus.data.neighbours import Neighbours
from isthmus.data.summary import summarise
from isthmus.errors import OptionError, ValuesError
from isthmus.robustness.gallery_law import GalleryLaw, MappedSearch
from isthmus.search.gallery import RANDOM_ROWS, TOP, Gallery, Head, ready, search_gallery
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves.gallery import HeldRows

PROBES = 256
"""Rows on which two searches are compared: do their scores differ by a number of the query?"""
RECALL_AT = (1, 5, 10)
ALIKE = ("closer", "score", "strength", "family", "side", "level", "convention")
"""What tells rows of one table apart."""
MOST_WITHIN = 0.2
"""Share of random rows that may score above the last of a list, at most: else they do not fit."""
FITS = 3.0
"""How often random rows score as high as neighbours: within this factor of what a size says."""
LEAST_WITHIN = 30
"""Random rows within lists that a size is estimated from, at least."""


@dataclass(frozen=True, eq=False)
class GalleryFigures:
    """What was found of a whole gallery, as ``gallery`` of a report has it.

    Attributes:
        rows, different: how many it has, and how many of them are no repetition. top, random_rows:
            what was kept. queries: how many were searched. by: ``pass`` or ``neighbours``.
        clean: share of queries whose best right row is among the first, and its median rank.
        table: a row per closer and level. left_out: closers without a figure, by ``name, score``.
    """

    rows: int
    different: int
    top: int
    random_rows: int
    queries: int
    by: str
    clean: Mapping[str, Any] | None
    table: Sequence[Mapping[str, Any]]
    left_out: Sequence[str] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        found = {name: value for name, value in vars(self).items() if name != "table"}
        return found | {
            "left_out": list(self.left_out),
            "stress": [dict(row) for row in self.table],
        }


def is_sampled(task: RetrievalTask) -> bool:
    """Whether the task holds a sample of the candidates that there are."""
    given = task.candidate_input
    if given is None or task.lists is not None:
        return False
    return given.source.rows - given.stats.duplicates > len(given.rows)


def gallery_figures(
    task: RetrievalTask,
    closers: Sequence[Closer],
    levels: Sequence[float],
    convention: str,
    *,
    seed: int = 0,
    engine: Any = None,
    progress: Progress | None = None,
) -> GalleryFigures:
    """Search all candidates of the task's input in one pass, and apply the law to every closer.

    Closers whose scores differ by a number of the query alone share one search.

    Args:
        task: its queries are searched; its candidates may be a sample of the input's.
        closers: with ``none`` by each score for gains. levels, convention: of Gaussian noise on
            candidates. seed: of the random rows. engine: of the pass, None: this process.
        progress: called with (what, done, all).

    Cost: see :func:`isthmus.search.gallery.search_gallery`, for each search that is not shared.
    """
    given = task.candidate_input
    assert given is not None
    source, stats = given.source, given.stats
    if stats.rows != source.rows:
        stats = summarise(source, normalised=task.normalised, engine=engine).stats_a
        stats.refuse(given.name, cosine=task.normalised, source=source)
    firsts = stats.firsts if given.items is None and stats.duplicates else None
    repeats = None if firsts is None else firsts != np.arange(len(firsts))
    # the first search is today's, which places what is right
    closers = sorted(closers, key=lambda c: (c.name, c.score) != ("none", task.score))
    searches = [MappedSearch(closer, task.queries) for closer in closers]
    probes = ready(source.take(_spread(source, PROBES)), task.normalised)
    leaders = shared(searches, probes)
    right = np.array(task.relevance.pairs, np.int64)
    right[:, 1] = given.rows[right[:, 1]]
    if firsts is not None:
        right[:, 1] = firsts[right[:, 1]]
    lawful = [search.has_law(probes) for search in searches]
    alone = sorted({0, *(leader for leader, law in zip(leaders, lawful) if law)})
    lifted = [i for i, search in enumerate(searches) if lawful[i] and search.lifted]
    gallery = search_gallery(
        source,
        [searches[i] for i in alone],
        normalised=task.normalised,
        right=right[np.argsort(right[:, 0], kind="stable")],
        repeats=repeats,
        numbers=[searches[i].closer.candidate_bias for i in lifted],
        top=min(TOP, source.rows - (0 if repeats is None else stats.duplicates)),
        random=RANDOM_ROWS,
        seed=seed,
        engine=engine,
        progress=progress,
    )
    one = _one_right(right, len(task.queries)) if given.items is None else None
    heads = dict(zip(alone, gallery.heads, strict=True))
    biases = dict(zip(lifted, gallery.numbers, strict=True))
    held = [
        _held(searches, i, leader, heads[leader], gallery, given.items, biases.get(i), one)
        if law
        else None
        for i, (leader, law) in enumerate(zip(leaders, lawful, strict=True))
    ]
    law = GalleryLaw(task, searches, held, gallery.random, levels, convention)
    return GalleryFigures(
        gallery.rows,
        gallery.count,
        gallery.heads[0].rows.shape[1],
        len(gallery.random),
        len(task.queries),
        "pass",
        _clean(gallery.above),
        *law.table(),
    )


def neighbour_figures(
    task: RetrievalTask,
    closers: Sequence[Closer],
    levels: Sequence[float],
    convention: str,
    lists: Neighbours,
    *,
    count: int | None = None,
) -> GalleryFigures:
    """The same for a gallery of which lists of neighbours and random rows are known.

    The task's candidates are the random rows. Only closers whose scores differ from plain search's
    by a number of the query are taken: the lists are theirs too. Of Euclidean search with candidate
    biases the law asks for the bias of each listed row, which no list tells.

    Args:
        lists: of the rows of the queries' input, with scores as plain search by the task's score
            counts them (Euclidean: distances).
        count: how many rows the gallery has. None: estimated, from how many random rows score as
            high as the last of a list.

    Raises:
        ValuesError: the scores are not those of the rows.
    """
    given = task.query_input
    assert given is not None
    rows, scores = lists.rows[given.rows], lists.scores[given.rows]
    if lists.distances:
        scores = 0.5 * (np.einsum("ij,ij->i", task.queries, task.queries)[:, None] - scores**2)
    last = np.nanmin(scores, axis=1)
    random = task.candidates.astype(np.float32)
    within = np.concatenate(
        [
            (part >= last[start : start + len(part), None]).sum(axis=1)
            for start, part in task.plain().score_blocks()
        ]
    )
    listed, seen = int((rows >= 0).sum()), int(within.sum())
    hint = (
        f"are these scores of {task.score} (cosine and dot: higher is better, euclidean: the "
        "distance), and queries and rows as they are stored?"
    )
    if np.median(within) > MOST_WITHIN * len(random):
        raise ValuesError(
            "scores-do-not-fit",
            f"{np.median(within) / len(random):.0%} of the random rows score as high as a query's "
            f"last neighbour; expected few: {hint}",
        )
    if count is None and seen < LEAST_WITHIN:
        raise OptionError(
            "unknown-size",
            f"{seen} random rows score as high as a listed neighbour, too few to tell how large "
            f"the gallery is; say how many rows it has; {hint}",
        )
    wanted = len(random) * listed / (count or 1)
    if count is not None and not wanted / FITS - LEAST_WITHIN < seen < wanted * FITS + LEAST_WITHIN:
        raise ValuesError(
            "scores-do-not-fit",
            f"{seen} times a random row scores as high as a listed neighbour; expected about "
            f"{wanted:.0f} in a gallery of {count:,} rows: {hint}",
        )
    count = count or round(len(random) * listed / seen)
    searches = [MappedSearch(closer, task.queries) for closer in closers]
    plain = next(i for i, c in enumerate(closers) if (c.name, c.score) == ("none", task.score))
    probes = random[:PROBES]
    leaders = shared([searches[plain], *searches], probes)[1:]
    unknown = np.full(len(rows), -np.inf)
    head = Head(rows, np.where(rows >= 0, scores, -np.inf).astype(np.float32), unknown)
    gallery = Gallery(count, count, [head], np.full(len(rows), -1), random, np.arange(0))
    held = [
        _held(searches, i, plain, head, gallery) if not leader and search.has_law(probes) else None
        for i, (leader, search) in enumerate(zip(leaders, searches, strict=True))
    ]
    law = GalleryLaw(task, searches, held, random, levels, convention)
    return GalleryFigures(
        count, count, lists.depth, len(random), len(rows), "neighbours", None, *law.table()
    )


def _spread(source: Rows, count: int) -> np.ndarray:
    return np.unique(np.linspace(0, source.rows - 1, min(count, source.rows)).astype(np.int64))


def shared(searches: Sequence[MappedSearch], probes: np.ndarray) -> list[int]:
    """For each search the first whose scores differ from its own by a number of the query alone,
    so that both rank alike: by all scores of the ``probes`` (p, d)."""
    leaders: list[int] = []
    scores, widths = [], []
    for search in searches:
        ranking = search(probes)
        scores.append(_scores(ranking))
        widths.append(ranking.tie_widths)
    for i, own in enumerate(scores):
        leaders.append(i)
        for other in dict.fromkeys(leaders[:-1]):
            change = own - scores[other]
            change -= change.mean(axis=1, keepdims=True)
            if (np.abs(change) <= widths[i] + widths[other]).all():
                leaders[i] = other
                break
    return leaders


def _scores(ranking: Ranking) -> np.ndarray:
    return np.concatenate([scores for _, scores in ranking.score_blocks()])


def _held(
    searches: Sequence[MappedSearch],
    number: int,
    leader: int,
    head: Head,
    gallery: Gallery,
    items: np.ndarray | None = None,
    biases: np.ndarray | None = None,
    one: np.ndarray | None = None,
) -> HeldRows:
    """What is held for a search, from the best rows of the one that it ranks like.

    ``items``, ``biases`` (K,): as :class:`HeldRows` has them. ``one`` (n,): the row that is right,
    -1 where there is none or more; None: not known.
    """
    scores, known = head.scores, head.right
    if number != leader:
        some = gallery.random[:PROBES]
        change = _scores(searches[number](some)) - _scores(searches[leader](some))
        constant = change.mean(axis=1)
        scores, known = scores + constant[:, None], known + constant
    right = None if one is None else np.where(one >= 0, known, -np.inf)
    random = gallery.random_rows if len(gallery.random_rows) else None
    return HeldRows(gallery.count, head.rows, scores, random, items, biases, right, one)


def _one_right(pairs: np.ndarray, queries: int) -> np.ndarray | None:
    """The row that is right for each query, (n,); -1 where there is none or more than one."""
    pairs = np.unique(pairs, axis=0)
    row = np.full(queries, -1, np.int64)
    row[pairs[:, 0]] = pairs[:, 1]
    row[np.bincount(pairs[:, 0], minlength=queries) != 1] = -1
    return row if (row >= 0).any() else None


def _clean(above: np.ndarray) -> dict[str, Any] | None:
    """Where the best right rows stand among all; None where nothing is known to be right."""
    known = above[above >= 0]
    if not len(known):
        return None
    found: dict[str, Any] = {"judged": len(known), "rank_median": float(np.median(known)) + 1}
    for k in RECALL_AT:
        found |= wilson(int((known < k).sum()), len(known)).named(f"recall@{k}")
    return found


def with_gallery(
    rows: Sequence[Mapping[str, Any]],
    task: RetrievalTask,
    closers: Sequence[Closer],
    *,
    engine: Any = None,
    progress: Progress | None = None,
) -> tuple[list[dict[str, Any]], GalleryFigures | None]:
    """Rows of a stress table with what the law says of the whole gallery beside them.

    Adds ``gallery_rows`` and, for Gaussian noise on candidates where there is a law,
    ``gallery_consistency``, ``gallery_gain`` and their limits; null elsewhere. Rows of a task that
    holds all candidates stay as they are.
    """
    lawful = [row for row in rows if (row["family"], row["side"]) == ("gaussian", "candidates")]
    if not lawful or not is_sampled(task):
        return [dict(row) for row in rows], None
    levels = list(dict.fromkeys(row["level"] for row in lawful))
    found = gallery_figures(
        task, closers, levels, lawful[0]["convention"], engine=engine, progress=progress
    )
    by_law = {tuple(row[name] for name in ALIKE): row for row in found.table}
    names = [f"{name}{end}" for name in ("consistency", "gain") for end in ("", "_lo", "_hi")]
    out = []
    for row in rows:
        law = by_law.get(tuple(row[name] for name in ALIKE), {})
        columns = {f"gallery_{name}": law.get(name) for name in names}
        out.append(dict(row) | {"gallery_rows": found.rows} | columns)
    return out, found


def sampled_note(searched: int, rows: int, name: str) -> str:
    """That candidates are a sample, and which way its figures err."""
    return (
        f"{name}: {searched:,} of {rows:,} rows are searched wherever no law of all holds (codes, "
        "noise on queries, clean answers): among fewer candidates consistency and accuracy come "
        "out too high, and what closing gains too low"
    )
