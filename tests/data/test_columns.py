"""Vectors in tables, whatever the column that holds them; folders of data sets; unread files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data import open_rows
from isthmus.data.unread import UNREAD
from refusals import refused

ROWS = np.random.default_rng(0).normal(size=(23, 6)).astype(np.float32)
NAMES = [f"item {i}" for i in range(23)]
FLAT = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.reshape(-1)), 6)
RAW = [row.tobytes() for row in ROWS]


def tensors(shape: tuple[int, ...]) -> Any:
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), shape), FLAT)


def spread(stem: str, number: str = "float32") -> dict[str, Any]:
    """One column a dimension, in an order that is not theirs."""
    order = [3, 0, 5, 1, 4, 2]
    return {f"{stem}{i}": pa.array(ROWS[:, i], number) for i in order}


STRUCT = pa.StructArray.from_arrays([FLAT, pa.array(NAMES)], ["values", "text"])
DEEP = pa.StructArray.from_arrays([STRUCT], ["clip"])


def save(path: Path, columns: dict[str, Any]) -> Path:
    table = pa.table({"id": NAMES, "price": pa.array(ROWS[:, 0]), **columns})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=9)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
            out.write_table(table, max_chunksize=9)
    return path


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({"v": FLAT}, ""),
        ({"v": FLAT.cast(pa.list_(pa.float32()))}, ""),
        ({"v": tensors((6,))}, ""),
        ({"v": tensors((2, 3))}, ":v"),
        ({"v": STRUCT}, ""),
        ({"v": STRUCT}, ":v.values"),
        ({"v": DEEP}, ":v.clip.values"),
        ({"embedding": pa.array(RAW)}, ""),
        ({"vector": pa.array(RAW, pa.large_binary())}, ""),
        ({"picture": pa.array(RAW, pa.binary(24))}, ":picture"),
        ({"w": FLAT, "embedding": pa.array([b"x"] * 23)}, ":w"),
        (spread("dim_"), ":dim"),
        ({**spread("a"), **spread("b", "float64")}, ":a"),
    ],
)
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_vectors_of_every_kind_of_column(
    tmp_path: Path, name: str, columns: dict[str, Any], key: str
) -> None:
    found = open_rows(f"{save(tmp_path / name, columns)}{key}")
    assert (found.rows, found.dim, found.dtype) == (23, 6, "float32")
    np.testing.assert_array_equal(found.read(), ROWS)
    np.testing.assert_array_equal(np.concatenate([b.copy() for b in found.blocks(5)]), ROWS)
    np.testing.assert_array_equal(found.take([20, 3, 3]), ROWS[[20, 3, 3]])
    assert found.ids is not None
    assert found.ids.tolist() == NAMES


def test_columns_of_dimensions_in_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": range(23), **spread("emb_")}), tmp_path / "x.parquet")
    np.testing.assert_array_equal(open_rows(tmp_path / "x.parquet").read(), ROWS)
    mixed = {**spread("a"), "a9": pa.array(ROWS[:, 0], pa.float64())}
    pq.write_table(pa.table(mixed), tmp_path / "m.parquet")
    found = open_rows(tmp_path / "m.parquet")
    assert (found.dtype, found.dim) == ("float64", 7)
    prices = pa.table({"price": pa.array(ROWS[:, 0]), "weight": pa.array(ROWS[:, 1])})
    pq.write_table(prices, tmp_path / "p.parquet")
    with refused("no-column", "'price' (float)"):
        open_rows(tmp_path / "p.parquet")


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_columns_that_are_no_vectors(tmp_path: Path, name: str) -> None:
    def opened(columns: dict[str, Any], key: str = "") -> None:
        open_rows(f"{save(tmp_path / name, columns)}{key}").read()

    with refused("unequal-dimensions", "row 4 holds 20 bytes, row 0 24"):
        opened({"embedding": pa.array([*RAW[:4], RAW[4][:20], *RAW[5:]])})
    with refused("unequal-dimensions", "4 bytes each"):
        opened({"embedding": pa.array([b"abc"] * 23)})
    with refused("null-value", "row 11"):
        opened({"v": pa.array([*ROWS[:11].tolist(), None, *ROWS[12:].tolist()])})
    with refused("null-value", "the vector of row 11"):
        bad = ROWS.astype(object)
        bad[11, 2] = None
        opened({"v": pa.array(bad.tolist(), pa.list_(pa.float32()))})
    with refused("null-value", "row 2"):
        columns = spread("d")
        columns["d4"] = pa.array([*ROWS[:2, 4], None, *ROWS[3:, 4]], pa.float32())
        opened(columns, ":d")
    with refused("unknown-column", "'v.nothing'"):
        opened({"v": STRUCT}, ":v.nothing")
    with refused("null-value", "row 1"):
        opened({"v": pa.array([{"x": [1.0]}, None, *[{"x": [2.0]}] * 21])}, ":v.x")


def dataset(folder: Path, parts: int = 2) -> Path:
    """A folder as datasets.save_to_disk writes it, and a file of its cache."""
    folder.mkdir()
    table = pa.table({"id": NAMES, "embedding": FLAT})
    cut = -(-23 // parts)
    files = []
    for i in range(parts):
        files.append(f"data-{i:05d}-of-{parts:05d}.arrow")
        with pa.ipc.new_stream(str(folder / files[-1]), table.schema) as out:
            out.write_table(table.slice(i * cut, cut))
    (folder / "cache-0123456789abcdef.arrow").write_bytes(b"not to be read")
    listed = {"_data_files": [{"filename": name} for name in files], "_split": None}
    (folder / "state.json").write_text(json.dumps(listed))
    return folder


def test_a_folder_of_a_data_set(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "train")
    for spec in (str(folder), f"{folder}:embedding"):
        found = open_rows(spec)
        np.testing.assert_array_equal(found.read(), ROWS)
        assert found.dtype == "float32"
        assert found.ids is not None
        assert found.ids.tolist() == NAMES
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with refused("several-splits", "2 splits", f"'{folder}'"):
        open_rows(tmp_path)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "../secret.arrow"}]}')
    with refused("damaged-file", "does not list"):
        open_rows(folder)


@pytest.mark.stores
def test_a_folder_that_datasets_wrote(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"id": NAMES, "embedding": ROWS.tolist()})
    made.save_to_disk(tmp_path / "d", num_shards=3)
    found = open_rows(tmp_path / "d")
    want = np.array(datasets.load_from_disk(str(tmp_path / "d"))["embedding"])
    np.testing.assert_array_equal(found.read(), want)
    assert found.ids is not None
    assert found.ids.tolist() == NAMES
    made.shuffle(seed=1).save_to_disk(tmp_path / "e")
    want = np.array(datasets.load_from_disk(str(tmp_path / "e"))["embedding"])
    np.testing.assert_array_equal(open_rows(tmp_path / "e").read(), want)
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "s"))
    with refused("several-splits", "1 splits", "train"):
        open_rows(tmp_path / "s")


@pytest.mark.stores
def test_a_lance_data_set(tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")
    table = pa.table({"id": NAMES, "vector": FLAT, "other": FLAT})
    lance.write_dataset(table, str(tmp_path / "x.lance"), max_rows_per_file=9)
    for key in ("", ":vector", ":other"):
        found = open_rows(f"{tmp_path}/x.lance{key}")
        np.testing.assert_array_equal(found.read(), ROWS)
        assert found.ids is not None
        assert found.ids.tolist() == NAMES
    with refused("unknown-column", "'nothing'"):
        open_rows(f"{tmp_path}/x.lance:nothing")
    (tmp_path / "y.lance").mkdir()
    with refused("damaged-file", "Lance"):
        open_rows(tmp_path / "y.lance")


def test_lance_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lance", None)
    (tmp_path / "x.lance").mkdir()
    with refused("missing-extra", "isthmus[lance]"):
        open_rows(tmp_path / "x.lance")


@pytest.mark.parametrize("suffix", sorted(UNREAD))
def test_a_file_that_is_not_read_says_what_to_do(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(b"SQLite format 3\0")
    with refused("unknown-suffix", f"x{suffix}' is not read here"):
        open_rows(tmp_path / f"x{suffix}")


def test_the_lines_that_make_rows_of_raw_files(tmp_path: Path) -> None:
    monkey = {"FILE": str(tmp_path / "x"), "numpy": np, "dtype": "float32", "dim": 6}
    made = str(tmp_path / "rows.npy")
    head = np.array([23, 6], "<u4").tobytes()
    per_row = b"".join(np.int32(6).tobytes() + row.tobytes() for row in ROWS)
    for suffix, content in (
        (".bin", ROWS.tobytes()),
        (".fbin", head + ROWS.tobytes()),
        (".fvecs", per_row),
    ):
        (tmp_path / "x").write_bytes(content)
        exec(UNREAD[suffix].partition(": ")[2].replace("rows.npy", made), dict(monkey))
        np.testing.assert_array_equal(open_rows(made).read(), ROWS)
