"""Files of what is right: pairs, grades, qrels of TREC and BEIR, names of classes.

A file names queries and candidates by row number or by id. Words are ids. Whole numbers are row
numbers, unless the file says that they are ids: TREC's four columns, or a header with an ``id`` in
it (``query-id``, ``corpus-id``, ``score`` of BEIR).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.data.file_errors import choose, parse_json, read_text
from isthmus.data.judgements import WHOLE, Judgements
from isthmus.data.labels import read_labels, read_relevance
from isthmus.data.opening import open_layout
from isthmus.data.parquet import is_parquet, parquet_file
from isthmus.data.tables import arrow_table
from isthmus.data.targets import Target, split_spec
from isthmus.errors import FileError, LabelsError

ASKED = ("query-id", "query_id", "qid", "query", "queries", "q", "topic")
FOUND = (
    *("corpus-id", "corpus_id", "candidate-id", "candidate_id", "doc-id", "doc_id", "docid"),
    *("docno", "document-id", "document_id", "candidate", "document", "doc", "c"),
)
GRADES = ("score", "relevance", "rel", "grade", "label")
_TEXT = (".txt", ".csv", ".tsv", ".qrels", ".qrel", ".trec")
_JSON = (".json", ".jsonl", ".ndjson")
_ARROW = (".arrow", ".feather")


def judgements_of(given: Any) -> Judgements | Any:
    """Judgements from a file, pairs of ids, three columns (query, candidate, grade), or a mapping
    of query id to candidate id to grade. Two columns of row numbers come back as they are.

    Raises:
        LabelsError: not that. FileError: a file that cannot be read.
    """
    if isinstance(given, (str, os.PathLike)):
        return read_judgements(given)
    if isinstance(given, Mapping):
        lines = [(q, c, g) for q, found in given.items() for c, g in found.items()]
        return _judged("relevance", *zip(*lines, strict=True), named=True) if lines else []
    if isinstance(given, tuple) and len(given) == 3 and [np.ndim(one) for one in given] == [1] * 3:
        return _judged("relevance", *given)
    if isinstance(given, (list, tuple)) and any(isinstance(x, str) for x in np.ravel(given)):
        given = np.array([[str(x) for x in one] for one in given])
    if isinstance(given, np.ndarray) and given.dtype.kind == "U" and given.shape[1:] == (2,):
        return _judged("relevance", *given.T)
    return given


def read_judgements(spec: str | os.PathLike[str]) -> Judgements | np.ndarray:
    """Judgements of one file; its forms are in ``docs/files.md``. ``FILE:QUERY,CANDIDATE`` and
    ``FILE:QUERY,CANDIDATE,GRADE`` name columns.

    Raises:
        LabelsError: a line or a value that cannot be one. FileError: a file that cannot be read.
    """
    target, suffix = _one_file(spec)
    what = f"the relevance in '{target.spec}'"
    names = None if target.key is None else [part.strip() for part in target.key.split(",")]
    if names is not None and len(names) not in (2, 3):
        raise LabelsError(
            "unequal-lengths",
            f"'{target.spec}' names {len(names)} columns; expected QUERY,CANDIDATE or "
            "QUERY,CANDIDATE,GRADE",
        )
    if suffix in _TEXT and names is None:
        return _judged_lines(target.path, target.spec, what)
    if not (suffix in (*_TEXT, *_JSON, *_ARROW) or is_parquet(target.path)):
        return read_relevance(spec)
    if suffix == ".json":
        found = parse_json(read_text(target.path), what)
        if isinstance(found, dict) and all(isinstance(one, dict) for one in found.values()):
            return judgements_of(found)

    def pick(known: Sequence[str]) -> list[str]:
        if names is not None:
            return [_chosen(what, target.path, name, known) for name in names]
        return _qrels_names(known, what)

    columns = named_columns(target.path, what, pick)
    if len(columns) < 2:
        if is_parquet(target.path):
            return read_relevance(spec)
        raise LabelsError(
            "no-columns",
            f"{what}: no columns are named as of queries and candidates (query-id, corpus-id, "
            "score); name them: FILE:QUERY,CANDIDATE or FILE:QUERY,CANDIDATE,GRADE",
        )
    return _judged(what, *columns.values(), named=_of_ids(list(columns)[:2]))


def _qrels_names(known: Sequence[str], what: str) -> list[str]:
    """The columns of queries, candidates and grades, as far as names tell; [] if they do not.

    Raises:
        LabelsError: further columns, and none that is named as grades: one of them may be.
    """
    plain = {name.strip().lower(): name for name in reversed(known)}
    found = [
        next((plain[n] for n in names if n in plain), None) for names in (ASKED, FOUND, GRADES)
    ]
    if None in found[:2]:
        return []
    if found[2] is None and len(known) > 2:
        raise LabelsError(
            "ambiguous-column",
            f"{what}: none of the columns {', '.join(known)} is named as a grade (score, "
            "relevance); name the columns that are meant: FILE:QUERY,CANDIDATE or "
            "FILE:QUERY,CANDIDATE,GRADE",
        )
    return [name for name in found if name is not None]


def _of_ids(names: Sequence[str]) -> bool:
    """Whether a header says that its columns hold ids."""
    return any(re.search(r"(^|[-_ ])id$|^q?id$|docid|docno", name.lower()) for name in names)


def _judged(
    what: str, queries: Any, candidates: Any, grades: Any = None, *, named: bool = False
) -> Judgements:
    """Columns as they were given, checked."""
    asked, found = (
        np.array([str(one) for one in column], np.str_) for column in (queries, candidates)
    )
    if len({len(asked), len(found), len(asked if grades is None else grades)}) > 1:
        raise LabelsError("unequal-lengths", f"{what} has columns of unequal lengths")
    if not len(asked):
        raise LabelsError("no-relevance", f"{what} has no rows; expected at least one pair")
    if grades is None:
        return Judgements(what, asked, found, named=named)
    try:
        numbers = np.array([float(one) for one in grades])
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        raise LabelsError("bad-grade", f"{what} has a grade that is no number")
    return Judgements(what, asked, found, numbers, named)


def _judged_lines(path: str, typed: str, what: str) -> Judgements | np.ndarray:
    """Lines of two, three (a grade) or four (TREC) fields, with a header or without."""
    lines = [line for line in read_text(path).split("\n") if line.strip()]
    first = lines[0] if lines else ""
    mark = next((m for m in "\t,;" if m in first), None)
    cells = _fields(lines, mark)
    width = len(cells[0]) if cells else 0
    names = _qrels_names(cells[0], what) if cells else []
    if width == 2 and not (names and _of_ids(names)):
        whole = sum(all(map(WHOLE.fullmatch, line)) for line in cells)
        if 2 * whole >= len(cells) - 1 or len(cells) < 2:
            return read_relevance(path)
    if names:
        places = [cells[0].index(name) for name in names]
        named, start = _of_ids(names), 1
    elif width in (2, 3, 4):
        places = [0, 2, 3] if width == 4 else list(range(width))
        named, start = width == 4, int(width > 2 and not _is_number(cells[0][-1]))
    else:
        return read_relevance(path)
    for number, line in enumerate(cells[start:], start + 1):
        if len(line) != width or (len(places) == 3 and not _is_number(line[places[2]])):
            raise LabelsError(
                "bad-line",
                f"'{typed}' has '{lines[number - 1].strip()[:40]}' in line {number} of those with "
                f"text; expected {width} fields, query, candidate and grade among them, in every "
                "line: correct it",
            )
    columns = [[line[place] for line in cells[start:]] for place in places]
    return _judged(what, *columns, named=named)


def _fields(lines: Sequence[str], mark: str | None) -> list[list[str]]:
    if mark is None:
        return [line.split() for line in lines]
    read = csv.reader(lines, delimiter=mark, skipinitialspace=True)
    return [[cell.strip() for cell in line] for line in read]


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def named_columns(
    path: str, what: str, pick: Callable[[Sequence[str]], Sequence[str]]
) -> dict[str, list[Any]]:
    """Columns of a table with names, in the order picked: CSV, TSV, JSON, Arrow or Parquet.

    Raises:
        LabelsError: a value that is missing. FileError: a file that is no such table.
    """
    suffix = os.path.splitext(path)[1].lower()
    if is_parquet(path):
        with parquet_file(path, what) as file:
            names = pick(file.schema_arrow.names)
            found = file.read(columns=list(names), use_threads=False).to_pydict()
    elif suffix in _ARROW:
        found = (table := arrow_table(path, what)).select(pick(table.schema.names)).to_pydict()
        names = list(found)
    elif suffix in _JSON:
        found = _objects(path, what, suffix != ".json")
        names = pick(list(found))
    else:
        lines = [line for line in read_text(path).split("\n") if line.strip()]
        cells = _fields(lines, next((m for m in "\t,;" if lines and m in lines[0]), None))
        if any(len(line) != len(cells[0]) for line in cells):
            raise LabelsError("bad-line", f"{what} has lines of different numbers of fields")
        found = {name: [line[i] for line in cells[1:]] for i, name in enumerate(cells[0])}
        names = pick(list(found))
    for name in names:
        if None in found[name]:
            row = found[name].index(None)
            raise LabelsError("null-value", f"the column '{name}' of {what} has none in row {row}")
    return {name: found[name] for name in names}


def _objects(path: str, what: str, lines: bool) -> dict[str, list[Any]]:
    """Columns of JSON: a list of objects, an object of lists, or one object a line."""
    text = read_text(path)
    found = [parse_json(x, what) for x in text.split("\n") if x.strip()] if lines else None
    parsed = parse_json(text, what) if found is None else found
    if isinstance(parsed, dict) and all(isinstance(v, list) for v in parsed.values()):
        return parsed
    if isinstance(parsed, list) and parsed and all(isinstance(one, dict) for one in parsed):
        return {name: [one.get(name) for one in parsed] for name in parsed[0]}
    raise FileError("no-columns", f"{what} holds no table: expected objects with the same keys")


def labels_of(given: Any) -> np.ndarray | Any:
    """Labels from a file (``FILE:COLUMN`` of a table too) or a sequence: whole numbers as they
    are, names of classes as words (n,).

    Raises:
        LabelsError: neither. FileError: a file that cannot be read.
    """
    if not isinstance(given, (str, os.PathLike)):
        array = given if isinstance(given, np.ndarray) else np.asarray(given, object)
        if array.ndim == 1 and len(array) and all(isinstance(one, str) for one in array):
            return array.astype(np.str_)
        return given
    target, suffix = _one_file(given)
    what, path, key = f"the labels in '{target.spec}'", target.path, target.key
    if key is not None and suffix in (*_TEXT, *_JSON, *_ARROW):
        known = named_columns(path, what, lambda names: [_chosen(what, path, key, names)])
        return _words_or_numbers(next(iter(known.values())))
    if is_parquet(path):
        with parquet_file(path, what) as file:
            kinds = {f.name: str(f.type) for f in file.schema_arrow}
        words = [n for n, kind in kinds.items() if kind in ("string", "large_string")]
        whole = any("int" in kind for kind in kinds.values())
        if key in words or (key is None and len(words) == 1 and not whole):
            column = key or words[0]
            return np.array(named_columns(path, what, lambda _: [column])[column])
    if suffix in _TEXT:
        lines = [line.strip().strip("\"'") for line in read_text(path).split("\n") if line.strip()]
        if 2 * sum(not _is_number(line) and "," not in line for line in lines) > len(lines):
            return np.array(lines)
    if suffix == ".npy":
        layout = open_layout(path, None, target.spec, floats=False)
        if layout.stored.raw.kind in "US" and len(layout.shape) == 1:
            return layout.load(what).astype(np.str_)
    return read_labels(given)


def _chosen(what: str, path: str, key: str, names: Sequence[str]) -> str:
    return choose(what, f"'{path}'", key, dict.fromkeys(names, "values"), "column")


def _words_or_numbers(values: Sequence[Any]) -> np.ndarray:
    words = [str(one) for one in values]
    if all(map(WHOLE.fullmatch, words)):
        return np.array([int(one) for one in words], np.int64)
    return np.array(words, np.str_)


def _one_file(spec: str | os.PathLike[str]) -> tuple[Target, str]:
    target = split_spec(spec)
    if target.shards is not None:
        raise FileError(
            "not-one-file", f"'{target.spec}' is a folder or a pattern; expected one file"
        )
    return target, os.path.splitext(target.path)[1].lower()
