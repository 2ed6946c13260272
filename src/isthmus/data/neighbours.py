"""Lists of neighbours as a store returns them: query row, candidate row or id, score."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.file_errors import os_errors, read_text
from isthmus.data.hit_files import HIT_FILES, RUNS, read_run
from isthmus.data.parquet import parquet_file
from isthmus.errors import CorruptFile, FileError, LabelsError, first_rows

LEAST = 10
"""Neighbours of a query."""
EXPECTED = "three columns: query row, candidate row or id, score"


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The best candidates of every query, best first.

    Attributes:
        rows: (n, m) a number for each candidate that is named; -1 where a query has fewer than m.
        scores: (n, m) as they were given: similarities, or distances where ``distances``; NaN
            where a query has fewer.
        distances: smaller is better.
    """

    rows: np.ndarray
    scores: np.ndarray
    distances: bool

    @property
    def depth(self) -> int:
        """Neighbours that every query has."""
        return int((self.rows >= 0).sum(axis=1).min())


def read_neighbours(
    given: Any, queries: int, *, distances: bool, ids: np.ndarray | None = None
) -> Neighbours:
    """Lists from a file or from three columns.

    Args:
        given: ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.npz`` whose first three columns
            are query row, candidate (row number or id) and score; a run of TREC; or three
            sequences of them. Lines in any order.
        queries: how many there are; each needs 10 neighbours, and 100 are better.
        ids: (n,) of the queries, by which a run names them; None: it has row numbers.
        distances: smaller scores are better.

    Raises:
        LabelsError: not that. FileError: a file that cannot be read.
    """
    what = f"'{given}'" if isinstance(given, (str, os.PathLike)) else "neighbours"
    is_file = isinstance(given, (str, os.PathLike))
    columns = _columns(given, ids, distances) if is_file else list(given)
    if len(columns) != 3 or len({len(column) for column in columns}) != 1:
        raise LabelsError("bad-neighbours", f"{what}: expected {EXPECTED}")
    query, names, score = (np.asarray(column) for column in columns)
    if query.dtype.kind not in "iu" or score.dtype.kind not in "iuf":
        raise LabelsError(
            "bad-neighbours",
            f"{what} has queries of type {query.dtype} and scores of type {score.dtype}; expected "
            f"{EXPECTED}",
        )
    score = score.astype(np.float64)
    wrong = np.flatnonzero((query < 0) | (query >= queries) | ~np.isfinite(score))
    if len(wrong):
        raise LabelsError(
            "bad-neighbours",
            f"{what}: {first_rows(wrong[:5].tolist(), len(wrong))} have no query from 0 to "
            f"{queries - 1}, or no finite score",
        )
    row = np.unique(names.astype(str), return_inverse=True)[1].reshape(-1)
    order = np.lexsort((row, score if distances else -score, query))
    query, row, score = query[order].astype(np.int64), row[order], score[order]
    counts = np.bincount(query, minlength=queries)
    if counts.min() < LEAST:
        few = int(counts.argmin())
        raise LabelsError(
            "too-few-neighbours",
            f"{what} has {counts[few]} neighbours of query {few}; expected {LEAST} or more of each "
            f"of the {queries} queries, 100 if the store gives them",
        )
    place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.full((queries, counts.max()), -1, np.int64)
    scores = np.full(rows.shape, np.nan)
    rows[query, place], scores[query, place] = row, score
    ranked = np.sort(rows, axis=1)
    twice = ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)).any(axis=1)
    if twice.any():
        raise LabelsError(
            "candidate-twice",
            f"{what} names one candidate twice for query {int(twice.argmax())}; drop one of them",
        )
    return Neighbours(rows, scores, distances)


def _columns(
    path: str | os.PathLike[str], ids: np.ndarray | None, distances: bool
) -> list[np.ndarray]:
    """The first three columns of a file."""
    typed, suffix = os.fspath(path), os.path.splitext(path)[1].lower()
    if suffix in RUNS:
        asked, found, scores = read_run(read_text(typed), f"'{typed}'")
        return [_rows_of(asked, ids, f"'{typed}'"), found, -scores if distances else scores]
    if suffix == ".npz":
        with os_errors(typed), np.load(typed, allow_pickle=False) as held:
            return [held[name] for name in held.files[:3]]
    return [column.to_numpy(zero_copy_only=False) for column in _table(typed, suffix).columns[:3]]


def _rows_of(asked: np.ndarray, ids: np.ndarray | None, what: str) -> np.ndarray:
    """Rows of queries that are named by id, or by row where they have none."""
    known = None if ids is None else {str(one): i for i, one in enumerate(ids.tolist())}
    try:
        return np.array([int(one) if known is None else known[one] for one in asked.tolist()])
    except (KeyError, ValueError) as error:
        raise LabelsError(
            "unknown-ids", f"{what} names the query {error}, which is none of these queries"
        ) from error


def _table(typed: str, suffix: str) -> Any:
    """A table with these columns and perhaps others."""
    import pyarrow as pa
    import pyarrow.csv as pc

    if suffix == ".parquet":
        with parquet_file(typed, f"'{typed}'") as file:
            return file.read(columns=file.schema_arrow.names[:3], use_threads=False)
    try:
        if suffix == ".jsonl":
            from pyarrow import json

            return json.read_json(typed, json.ReadOptions(use_threads=False))
        if suffix in (".csv", ".tsv"):
            with os_errors(typed), open(typed, encoding="utf-8") as lines:
                first = lines.readline()
            sign = "\t" if suffix == ".tsv" else ","
            headless = first.split(sign)[0].strip("\"' ").isdigit()
            reading = pc.ReadOptions(use_threads=False, autogenerate_column_names=headless)
            return pc.read_csv(typed, reading, pc.ParseOptions(delimiter=sign))
    except pa.ArrowInvalid as error:
        raise CorruptFile("damaged-file", f"'{typed}': {error}; expected {EXPECTED}") from error
    raise FileError(
        "unknown-suffix", f"'{typed}' has the suffix '{suffix}'; expected {', '.join(HIT_FILES)}"
    )
