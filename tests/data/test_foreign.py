"""Tables and files of other libraries as rows, against what their own readers give."""

from __future__ import annotations

import csv
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from isthmus.data import open_rows
from refusals import refused

ROWS = np.random.default_rng(0).normal(size=(7, 3))
NAMES = [f"item {i}" for i in range(7)]
OBJECTS = [{"id": n, "title": "x", "embedding": r.tolist()} for n, r in zip(NAMES, ROWS)]


def write_csv(path: Path, header: list[str] | None, lines: list[list[Any]]) -> None:
    with open(path, "w", newline="") as handle:
        out = csv.writer(handle)
        out.writerows(([header] if header else []) + lines)


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("a.json", ROWS.tolist(), None),
        ("a.json", OBJECTS, NAMES),
        ("a.json", {"embeddings": ROWS.tolist(), "ids": NAMES}, NAMES),
        ("a.json", dict(zip(NAMES, ROWS.tolist())), NAMES),
        ("a.jsonl", OBJECTS, NAMES),
        ("a.jsonl", ROWS.tolist(), None),
    ],
)
def test_json(name: str, content: Any, ids: Any, tmp_path: Path) -> None:
    lines = name.endswith("jsonl")
    text = "\n".join(json.dumps(one) for one in content) if lines else json.dumps(content)
    (tmp_path / name).write_text(text)
    check(tmp_path / name, ids)


def check(path: Path | str, ids: Any = None, rows: np.ndarray = ROWS) -> None:
    found = open_rows(str(path))
    np.testing.assert_array_equal(found.read(), rows)
    assert (found.ids is None) == (ids is None)
    if ids is not None:
        assert found.ids.tolist() == list(ids)


def test_a_named_key(tmp_path: Path) -> None:
    both = [{**one, "other": [1.0, 2.0]} for one in OBJECTS]
    (tmp_path / "a.json").write_text(json.dumps(both))
    check(f"{tmp_path}/a.json", NAMES)
    check(f"{tmp_path}/a.json:other", NAMES, np.tile([1.0, 2.0], (7, 1)))
    with refused("unknown-key", "'nothing'"):
        open_rows(f"{tmp_path}/a.json:nothing")


def test_csv(tmp_path: Path) -> None:
    lines = [[i, *row] for i, row in zip(range(7), ROWS)]
    write_csv(tmp_path / "a.csv", ["id", "d0", "d1", "d2"], lines)
    check(tmp_path / "a.csv", range(7))
    write_csv(tmp_path / "b.csv", None, ROWS.tolist())
    check(tmp_path / "b.csv")
    cells = [[n, json.dumps(r.tolist())] for n, r in zip(NAMES, ROWS)]
    write_csv(tmp_path / "c.csv", ["id", "embedding"], cells)
    check(tmp_path / "c.csv", NAMES)
    (tmp_path / "d.tsv").write_text("\n".join("\t".join(map(repr, r)) for r in ROWS.tolist()))
    check(tmp_path / "d.tsv")


def test_arrow_stream_and_file(tmp_path: Path) -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.reshape(-1)), 3)
    table = pa.table({"id": NAMES, "vector": lists})
    for name, make in (("a.arrow", pa.ipc.new_stream), ("b.feather", pa.ipc.new_file)):
        with open(tmp_path / name, "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table)
        check(tmp_path / name, NAMES)


def test_faiss_indexes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import faiss

    rows = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    ids = np.arange(400) * 3 + 5
    for kind in ("Flat", "HNSW16", "IVF4,Flat", "SQ8", "IDMap,Flat"):
        index = faiss.index_factory(8, kind)
        index.train(rows)
        index.add_with_ids(rows, ids) if kind.startswith("IDMap") else index.add(rows)
        faiss.write_index(index, str(tmp_path / "i.faiss"))
        caplog.clear()
        found = open_rows(str(tmp_path / "i.faiss"))
        assert ("decoded from the codes" in caplog.text) == (kind == "SQ8")
        if kind == "SQ8":
            np.testing.assert_allclose(found.read(), rows, atol=0.03)
            assert not np.array_equal(found.read(), rows)
        else:
            np.testing.assert_array_equal(found.read(), rows)
        assert (found.ids is not None) == kind.startswith("IDMap")
    assert found.ids.tolist() == ids.tolist()


def test_one_vector_a_file(tmp_path: Path) -> None:
    for name, row in zip(NAMES, ROWS):
        np.save(tmp_path / f"{name}.npy", row)
    check(tmp_path, NAMES)


def torch_file(path: Path, description: bytes, numbers: np.ndarray) -> None:
    """A torch file as torch writes it, of one storage, without torch."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", description)
        archive.writestr("archive/data/0", numbers.tobytes())


class Named:
    """Pickles as a global of another module."""

    def __init__(self, module: str, name: str, args: tuple[Any, ...]) -> None:
        self.module, self.name, self.args = module, name, args


class Describes(pickle._Pickler):  # type: ignore[name-defined]
    def persistent_id(self, value: Any) -> Any:
        return value[1] if isinstance(value, tuple) and value[:1] == ("pid",) else None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Named):
            self.write(f"c{value.module}\n{value.name}\n".encode())
            if value.args:
                super().save(value.args)
                self.write(b"R")
        else:
            super().save(value, save_persistent_id)


def described(value: Any) -> bytes:
    out = io.BytesIO()
    Describes(out, 2).dump(value)
    return out.getvalue()


def tensor(offset: int, size: tuple[int, ...], stride: tuple[int, ...], count: int = 21) -> Named:
    storage = ("pid", ("storage", Named("torch", "FloatStorage", ()), "0", "cpu", count))
    args = (storage, offset, size, stride, False, Named("collections", "OrderedDict", ()))
    return Named("torch._utils", "_rebuild_tensor_v2", args)


def test_torch_files_without_torch(tmp_path: Path) -> None:
    rows = ROWS.astype(np.float32)
    path = tmp_path / "a.pt"
    torch_file(path, described(tensor(0, (7, 3), (3, 1))), rows)
    check(path, None, rows)
    one_each = {n: tensor(3 * i, (1, 3), (3, 1)) for i, n in enumerate(NAMES)}
    torch_file(path, described(one_each), rows)
    check(path, NAMES, rows)
    torch_file(path, described({"step": 3, "rows": tensor(0, (3, 7), (1, 3))}), rows)
    check(path, None, rows.T)


def test_torch_files_that_name_more_than_tensors_or_reach_too_far(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch_file(path, described(Named("os", "system", ("touch /tmp/never",))), ROWS)
    with refused("not-tensors", "os.system"):
        open_rows(str(path))
    torch_file(path, described(tensor(0, (8, 3), (3, 1))), ROWS.astype(np.float32))
    with refused("damaged-file", "torch"):
        open_rows(str(path))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(ROWS))
    with refused("pickle", "numpy.save"):
        open_rows(str(tmp_path / "b.pkl"))


@pytest.mark.torch
def test_torch_s_own_files(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    rows = torch.arange(21, dtype=torch.float32).reshape(7, 3)
    for value, wanted in (
        (rows, rows),
        (rows.T, rows.T),
        ({"image": rows.bfloat16(), "n": 3}, rows.bfloat16().float()),
        ([rows[:3], rows[3:]], rows),
        ({f"k{i}": rows[i] for i in range(7)}, rows),
    ):
        torch.save(value, tmp_path / "t.pt")
        np.testing.assert_array_equal(open_rows(str(tmp_path / "t.pt")).read(), wanted.numpy())


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.json", "[[1, 2], [3]]", "unequal-dimensions"),
        ("a.json", '[[1, 2], ["x", 3]]', "not-a-vector"),
        ("a.json", '{"a": 1}', "no-key"),
        ("a.json", "[[1, NaN]]", "not-json"),
        ("a.jsonl", '{"vector": [1]}\n{"id": 2}', "missing-vector"),
        ("a.csv", "a,b\n1,2\n3,\n", "missing-values"),
        ("a.csv", "a,b\nx,y\n", "no-column"),
        ("a.arrow", "nothing", "damaged-file"),
        ("a.faiss", "nothing", "damaged-file"),
        ("a.pt", "nothing", "wrong-kind"),
    ],
)
def test_what_holds_no_rows_is_refused(name: str, text: str, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with refused(code, name):
        open_rows(str(tmp_path / name))
