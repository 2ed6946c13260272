"""Saved records: what is loaded is what was saved, and every part is looked at."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.data.saved import SavedRecord
from isthmus.errors import CorruptFile
from refusals import refused
from saved_records import put_together, records, taken_apart

OPTIONAL = {
    "created_by", "version", "facts", "memo", "tensors", "by_size", "kinds", "recipe", "dim",
    "dimensions", "method", "inputs", "active", "normalised",
}  # fmt: skip
"""Parts that files of older versions may lack, that say the same twice, or that some lack."""
KINDS = sorted(records())


def written(folder: Path, name: str) -> tuple[type[SavedRecord], Path]:
    record, suffix = records()[name]
    return type(record), record.save(folder / f"saved{suffix}")


@pytest.mark.parametrize("name", KINDS)
def test_what_is_loaded_is_what_was_saved(name: str, tmp_path: Path) -> None:
    kind, path = written(tmp_path, name)
    again = kind.load(path).save(tmp_path / f"again{path.suffix}")
    assert again.read_bytes() == path.read_bytes()
    loaded, original = kind.load(again), records()[name][0]
    wanted = original._parts()[1]
    for key, array in loaded._parts()[1].items():
        np.testing.assert_array_equal(array, wanted.pop(key))
    assert not wanted


def damages(arrays: dict[str, np.ndarray], fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """One fault each: a part left out, of another kind, not finite, or of another length."""
    for key, array in arrays.items():
        yield f"tensor {key} left out", ({k: v for k, v in arrays.items() if k != key}, fields)
        if array.ndim and array.size > 1:
            yield f"tensor {key} cut", (arrays | {key: array[:-1]}, fields)
        if array.dtype.kind == "f" and array.size:
            bad = array.copy()
            bad.flat[-1] = np.nan
            yield f"tensor {key} NaN", (arrays | {key: bad}, fields)
    for key, value in fields.items():
        inner = value if isinstance(value, dict) else {}
        for name in inner if key in ("about", "canary") else ():
            if name not in (*OPTIONAL, "isthmus", "schema"):
                less = {k: v for k, v in inner.items() if k != name}
                yield f"{key}.{name} left out", (arrays, fields | {key: less})
        if key in OPTIONAL:
            continue
        if key != "schema" or "name" in fields:
            yield f"{key} left out", (arrays, {k: v for k, v in fields.items() if k != key})
        if key != "name":  # any text is a name
            yield f"{key} is a list", (arrays, fields | {key: [[None]]})


@pytest.mark.parametrize("name", KINDS)
def test_every_part_is_looked_at(name: str, tmp_path: Path) -> None:
    kind, path = written(tmp_path, name)
    arrays, fields = taken_apart(path)
    kind.load(path)
    for what, (some, others) in damages(arrays, copy.deepcopy(fields)):
        put_together(path, some, others)
        with refused(_code(what, kind), path.name, kind=CorruptFile):
            kind.load(path)
            pytest.fail(f"{name}: {what} was not noticed")


def _code(what: str, kind: type[SavedRecord]) -> str:
    if what.startswith("isthmus "):
        return "wrong-kind"
    return "unknown-version" if what.startswith("schema ") else "damaged-file"


@pytest.mark.parametrize("name", KINDS)
def test_another_version_kind_or_encoding_is_refused(name: str, tmp_path: Path) -> None:
    kind, path = written(tmp_path, name)
    arrays, fields = taken_apart(path)
    fields.get(kind.NESTED, fields)["schema"] = 2
    put_together(path, arrays, fields)
    with refused("unknown-version", "schema 2; this version reads 1"):
        kind.load(path)
    put_together(path, arrays, fields | {"isthmus": "report"})
    with refused("wrong-kind", f"no {kind.KIND} (its header says report)"):
        kind.load(path)
    path.write_bytes(b"\xff\xfe{}")
    with refused("not-utf8" if path.suffix == ".json" else "wrong-kind"):
        kind.load(path)
    with refused("no-such-file", "none"):
        kind.load(path.with_stem("none"))
    with refused("unknown-suffix", kind.KIND, kind.SUFFIXES[0]):
        records()[name][0].save(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"score": "hamming"}, "score is 'hamming'"),
        ({"strength": "NaN"}, "NaN is no number of JSON"),
        ({"memo": -1}, "memo is -1"),
        ({"memo": 99}, "memo is 99 of 6"),
        ({"guarantee": {"score": "dot", "kind": "perhaps", "condition": ""}}, "'perhaps'"),
        ({"sides": {"query": {"dim": 6, "unit_in": "no", "unit_out": False}}}, "unit_in is 'no'"),
    ],
)
def test_values_of_a_closer_are_looked_at(
    change: dict[str, Any], fact: str, tmp_path: Path
) -> None:
    kind, path = written(tmp_path, "closer center-queries")
    arrays, fields = taken_apart(path)
    put_together(path, arrays, fields | change)
    with refused("damaged-file", fact):
        kind.load(path)


def test_files_of_before_the_schema_are_read(tmp_path: Path) -> None:
    """Moments had no schema, and no file said which tensors it has."""
    for name, lacking in (("moments", ("schema", "tensors")), ("closer realign", ("tensors",))):
        kind, path = written(tmp_path, name)
        arrays, fields = taken_apart(path)
        put_together(path, arrays, {k: v for k, v in fields.items() if k not in lacking})
        loaded, original = kind.load(path)._parts(), records()[name][0]._parts()
        for key, array in loaded[1].items():
            np.testing.assert_array_equal(array, original[1][key])
