"""What a right answer is, in memory and as it is said."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from isthmus.data.judgement_files import judgements_of, labels_of
from isthmus.data.judgements import IDS_WORD, Judgements, rows_named, unique_pairs
from isthmus.data.labels import NUMBER_NAMES, checked_labels, checked_relevance
from isthmus.data.row_checks import decide_paired
from isthmus.data.row_stats import InputWarning
from isthmus.data.source import ids_of
from isthmus.errors import LabelsError, OptionError


@dataclass(frozen=True, eq=False)
class Relevance:
    """Which candidates are right for each query, as sorted (query row, candidate row) pairs.

    Attributes:
        task: ``retrieval``, ``zero-shot`` or ``multiple-choice``.
        pairs: (m, 2) int64, unique, in query order; m = 0: nothing is known.
        queries, candidates: how many rows there are.
        grades: (m,) how relevant each pair is, above 0; None: all are 1.
        notes: what was found when judgements and ids met.
    """

    task: str
    pairs: np.ndarray
    queries: int
    candidates: int
    grades: np.ndarray | None = None
    notes: tuple[InputWarning, ...] = ()

    def of_query(self) -> list[np.ndarray]:
        """The right candidate rows of each query, n arrays (possibly empty)."""
        return self._of_query

    @cached_property
    def _of_query(self) -> list[np.ndarray]:
        cuts = np.searchsorted(self.pairs[:, 0], np.arange(self.queries + 1)).tolist()
        return [self.pairs[start:stop, 1] for start, stop in pairwise(cuts)]

    def correct(self, answers: np.ndarray) -> np.ndarray:
        """(n,) bool for answers (n,), or (t, n) for (t, n): the answer is right."""
        return self.gain(answers) > 0

    def gain(self, answers: np.ndarray) -> np.ndarray:
        """The grade of each answer, of the same shape: 1 without grades, 0 where it is wrong."""
        return self._grade(np.arange(self.queries), answers)

    def _grade(self, queries: np.ndarray, answers: np.ndarray) -> np.ndarray:
        keys = self.pairs[:, 0] * self.candidates + self.pairs[:, 1]  # ascending
        asked = queries * self.candidates + answers
        if not len(keys):
            return np.zeros(asked.shape)
        found = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        grades = 1.0 if self.grades is None else self.grades[found]
        return np.where(keys[found] == asked, grades, 0.0)

    @cached_property
    def judged(self) -> np.ndarray:
        """(n,) bool: queries that have at least one right candidate."""
        return np.isin(np.arange(self.queries), self.pairs[:, 0])

    @property
    def is_paired(self) -> bool:
        """Query i's only right candidate is candidate i, and there are as many of both."""
        count = self.queries
        return (
            self.task == "retrieval"
            and count == self.candidates == len(self.pairs)
            and bool((self.pairs == np.arange(count)[:, None]).all())
        )

    def checked(self, queries: int, candidates: int) -> Relevance:
        """The same, or a refusal where it speaks of other rows. Raises LabelsError."""
        if (self.queries, self.candidates) != (queries, candidates):
            raise LabelsError(
                "relevance-of-other-rows",
                f"the relevance is about {self.queries} queries and {self.candidates} candidates, "
                f"but there are {queries} and {candidates}; give that of these rows",
            )
        return self

    def shared(self, query_items: np.ndarray | None, items: np.ndarray | None) -> Relevance:
        """The same among items: what is right for a row is right for all rows of its item, and
        every row of a right item is right.

        Args:
            query_items, items: (n,), (K,) lowest row of each row's item; None: rows are items.
        """
        if (query_items is None and items is None) or not len(self.pairs):
            return self
        sides = [
            np.arange(count) if given is None else given
            for given, count in ((query_items, self.queries), (items, self.candidates))
        ]
        from scipy.sparse import csr_array

        asked, found = (
            csr_array(
                (np.ones(len(side), bool), (np.arange(len(side)), side)),
                shape=(len(side), len(side)),
            )
            for side in sides
        )
        keys = [side[self.pairs[:, i]] for i, side in enumerate(sides)]
        shape = (self.queries, self.candidates)
        right = csr_array((np.ones(len(self.pairs), bool), tuple(keys)), shape=shape)
        pairs = np.column_stack((asked @ right @ found.T).nonzero()).astype(np.int64)
        pairs, grades = pairs[np.lexsort(pairs.T[::-1])], None
        if self.grades is not None:  # of an item the highest of its rows
            alone = self._of(np.column_stack(keys))
            grades = alone._grade(*(side[pairs[:, i]] for i, side in enumerate(sides)))
        return replace(self, pairs=pairs, grades=grades)

    def _of(self, pairs: np.ndarray, keep: np.ndarray | None = None) -> Relevance:
        """The same with its pairs under other numbers, each once; those that ``keep`` says."""
        grades = self.grades
        if keep is not None:
            pairs, grades = pairs[keep], None if grades is None else grades[keep]
        unique, graded = unique_pairs(pairs, grades)
        return replace(self, pairs=unique, grades=graded)

    def merged(self, query_rows: np.ndarray, candidate_rows: np.ndarray) -> Relevance:
        """The same with each row's pairs handed to the row that stands for it, (n,), (K,)."""
        pairs = np.column_stack([query_rows[self.pairs[:, 0]], candidate_rows[self.pairs[:, 1]]])
        return self._of(pairs)

    def reversed(self) -> Relevance:
        """The same with the roles exchanged: candidates ask for queries."""
        turned = self._of(self.pairs[:, ::-1])
        return replace(turned, queries=self.candidates, candidates=self.queries)

    def restricted(self, query_rows: np.ndarray, candidate_rows: np.ndarray) -> Relevance:
        """What is right among some queries and candidates, renumbered by their places there."""
        q_place = np.full(self.queries, -1)
        q_place[query_rows] = np.arange(len(query_rows))
        c_place = np.full(self.candidates, -1)
        c_place[candidate_rows] = np.arange(len(candidate_rows))
        pairs = np.column_stack([q_place[self.pairs[:, 0]], c_place[self.pairs[:, 1]]])
        kept = self._of(pairs, np.asarray((pairs >= 0).all(axis=1)))
        return replace(kept, queries=len(query_rows), candidates=len(candidate_rows))


def relevance_by_pairs(n: int, m: int) -> Relevance:
    """Query i's only right candidate is row i.

    Raises:
        NotPaired: n and m differ.
    """
    decide_paired("queries", n, "candidates", m, True)
    rows = np.arange(n)
    return Relevance("retrieval", np.column_stack([rows, rows]), n, m)


def relevance_by_judgements(
    relevance: Any, n: int, m: int, grades: np.ndarray | None = None
) -> Relevance:
    """Many to many: (query row, candidate row) pairs, and how relevant each is (``grades``).

    Raises:
        LabelsError: a row out of range.
    """
    pairs = checked_relevance(relevance, n, m)
    if grades is not None:
        pairs, grades = unique_pairs(np.asarray(relevance, np.int64), grades)
    return Relevance("retrieval", pairs, n, m, grades)


def relevance_by_labels(
    labels: Any, n: int, classes: int, names: np.ndarray | None = None
) -> Relevance:
    """Query i belongs to class ``labels[i]``; candidates are class texts.

    Args:
        labels: (n,) rows of the candidates, or names of classes as words. names: (K,) ids of the
            candidates; every text of a class is right.

    Raises:
        LabelsError: a row out of range, another number than queries, or words without names.
    """
    if not (isinstance(labels, np.ndarray) and labels.dtype.kind == "U"):
        checked = checked_labels(labels, n, classes)
        return Relevance("zero-shot", np.column_stack([np.arange(n), checked]), n, classes)
    if names is None:
        raise LabelsError(
            "no-ids",
            f"labels: '{labels[0]}' is the name of a class, but the candidates have no ids that "
            f"say which is its text; give candidates with ids (docs/files.md). {NUMBER_NAMES}",
        )
    if len(labels) == n + 1:
        labels = labels[1:]  # a header
    if len(labels) != n:
        raise LabelsError(
            "unequal-lengths", f"{len(labels)} labels for {n} queries; expected one per query"
        )
    query, row = rows_named(labels, names)
    if not len(query):
        raise LabelsError(
            "unknown-ids", f"labels: no class is named '{labels[0]}', nor as any other label"
        )
    lost = np.setdiff1d(np.arange(n), query)
    text = f"labels: {len(lost)} of {n} queries have a label that is the id of no candidate, "
    text += f"the first '{labels[lost[0]]}'; nothing is right for them" if len(lost) else ""
    pairs = np.unique(np.column_stack([query, row]), axis=0)
    notes = (InputWarning("unknown-ids", text),) if len(lost) else ()
    return Relevance("zero-shot", pairs, n, classes, notes=notes)


def relevance_by_ids(asked: np.ndarray | None, found: np.ndarray | None) -> Relevance:
    """Candidates with a query's id are right for it. Raises LabelsError where ids lack."""
    if asked is None or found is None:
        raise LabelsError(
            "no-ids",
            "relevance by ids needs ids on both sides; give rows that have (docs/files.md)",
        )
    query, row = rows_named(asked.astype(np.str_), found)
    if not len(query):
        raise LabelsError(
            "unknown-ids",
            f"the two sides have no id in common: '{asked[0]}' and '{found[0]}' are the first",
        )
    pairs = np.unique(np.column_stack([query, row]), axis=0)
    alone = len(asked) - len(np.unique(query))
    text = f"relevance by ids: {alone} of {len(asked)} queries have an id of no candidate"
    notes = (InputWarning("unknown-ids", text),) if alone else ()
    return Relevance("retrieval", pairs, len(asked), len(found), notes=notes)


def no_relevance(n: int, m: int) -> Relevance:
    """Nothing is known to be right: only flips can be measured."""
    return Relevance("retrieval", np.zeros((0, 2), np.int64), n, m)


def multiple_choice(lists: Any, right: Any, candidates: int) -> tuple[np.ndarray, Relevance]:
    """Questions with their own options: (lists, relevance) for a ``RetrievalTask``.

    Args:
        lists: (n, c) integers: query i chooses among candidate rows ``lists[i]``; -1 pads.
        right: (n,) integers: place of the right option in its list, or -1 where unknown.
        candidates: how many candidate rows there are.

    Raises:
        LabelsError: another shape or dtype, a row out of range, fewer than 2 options, an option
            twice in one list, or a right place that holds no option.
    """
    options, right = np.asarray(lists), np.asarray(right)
    if options.ndim != 2 or options.dtype.kind not in "iu" or right.dtype.kind not in "iu":
        raise LabelsError(
            "bad-options",
            f"option lists have shape {options.shape} and dtype {options.dtype}; expected one row "
            "of candidate rows per query, padded with -1, and the integer place of the right one",
        )
    if right.shape != (len(options),):
        raise LabelsError(
            "bad-options",
            f"{right.size} right answers for {len(options)} questions; expected one each",
        )
    options, right = options.astype(np.int64), right.astype(np.int64)
    if options.size and (options.min() < -1 or options.max() >= candidates):
        raise LabelsError(
            "option-out-of-range",
            f"an option names candidate {int(options.max())} or below -1; there are {candidates} "
            f"candidates, numbered from 0 to {candidates - 1}",
        )
    ordered = np.sort(options, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    places = np.clip(right, 0, options.shape[1] - 1)
    picked = options[np.arange(len(options)), places]
    known = right >= 0
    for code, wrong, what in (
        ("too-few-options", (options >= 0).sum(axis=1) < 2, "has fewer than 2 options; drop it"),
        ("option-twice", twice, "lists one candidate twice; drop one of them"),
        (
            "answer-not-listed",
            known & ((right > places) | (picked < 0)),
            "has a right answer that is not in its list",
        ),
    ):
        if wrong.any():
            raise LabelsError(code, f"question {int(wrong.argmax())} {what}")
    pairs = np.column_stack([np.flatnonzero(known), picked[known]])
    return options, Relevance("multiple-choice", pairs, len(options), candidates)


def relevance_of(
    queries: int,
    candidates: int,
    *,
    relevance: Any = None,
    labels: Any = None,
    paired: bool | None = None,
    names: tuple[str, str] = ("queries", "candidates"),
    sources: tuple[Any, Any] = (None, None),
) -> Relevance:
    """What is right among ``queries`` and ``candidates`` rows, however it was said.

    ``sources`` know the ids of the rows, which are read where something names them.

    Raises:
        OptionError: it was said twice. LabelsError, NotPaired: it does not fit the rows.
    """
    if labels is not None and relevance is not None:
        raise OptionError(
            "relevance-twice",
            "both labels and relevance were given; one of them says what is right",
        )
    if paired and (labels is not None or relevance is not None):
        raise OptionError(
            "relevance-twice", "paired rows and labels or relevance were both given; drop one"
        )
    first, second = sources
    if labels is not None:
        given, known = _with_names(labels)
        if known is None and isinstance(given, np.ndarray) and given.dtype.kind == "U":
            known = ids_of(second)
        return relevance_by_labels(given, queries, candidates, known)
    if isinstance(relevance, Relevance):
        return relevance.checked(queries, candidates)
    if isinstance(relevance, str) and relevance == IDS_WORD and not os.path.exists(IDS_WORD):
        return relevance_by_ids(ids_of(first), ids_of(second))
    if relevance is not None:
        given = judgements_of(relevance)
        if not isinstance(given, Judgements):
            return relevance_by_judgements(given, queries, candidates)
        ids = (ids_of(first), ids_of(second))
        pairs, grades, note = given.rows(queries, candidates, ids)
        said = (InputWarning("unknown-ids", note),) if note else ()
        return Relevance("retrieval", pairs, queries, candidates, grades, said)
    if decide_paired(names[0], queries, names[1], candidates, paired):
        notes = _ids_apart(names, first, second)
        return replace(relevance_by_pairs(queries, candidates), notes=notes)
    return no_relevance(queries, candidates)


def _with_names(labels: Any) -> tuple[Any, np.ndarray | None]:
    """Labels, and the names of the classes where both were given as (labels, names)."""
    if isinstance(labels, tuple) and [np.ndim(one) for one in labels] == [1, 1]:
        return labels_of(labels[0]), np.asarray(labels[1])
    return labels_of(labels), None


MOST_IDS = 1_000_000
"""Rows of a side whose ids are looked at only where something names them."""


def _ids_apart(names: tuple[str, str], first: Any, second: Any) -> tuple[InputWarning, ...]:
    """That rows paired by their numbers have ids in common that would pair them otherwise."""
    if first is None or second is None or first.rows > MOST_IDS:
        return ()
    one, other = ids_of(first), ids_of(second)
    if one is None or other is None:
        return ()
    asked, found = one.astype(np.str_), other.astype(np.str_)
    apart, common = int((asked != found).sum()), int(np.isin(asked, found).sum())
    if not apart or 2 * common < len(asked):
        return ()
    text = (
        f"{names[0]} and {names[1]} both have ids; rows were paired by their numbers, although "
        f"{apart} of {len(asked)} pairs have two different ids and {common} ids are on both sides: "
        f"relevance='{IDS_WORD}' (--relevance {IDS_WORD}) joins rows by their ids"
    )
    return (InputWarning("ids-not-joined", text),)
