"""Labels, relevance judgements and names of rows: small files of whole numbers or words."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.data.dtypes import WORDS, dtype_name
from isthmus.data.file_errors import read_text
from isthmus.data.opening import open_layout
from isthmus.data.parquet import choose_column, is_parquet, parquet_file
from isthmus.data.targets import split_spec
from isthmus.errors import FileError, LabelsError, first_rows

_TEXT = (".txt", ".csv", ".tsv")
_ARRAYS = (".npy", ".npz", ".safetensors")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_LIMIT = np.iinfo(np.int64)


LABELS = "one integer per query: the row of its right candidate"
RELEVANCE = "two integer columns: query row, candidate row"
NUMBER_NAMES = (
    "Names become numbers by their place among the candidates: "
    "[candidate_names.index(name) for name in names]"
)


def read_labels(spec: str | os.PathLike[str]) -> np.ndarray:
    """Read labels (n,) int64: the candidate row that is right for each query.

    From ``.npy`` (also ``.npz:KEY``, ``.safetensors:KEY``) of integers, ``.txt`` or ``.csv`` with
    one per line (a first line of a .csv that is no number is a header), or ``.parquet:COLUMN``.
    Whether they lie within the candidates is checked where the rows are known.

    Raises LabelsError naming the first bad row or line, FileError where there is no such file.
    """
    typed, path, key = _one_file(spec, "labels")
    if is_parquet(path):
        return _parquet_columns(path, typed, None if key is None else [key], 1)[:, 0]
    if _suffix(path) in _TEXT:
        return _text_columns(path, typed, 1)[:, 0]
    return _labels(_array(path, key, typed, LABELS), f"the labels in '{typed}'")


def read_relevance(spec: str | os.PathLike[str]) -> np.ndarray:
    """Read judgements (m, 2) int64: query row, candidate row, many to many.

    From ``.parquet`` with two integer columns, in their order (or ``.parquet:QUERY,CANDIDATE``),
    ``.npy`` (m, 2), or ``.csv``, ``.tsv`` or ``.txt`` with two numbers per line and perhaps a
    header. Ranges are checked where the rows are known.

    Raises LabelsError naming the first bad row or line, FileError where there is no such file.
    """
    typed, path, key = _one_file(spec, "relevance judgements")
    if is_parquet(path):
        names = None if key is None else [part.strip() for part in key.split(",")]
        pairs = _parquet_columns(path, typed, names, 2)
    elif _suffix(path) in _TEXT:
        pairs = _text_columns(path, typed, 2)
    else:
        pairs = _array(path, key, typed, RELEVANCE)
    return _relevance(pairs, f"the relevance in '{typed}'")


def checked_labels(labels: Any, queries: int, candidates: int) -> np.ndarray:
    """Labels as (n,) int64: query i's right candidate is ``labels[i]``.

    Raises:
        LabelsError: not integers, another length than the queries, or out of range.
    """
    array = _labels(_stacked(labels, "labels", LABELS), "labels")
    if len(array) != queries:
        raise LabelsError(
            "unequal-lengths", f"{len(array)} labels for {queries} queries; expected one per query"
        )
    _check_range(array, candidates, "labels", "candidates")
    return array


def checked_relevance(relevance: Any, queries: int, candidates: int) -> np.ndarray:
    """Relevance as (m, 2) int64 of (query row, candidate row), without repeats, in query order.

    Raises:
        LabelsError: another shape or dtype, no rows, or a row out of range.
    """
    array = _relevance(_stacked(relevance, "relevance", RELEVANCE), "relevance")
    _check_range(array[:, 0], queries, "relevance, query column", "queries")
    _check_range(array[:, 1], candidates, "relevance, candidate column", "candidates")
    return np.unique(array, axis=0)


def _labels(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise _not_integers(what, array, LABELS)
    return array.astype(np.int64)


def _relevance(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise _not_integers(what, array, RELEVANCE)
    if len(array) == 0:
        raise LabelsError("no-relevance", f"{what} has no rows; expected at least one pair")
    return array.astype(np.int64)


def _not_integers(what: str, array: np.ndarray, expected: str) -> LabelsError:
    return LabelsError(
        "labels-not-integers",
        f"{what}: shape {array.shape}, dtype {dtype_name(array.dtype)}; expected {expected}"
        + _advice(array.dtype, array.shape, expected),
    )


def _advice(dtype: np.dtype, shape: tuple[int, ...], expected: str) -> str:
    """How to make integers of what was given."""
    if len(shape) == 2 and expected == LABELS and dtype.kind in "biuf":
        return ": of one row per query with a 1 at its class take matrix.argmax(axis=1)"
    if len(shape) == 2 and shape[1] != 2 and dtype.kind in "biuf":
        return ". A matrix of queries × candidates becomes two columns: numpy.argwhere(matrix > 0)"
    if dtype.kind in WORDS or dtype.kind == "O":
        return f". {NUMBER_NAMES}"
    return ": convert with .astype(numpy.int64)" if dtype.kind == "f" else ""


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _one_file(spec: str | os.PathLike[str], noun: str) -> tuple[str, str, str | None]:
    target = split_spec(spec)
    if target.shards is not None:
        raise FileError(
            "not-one-file", f"'{target.spec}' is a folder or a pattern; expected one file of {noun}"
        )
    if not is_parquet(target.path) and _suffix(target.path) not in (*_TEXT, *_ARRAYS):
        raise FileError(
            "unknown-suffix",
            f"'{target.path}' has the suffix '{_suffix(target.path)}'; expected {noun} in .npy, "
            ".npz, .safetensors, .txt, .csv, .tsv or .parquet: save them as one of these",
        )
    if target.key is not None and _suffix(target.path) in _TEXT:
        raise FileError(
            "no-keys", f"'{target.spec}' asks for '{target.key}', but a text file has no keys"
        )
    return target.spec, target.path, target.key


def _array(path: str, key: str | None, typed: str, expected: str) -> np.ndarray:
    layout = open_layout(path, key, typed, floats=False)
    if layout.stored.raw.kind not in "iu" or layout.stored.name == "bfloat16":
        raise LabelsError(
            "labels-not-integers",
            f"'{typed}' holds {layout.stored.name}, shape {layout.shape}; expected {expected}"
            + _advice(layout.stored.raw, layout.shape, expected),
        )
    return _int64(layout.load(f"'{typed}'"), typed)


def _int64(array: np.ndarray, typed: str) -> np.ndarray:
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        large = np.argwhere(array > np.uint64(_LIMIT.max))
        if large.size:
            raise LabelsError(
                "beyond-int64", f"'{typed}' holds a number beyond int64 in row {int(large[0][0])}"
            )
    return np.ascontiguousarray(array, dtype=np.int64)


def _text_columns(path: str, typed: str, width: int) -> np.ndarray:
    """Numbers of a text file, (lines, width)."""
    lines = read_text(path).split("\n")  # and no other sign: splitlines() ends lines at ten others
    separator = re.compile(r"\s*[,;\t]\s*|\s+" if width == 2 else r"\s*[,;\t]\s*")
    found: list[list[int]] = []
    header = width == 2 or _suffix(path) != ".txt"  # the first line with text may be one
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        cells = [cell.strip("\"'") for cell in separator.split(text)]
        may_be, header = header, False
        if may_be and len(cells) == width and not any(map(_number, cells)):
            continue
        values = [int(c) for c in cells if _WHOLE.fullmatch(c)]
        if len(cells) != width or len(values) != width:
            names = any(re.search(r"[^\W\d_]", cell) and not _number(cell) for cell in cells)
            raise LabelsError(
                "bad-line",
                f"'{typed}' has '{text[:40]}' in line {number}; expected "
                + ("one whole number" if width == 1 else "two whole numbers, query and candidate")
                + (f" in every line. {NUMBER_NAMES}" if names else " in every line: correct it"),
            )
        if not all(_LIMIT.min <= v <= _LIMIT.max for v in values):
            raise LabelsError(
                "beyond-int64", f"'{typed}' has a number beyond int64 in line {number}"
            )
        found.append(values)
    if not found:
        raise LabelsError(
            "no-numbers", f"'{typed}' holds no number; expected whole numbers, one row per line"
        )
    return np.array(found, np.int64).reshape(-1, width)


def _number(cell: str) -> bool:
    """Whether a cell is a number of any kind (then its line is no header), or nothing."""
    try:
        float(cell or "0")
    except ValueError:
        return False
    return True


def _parquet_columns(path: str, typed: str, names: Sequence[str] | None, width: int) -> np.ndarray:
    """Integer columns of a Parquet file, (rows, width)."""
    import pyarrow.types as pt

    what = f"'{typed}'"
    with parquet_file(path, what) as file:
        schema = file.schema_arrow
        if names is None:
            whole = [f.name for f in schema if pt.is_integer(f.type)]
            if width == 1:
                names = [choose_column(schema, what, path, None, pt.is_integer, "integers")]
            elif len(whole) == width:
                names = whole
            else:
                raise LabelsError(
                    "ambiguous-column",
                    f"{what} has {len(whole)} columns of integers; expected two, query row and "
                    f"candidate row: FILE:QUERY,CANDIDATE, out of: {', '.join(schema.names)}",
                )
        if len(names) != width:
            raise LabelsError(
                "unequal-lengths", f"{what} names {len(names)} columns; expected {width}"
            )
        picked = [choose_column(schema, what, path, name, pt.is_integer) for name in names]
        for name in picked:
            if not pt.is_integer(schema.field(name).type):
                raise LabelsError(
                    "labels-not-integers",
                    f"the column '{name}' of {what} holds {schema.field(name).type}; "
                    "expected integers: write row numbers",
                )
        table = file.read(columns=picked, use_threads=False)
    return np.stack([_no_nulls(table.column(n), n, typed) for n in picked], axis=1)


def _no_nulls(column: Any, name: str, typed: str) -> np.ndarray:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise LabelsError(
            "null-value",
            f"the column '{name}' of '{typed}' has a null in row {row}; drop or repair it",
        )
    return _int64(column.to_numpy(), typed)


def _stacked(values: Any, what: str, expected: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:
        raise LabelsError("ragged-rows", f"{what} is a ragged list; expected {expected}") from None


def _check_range(values: np.ndarray, size: int, what: str, of: str) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= size))
    if len(wrong):
        raise LabelsError(
            "row-out-of-range",
            f"{what}: {len(wrong)} value{'s' * (len(wrong) != 1)} out of range, first "
            f"{int(values[wrong[0]])} at {first_rows([int(i) for i in wrong[:5]], len(wrong))}; "
            f"there are {size} {of}, numbered from 0 to {size - 1}",
        )


def names_of(given: Any, rows: int, what: str) -> np.ndarray:
    """Names (n,) of rows as strings, from a sequence of words or whole numbers, or a file.

    Files: ``.txt``, ``.csv`` and ``.tsv`` with one name per line (one line too many is a header),
    ``.npy`` of strings or integers, ``.parquet:COLUMN``, and what ``read_labels`` reads.

    Args:
        rows: how many there must be. what: what a refusal calls them.

    Raises:
        LabelsError: not names, or another number. FileError: a file that cannot be read.
    """
    names = np.asarray(_read(given) if isinstance(given, (str, os.PathLike)) else given)
    if names.ndim != 1 or names.dtype.kind not in "iuUSOb":
        raise LabelsError(
            "not-names",
            f"{what}: shape {names.shape}, dtype {names.dtype}; expected one word or whole number "
            "per row",
        )
    if isinstance(given, (str, os.PathLike)) and names.dtype.kind == "U" and len(names) == rows + 1:
        names = names[1:]  # a header
    if len(names) != rows:
        raise LabelsError(
            "unequal-lengths", f"{len(names)} {what} for {rows} rows; expected one for each row"
        )
    listed = names.tolist()
    if None in listed:
        raise LabelsError(
            "null-value", f"{what}: row {listed.index(None)} has none; name every row"
        )
    return np.array([str(name) for name in listed], dtype=np.str_)


def _read(spec: str | os.PathLike[str]) -> Any:
    target = split_spec(spec)
    what, suffix = f"'{target.spec}'", _suffix(target.path)
    if target.shards is not None:
        return read_labels(spec)
    if suffix in _TEXT and target.key is None:
        lines = read_text(target.path).split("\n")
        return np.array([line.strip().strip("\"'") for line in lines if line.strip()])
    if suffix == ".npy" and target.key is None:
        layout = open_layout(target.path, None, target.spec, floats=False)
        if layout.stored.raw.kind in "iuUSb":
            return layout.load(what)
        raise LabelsError("not-names", f"{what} holds {layout}; expected words or whole numbers")
    if is_parquet(target.path):
        with parquet_file(target.path, what) as file:
            name = choose_column(file.schema_arrow, what, target.path, target.key, of="names")
            return np.array(file.read(columns=[name]).column(0).to_pylist(), dtype=object)
    return read_labels(spec)
