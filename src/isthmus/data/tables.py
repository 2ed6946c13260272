"""Rows in text and Arrow tables: JSON, JSON lines, CSV and TSV, Arrow and Feather, read whole.

What is a vector: a list of numbers in one column or key, or one column of numbers for each
dimension. Ids come from a column ``id``, ``_id`` or ``ids`` beside them, or from the keys of an
object of vectors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.data.columns import find_vectors, holds_vectors
from isthmus.data.file_errors import choose, damaged, file_size, parse_json, read_json, read_text
from isthmus.data.ids import checked_ids
from isthmus.data.remote import is_remote, open_binary
from isthmus.data.source import IDS, VECTORS
from isthmus.errors import CorruptFile, FileError, ShapeError, ValuesError

Found = tuple[np.ndarray, np.ndarray | None]
"""Rows (n, d), and their ids (n,) or None."""
NOT_DIMENSIONS = (*IDS, "", "index", "label", "labels", "class", "target", "Unnamed: 0")
"""Columns of numbers that are no dimension."""


def read_json_rows(path: str, key: str | None, what: str) -> Found:
    """A list of lists, a list of objects, an object of vectors, or of columns."""
    found = parse_json(read_text(path), what)
    if isinstance(found, dict):
        return _object(found, key, what, path)
    if not isinstance(found, list):
        raise _no_rows(what)
    return _list(found, key, what, path)


def read_json_lines(path: str, key: str | None, what: str) -> Found:
    """One list or object a line."""
    lines = [line for line in read_text(path).split("\n") if line.strip()]
    return _list([parse_json(line, what) for line in lines], key, what, path)


def _object(found: dict[str, Any], key: str | None, what: str, path: str) -> Found:
    whole = {k: v for k, v in found.items() if _is_matrix(v)}
    if key is not None or whole:
        entries = {k: ("" if k in whole else "-") + type(v).__name__ for k, v in found.items()}
        named = key or next((k for k in VECTORS if k in whole), None)
        chosen = choose(what, f"'{path}'", named, entries, "key")
        ids = next((found[k] for k in IDS if isinstance(found.get(k), list)), None)
        return _matrix(found[chosen], what), checked_ids(ids, what, len(found[chosen]))
    if found and all(_is_vector(v) for v in found.values()):
        return _matrix(list(found.values()), what), np.array(list(found))
    raise _no_rows(what)


def _list(found: list[Any], key: str | None, what: str, path: str) -> Found:
    if found and all(isinstance(one, dict) for one in found):
        entries = {
            k: ("" if _is_vector(v) else "-") + type(v).__name__ for k, v in found[0].items()
        }
        fit = [k for k, v in entries.items() if not v.startswith("-")]
        named = key or next((k for k in VECTORS if k in fit), None)
        chosen = choose(what, f"'{path}'", named, entries, "key")
        missing = [i for i, one in enumerate(found) if chosen not in one]
        if missing:
            raise ValuesError("missing-vector", f"{what}: object {missing[0]} has no '{chosen}'")
        named_id = next((k for k in IDS if all(k in one for one in found)), None)
        ids = None if named_id is None else [one[named_id] for one in found]
        return _matrix([one[chosen] for one in found], what), checked_ids(ids, what, len(found))
    if key is not None:
        raise FileError("no-keys", f"{what} asks for the key '{key}', but it holds lists alone")
    return _matrix(found, what), None


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_number(v) for v in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_matrix(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_vector(v) for v in value)


def _matrix(rows: Sequence[Any], what: str) -> np.ndarray:
    for i, row in enumerate(rows):
        if not _is_vector(row):
            raise ValuesError("not-a-vector", f"{what}: row {i} is no list of numbers")
        if len(row) != len(rows[0]):
            raise ShapeError(
                "unequal-dimensions",
                f"{what}: row 0 has {len(rows[0])} dimensions and row {i} has {len(row)}",
            )
    if not rows:
        raise _no_rows(what)
    try:
        return np.array(rows, np.float64)
    except OverflowError:
        raise ValuesError("not-finite", f"{what} holds an integer beyond float64") from None


def _no_rows(what: str) -> FileError:
    return FileError(
        "no-key",
        f"{what} holds no rows; expected a list of lists of numbers, objects with 'embedding' or "
        "'vector', or an object of vectors by id",
    )


def read_csv(path: str, key: str | None, what: str) -> Found:
    """One column a dimension, or lists in the cells of one column; with or without a header."""
    import pyarrow as pa
    from pyarrow import csv

    text = read_text(path)
    first = text.split("\n", 1)[0]
    mark = "\t" if path.lower().endswith(".tsv") or "\t" in first else ","
    names = [name.strip().strip('"') for name in first.split(mark)]
    plain = all(_parses(name) for name in names)
    try:
        table = csv.read_csv(
            pa.py_buffer(text.encode()),
            read_options=csv.ReadOptions(autogenerate_column_names=plain),
            parse_options=csv.ParseOptions(delimiter=mark, newlines_in_values=True),
        )
    except pa.ArrowException as wrong:
        raise CorruptFile("damaged-file", f"{what} is no table ({wrong}); write it again") from None
    return table_rows(table, key, what, path)


def _parses(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_arrow(path: str, key: str | None, what: str) -> Found:
    """An Arrow file or stream, Feather, or a folder's shard of ``datasets``."""
    return table_rows(arrow_table(path, what), key, what, path)


def arrow_table(path: str, what: str) -> Any:
    """An Arrow file or stream as a ``pyarrow.Table``, mapped. Raises CorruptFile."""
    import pyarrow as pa

    file_size(path)
    try:
        away = is_remote(path)
        with open_binary(path, buffered=False) if away else pa.memory_map(path) as source:
            magic = source.read(6)
            source.seek(0)
            opened = pa.ipc.open_file if magic == b"ARROW1" else pa.ipc.open_stream
            table = opened(source).read_all()
            table.validate(full=True)
            return table
    except (pa.ArrowException, OSError, ValueError) as wrong:
        raise damaged(what, "Arrow file") from wrong


def table_rows(table: Any, key: str | None, what: str, path: str) -> Found:
    """Rows of an Arrow table: vectors of :mod:`isthmus.data.columns`, lists of whole numbers, texts
    of lists, or columns of numbers."""
    import pyarrow.types as pt

    schema = table.schema
    ids = next((table[name].to_pylist() for name in IDS if name in schema.names), None)
    known_ids = checked_ids(ids, what, table.num_rows)
    texts = [f.name for f in schema if pt.is_string(f.type) and _text_of_list(table[f.name])]
    whole = [f.name for f in schema if _lists(f.type) and pt.is_integer(f.type.value_type)]
    lists = [f.name for f in schema if _lists(f.type)]
    named = key or next((name for name in VECTORS if name in (*lists, *texts)), None)
    if named not in (*texts, *whole) and (named is not None or holds_vectors(schema)):
        vectors = find_vectors(schema, what, path, named)
        return vectors.read(table, 0, what, None), known_ids
    if texts or whole:
        fit = (*texts, *whole)
        entries = {f.name: ("" if f.name in fit else "-") + str(f.type) for f in schema}
        chosen = choose(what, f"'{path}'", named, entries, "column")
        cells = table[chosen].to_pylist()
        return _matrix(
            [_parsed(c, what) for c in cells] if chosen in texts else cells, what
        ), known_ids
    numbers = [
        f.name
        for f in table.schema
        if (pt.is_floating(f.type) or pt.is_integer(f.type)) and f.name not in NOT_DIMENSIONS
    ]
    if not numbers or table.num_rows == 0:
        raise FileError("no-column", f"{what} has no column of lists or numbers")
    holes = [name for name in numbers if table[name].null_count]
    if holes:
        raise ValuesError("missing-values", f"{what}: column '{holes[0]}' has empty cells")
    columns = [table[name].to_numpy().astype(np.float64) for name in numbers]
    return np.stack(columns, axis=1), known_ids


def _lists(kind: Any) -> bool:
    import pyarrow.types as pt

    nested = pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)
    return nested and (pt.is_floating(kind.value_type) or pt.is_integer(kind.value_type))


def _text_of_list(column: Any) -> bool:
    first = next((cell.as_py() for cell in column if cell.is_valid), "")
    return str(first).strip().startswith("[")


def _parsed(cell: Any, what: str) -> Any:
    """A list in a cell, with commas or, as NumPy prints it, with spaces."""
    text = str(cell).strip()
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [float(word) for word in text.strip("[]").split()]
    except ValueError:
        raise ValuesError("not-a-vector", f"{what}: a cell is no list: {text[:40]}") from None


def dataset_files(folder: str) -> tuple[str, ...] | None:
    """The Arrow files of a folder as ``datasets.save_to_disk`` leaves it, in their order; None
    where it is none. Files of its cache, which lie beside, are not among them.

    Raises:
        FileError: a folder of several splits. CorruptFile: a list of files that is damaged.
    """
    splits, state = (os.path.join(folder, name) for name in ("dataset_dict.json", "state.json"))
    if os.path.isfile(splits):
        names = read_json(splits).get("splits") or ["?"]
        raise FileError(
            "several-splits",
            f"'{folder}' holds {len(names)} splits of a data set; name one: "
            f"'{os.path.join(folder, str(names[0]))}'",
        )
    if not os.path.isfile(state):
        return None
    listed = read_json(state)
    listed = listed.get("_data_files") if isinstance(listed, dict) else None
    if not isinstance(listed, list):
        return None
    names = [one.get("filename") if isinstance(one, dict) else None for one in listed]
    if not names or any(not isinstance(n, str) or os.path.basename(n) != n for n in names):
        raise CorruptFile("damaged-file", f"'{state}' does not list the files of a data set")
    return tuple(os.path.join(folder, str(name)) for name in names)


def single_vectors(paths: Sequence[str]) -> bool:
    """Whether every file is a ``.npy`` of one axis: one vector a file. Reads headers only."""
    from isthmus.data.npy import npy_layout

    return all(
        path.lower().endswith(".npy") and len(npy_layout(path, f"'{path}'").shape) == 1
        for path in paths
    )


def one_vector_a_file(paths: Sequence[str], what: str) -> Found | None:
    """Rows of ``.npy`` files of one vector each, with the files' stems as ids; None if not so."""
    if not single_vectors(paths):
        return None
    vectors = [np.load(path, allow_pickle=False) for path in paths]
    widths = sorted({len(vector) for vector in vectors})
    if len(widths) > 1:
        raise ShapeError("unequal-dimensions", f"{what} holds vectors of {widths[:4]} dimensions")
    return np.stack(vectors), np.array([os.path.splitext(os.path.basename(p))[0] for p in paths])
