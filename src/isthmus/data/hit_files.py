"""Lists of candidates of each query as files: a line a query and place, or a run of TREC."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import numpy as np

from isthmus.data.atomic import atomic_path
from isthmus.errors import CorruptFile, OptionError

RUNS = (".trec", ".run")
HIT_FILES = (".parquet", ".csv", ".tsv", ".jsonl", ".npz", *RUNS)
"""Suffixes that are written, and read as lists of neighbours."""
TAG = "isthmus"


def write_hits(
    path: str | os.PathLike[str], columns: Mapping[str, np.ndarray], *, distances: bool
) -> None:
    """Write columns (m,) ``query`` (row), ``candidate``, ``score``, ``rank`` and perhaps
    ``query_id``, in order of query and rank, in the format of the suffix.

    A run of TREC names a query by its id, where it has one, and has scores that fall: where
    ``distances``, their negatives.

    Raises:
        OptionError: an id with a space in a run. FileError: the file cannot be written.
    """
    suffix = os.path.splitext(path)[1].lower()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if suffix == ".npz":
            np.savez(file, **columns)  # type: ignore[arg-type]
        elif suffix in RUNS:
            file.writelines(_run_lines(columns, -1 if distances else 1))
        elif suffix == ".jsonl":
            listed = [values.tolist() for values in columns.values()]
            for line in zip(*listed, strict=True):
                one = dict(zip(columns, line, strict=True))
                file.write(json.dumps(one, ensure_ascii=False).encode() + b"\n")
        else:
            import pyarrow as pa
            from pyarrow import csv, parquet

            table = pa.table({name: pa.array(values.tolist()) for name, values in columns.items()})
            if suffix == ".parquet":
                parquet.write_table(table, file)
            else:
                sign = "\t" if suffix == ".tsv" else ","
                csv.write_csv(table, file, csv.WriteOptions(delimiter=sign))


def _run_lines(columns: Mapping[str, np.ndarray], sign: int) -> list[bytes]:
    """``query Q0 candidate rank score tag``, ranks from 1."""
    asked = columns.get("query_id", columns["query"])
    lines = []
    for q, c, rank, score in zip(
        asked.tolist(),
        columns["candidate"].tolist(),
        columns["rank"].tolist(),
        columns["score"].tolist(),
        strict=True,
    ):
        spaced = next((one for one in (str(q), str(c)) if len(one.split()) != 1), None)
        if spaced is not None:
            raise OptionError(
                "id-with-space",
                f"a run of TREC parts its columns by spaces, and the id '{spaced}' has some or is "
                "empty; write .parquet, .csv, .jsonl or .npz",
            )
        lines.append(f"{q} Q0 {c} {rank} {sign * score!r} {TAG}\n".encode())
    return lines


def read_run(text: str, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries and candidates as words, and scores, of the lines of a run of TREC.

    Raises:
        CorruptFile: a line that has other than six columns, or a score that is no number.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    try:
        if wrong := [i for i, line in enumerate(lines) if len(line) != 6]:
            raise ValueError(f"line {wrong[0] + 1} has {len(lines[wrong[0]])} columns")
        scores = np.array([float(line[4]) for line in lines])
    except ValueError as error:
        raise CorruptFile(
            "damaged-file",
            f"{what}: {error}; expected a run of TREC, six columns a line: query, Q0, candidate, "
            "rank, score, name",
        ) from error
    return (*(np.array([line[i] for line in lines], np.str_) for i in (0, 2)), scores)  # type: ignore[return-value]
