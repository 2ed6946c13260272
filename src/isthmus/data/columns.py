"""Vectors in an Arrow schema, as Parquet, Arrow and Lance hold them: which columns, and their rows.

A vector is a list (of one length or any), a tensor of fixed shape, raw little-endian float32 bytes,
or one column of floats for each dimension; lists, tensors and bytes may be fields of a struct
(``FILE:OUTER.INNER``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.dtypes import FLOATS
from isthmus.data.file_errors import choose
from isthmus.data.source import VECTORS
from isthmus.errors import DtypeError, FileError, ShapeError, ValuesError

BYTES = "bytes"


@dataclass(frozen=True)
class Vectors:
    """Where the vectors of a table stand.

    Attributes:
        columns: what to read, ``a``, ``a.b`` or one name a dimension. inside: fields of a struct to
            step into. number: float16, float32 or float64. dim: None where rows must be asked.
        kind: ``lists``, ``bytes`` or ``numbers`` (one column a dimension).
    """

    columns: tuple[str, ...]
    inside: tuple[str, ...]
    number: str
    dim: int | None
    kind: str = "lists"

    def read(self, batch: Any, at: int, what: str, dim: int | None) -> np.ndarray:
        """Rows (k, dim) of a batch or table whose first row has the number ``at``.

        Raises:
            ValuesError: a row without a vector, or a null in it. ShapeError: another length.
        """
        if self.kind == "numbers":
            found = [_plain(batch.column(name)) for name in self.columns]
            for column, name in zip(found, self.columns, strict=True):
                if column.null_count:
                    raise ValuesError(
                        "null-value", f"{what} has a null in row {at + _null(column)} of '{name}'"
                    )
            return np.stack([c.to_numpy(zero_copy_only=False) for c in found], axis=1).astype(
                self.number, copy=False
            )
        cells = _plain(
            batch.column(self.columns[0].split(".")[0] if self.inside else self.columns[0])
        )
        if self.inside:
            import pyarrow.compute as pc

            cells = pc.struct_field(cells, list(self.inside))
        cells = getattr(cells, "storage", cells)
        if cells.null_count:
            raise ValuesError(
                "null-value", f"{what} has no vector (null) in row {at + _null(cells)}; drop it"
            )
        return (
            _of_bytes(cells, at, what, dim)
            if self.kind == BYTES
            else _of_lists(cells, at, what, dim)
        )


def find_vectors(schema: Any, what: str, path: str, key: str | None) -> Vectors:
    """The one column (or group of columns) that is meant; ``key`` names a column, a field of a
    struct, or what stands before the numbers of columns that are one dimension each.

    Raises:
        FileError: missing, unknown, ambiguous, or two columns of one name. DtypeError: no floats.
    """
    import pyarrow.types as pt

    fields = dict(_fields(schema))
    for name in schema.names:
        if schema.names.count(name) > 1 and key in (None, name) and number_column(fields[name]):
            raise FileError(
                "duplicate-column",
                f"{what} has {schema.names.count(name)} columns with the name '{name}'; rename "
                "them, or write the one that is meant on its own",
            )
    lists = [name for name, type_ in fields.items() if number_column(type_) in FLOATS]
    raw = [name for name, type_ in fields.items() if _is_bytes(type_) and name in (key, *VECTORS)]
    spread = [] if key in fields or (key is None and (lists or raw)) else _numbered(schema, key)
    if spread:
        number = np.result_type(*(_FLOAT[str(fields[name])] for name in spread)).name
        return Vectors(tuple(spread), (), number, len(spread), "numbers")
    fit = lists or raw
    entries = {n: ("" if n in fit else "-") + str(type_) for n, type_ in fields.items()}
    column = choose(what, f"'{path}'", key, entries, "column")
    type_ = _storage(fields[column])
    inside = () if column in schema.names else tuple(column.split(".")[1:])
    if _is_bytes(type_):
        width = type_.byte_width if pt.is_fixed_size_binary(type_) else None
        return Vectors((column,), inside, "float32", width and width // 4, BYTES)
    found = number_column(type_)
    if found is None or found not in FLOATS:
        raise DtypeError(
            "not-floats",
            f"the column '{column}' of '{path}' holds {type_}; expected lists of float16, "
            "float32 or float64: write one list of floats per row",
        )
    dim = int(type_.list_size) if pt.is_fixed_size_list(type_) else None
    return Vectors((column,), inside, found, dim)


def holds_vectors(schema: Any) -> bool:
    """Whether some column, or field of a struct, is a vector by itself."""
    return any(
        number_column(type_) in FLOATS or (_is_bytes(type_) and name in VECTORS)
        for name, type_ in _fields(schema)
    )


_FLOAT = {"halffloat": "float16", "float": "float32", "double": "float64"}


def number_column(type_: Any) -> str | None:
    """The number format of a column of lists as NumPy calls it, or None where it is no list."""
    import pyarrow.types as pt

    type_ = _storage(type_)
    if not (pt.is_list(type_) or pt.is_large_list(type_) or pt.is_fixed_size_list(type_)):
        return None
    return _FLOAT.get(str(type_.value_type), str(type_.value_type))


def _storage(type_: Any) -> Any:
    return getattr(type_, "storage_type", type_)


def _is_bytes(type_: Any) -> bool:
    import pyarrow.types as pt

    return pt.is_binary(type_) or pt.is_large_binary(type_) or pt.is_fixed_size_binary(type_)


def _fields(schema: Any) -> Iterator[tuple[str, Any]]:
    """Columns, and after each struct its fields as ``OUTER.INNER``."""
    import pyarrow.types as pt

    for field in schema:
        yield field.name, field.type
        if pt.is_struct(field.type):
            for name, type_ in _fields(list(field.type)):
                yield f"{field.name}.{name}", type_


def _numbered(schema: Any, stem: str | None) -> list[str]:
    """Columns of floats whose names differ by a number alone, in its order: all of them, or none
    where two such groups could be meant."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for field in schema:
        found = re.fullmatch(r"(.*?)([0-9]+)", field.name)
        if found and str(field.type) in _FLOAT:
            groups.setdefault(found[1], []).append((int(found[2]), field.name))
    if stem is not None:
        groups = {
            name: group
            for name, group in groups.items()
            if name.rstrip("_.-") == stem.rstrip("_.-")
        }
    several = [group for group in groups.values() if len(group) > 1]
    return [name for _, name in sorted(several[0])] if len(several) == 1 else []


def _plain(column: Any) -> Any:
    """One array of a batch's or table's column."""
    if not hasattr(column, "combine_chunks") or not hasattr(column, "chunks"):
        return column
    whole = column.combine_chunks()
    if hasattr(whole, "chunks"):  # pyarrow before 17 gives chunks back
        import pyarrow as pa

        return pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    return whole


def _null(cells: Any) -> int:
    return int(np.flatnonzero(cells.is_null().to_numpy(zero_copy_only=False))[0])


def _of_lists(lists: Any, at: int, what: str, dim: int | None) -> np.ndarray:
    import pyarrow.types as pt

    if pt.is_fixed_size_list(lists.type):
        dim = int(lists.type.list_size)
    else:
        lengths = np.diff(lists.offsets.to_numpy())
        dim = (int(lengths[0]) if len(lengths) else 0) if dim is None else dim
        uneven = np.flatnonzero(lengths != dim)
        if uneven.size:
            row = int(uneven[0])
            raise ShapeError(
                "unequal-dimensions",
                f"{what}: row {at + row} holds {lengths[row]} numbers, row 0 {dim}",
            )
    values = lists.flatten()
    if values.null_count:
        row = at + _null(values) // dim
        raise ValuesError(
            "null-value", f"{what} has a null in the vector of row {row}; drop or repair that row"
        )
    return values.to_numpy(zero_copy_only=False).reshape(len(lists), dim)


def _of_bytes(cells: Any, at: int, what: str, dim: int | None) -> np.ndarray:
    """Rows of raw little-endian float32."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.binary_length(cells).to_numpy(zero_copy_only=False)
    width = (int(lengths[0]) if len(lengths) else 0) if dim is None else 4 * dim
    uneven = np.flatnonzero(lengths != width)
    if uneven.size or width % 4:
        row = int(uneven[0]) if uneven.size else 0
        raise ShapeError(
            "unequal-dimensions",
            f"{what}: row {at + row} holds {lengths[row]} bytes, row 0 {width}; expected the "
            "float32 values of one vector, 4 bytes each, in every row",
        )
    if not width:
        return np.empty((len(cells), 0), np.float32)
    fixed = cells if pa.types.is_fixed_size_binary(cells.type) else cells.cast(pa.binary(width))
    start, data = fixed.offset * width, fixed.buffers()[1]
    flat = np.frombuffer(data, "<f4", len(fixed) * width // 4, start)
    return flat.reshape(len(fixed), width // 4)
