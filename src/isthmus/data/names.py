"""Names of rows: small files of one word or whole number per row."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from isthmus.data.file_errors import read_text
from isthmus.data.labels import read_labels
from isthmus.data.opening import open_layout
from isthmus.data.parquet import choose_column, is_parquet, parquet_file
from isthmus.data.targets import split_spec
from isthmus.errors import LabelsError

_TEXT = (".txt", ".csv", ".tsv")


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
    suffix = os.path.splitext(target.path)[1].lower()
    if target.shards is None and suffix in _TEXT and target.key is None:
        lines = read_text(target.path).split("\n")
        return np.array([line.strip().strip("\"'") for line in lines if line.strip()])
    if target.shards is None and suffix == ".npy" and target.key is None:
        layout = open_layout(target.path, None, target.spec, floats=False)
        if layout.stored.raw.kind in "iuUSb":
            return layout.load(f"'{target.spec}'")
        raise LabelsError(
            "not-names", f"'{target.spec}' holds {layout}; expected words or whole numbers"
        )
    if target.shards is None and is_parquet(target.path):
        with parquet_file(target.path, f"'{target.spec}'") as file:
            what = f"'{target.spec}'"
            name = choose_column(file.schema_arrow, what, target.path, target.key, of="names")
            return np.array(file.read(columns=[name]).column(0).to_pylist(), dtype=object)
    return read_labels(spec)
