"""Ids that stand with rows: where they are read, and that every writer and message keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

import isthmus as im
from commands import run
from isthmus.closers.application import apply_to_file
from isthmus.data import ArraySource, RowWriter, open_rows
from isthmus.data.source import id_at
from isthmus.metrics.gap_report import measure
from isthmus.search.opening import open_task
from refusals import refused
from worlds import two_modalities

ROWS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
NAMES = [f"item {i}" for i in range(7)]
WHOLE = [5, 3, 9, 2**40, 1, 0, 7]
COLUMNS = ["x.parquet", "x.arrow", "x.feather", "x.jsonl", "x.npz"]


def named(rows: np.ndarray, ids: Any = None, start: int = 0) -> ArraySource:
    """Rows in memory with ids, words by default."""
    known = [f"n{i + start}" for i in range(len(rows))] if ids is None else ids
    return ArraySource(rows, "rows", ids=np.array(known))


def save(path: Path, ids: list[Any]) -> None:
    """ROWS with ids as the format's own library writes them."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"_id": ids, "vec": ROWS.tolist()}), path)
    elif path.suffix == ".npz":
        np.savez(path, rows=ROWS, ids=np.array(ids))
    else:
        save_alone = safetensors.numpy.save_file if path.suffix == ".safetensors" else None
        save_alone({"rows": ROWS}, path) if save_alone else np.save(path, ROWS)
        Path(f"{path}.ids.json").write_text(json.dumps(ids))


@pytest.mark.parametrize("ids", [NAMES, WHOLE])
@pytest.mark.parametrize("name", ["x.parquet", "x.npz", "x.npy", "x.safetensors"])
def test_ids_are_read_with_the_rows(tmp_path: Path, name: str, ids: list[Any]) -> None:
    save(tmp_path / name, ids)
    found = open_rows(tmp_path / name)
    np.testing.assert_array_equal(found.read(), ROWS)
    assert found.ids is not None
    assert found.ids.tolist() == ids
    assert [id_at(found.ids, row) for row in range(7)] == ids


def test_shards_have_ids_where_all_of_them_have(tmp_path: Path) -> None:
    save(tmp_path / "x-0.npy", NAMES)
    save(tmp_path / "x-1.npy", WHOLE)
    both = [*NAMES, *map(str, WHOLE)]
    found = open_rows(f"{tmp_path}/x-*.npy").ids
    assert found is not None
    assert found.tolist() == both
    (tmp_path / "x-1.npy.ids.json").unlink()
    assert open_rows(f"{tmp_path}/x-*.npy").ids is None
    (tmp_path / "x-1.npy.ids.txt").write_text("\n".join(map(str, WHOLE)) + "\n")
    found = open_rows(f"{tmp_path}/x-*.npy").ids
    assert found is not None
    assert found.tolist() == both


def test_ids_that_are_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", None], "vec": ROWS[:2].tolist()}), tmp_path / "x.parquet")
    pq.write_table(pa.table({"id": [0.5, 1.5], "vec": ROWS[:2].tolist()}), tmp_path / "y.parquet")
    np.save(tmp_path / "z.npy", ROWS)
    for name in ("x.parquet", "y.parquet", "z.npy"):
        assert open_rows(tmp_path / name).ids is None
    (tmp_path / "z.npy.ids.json").write_text('["a", "b"]')
    with refused("ids-length", "2 ids for 7 rows"):
        open_rows(tmp_path / "z.npy").ids
    (tmp_path / "z.npy.ids.json").write_text('{"a": 1}')
    with refused("wrong-kind", "z.npy.ids.json"):
        open_rows(tmp_path / "z.npy").ids


@pytest.mark.parametrize("ids", [NAMES, WHOLE])
@pytest.mark.parametrize("name", COLUMNS)
def test_rows_and_columns_written_are_read_back(tmp_path: Path, name: str, ids: list[Any]) -> None:
    bias = np.arange(7) / 3
    with RowWriter(tmp_path / name, 3) as writer:
        for part in (slice(0, 4), slice(4, 4), slice(4, 7)):
            writer.write(ROWS[part], {"id": np.array(ids)[part], "bias": bias[part]})
    found = open_rows(tmp_path / name)
    np.testing.assert_array_equal(found.read(), ROWS)
    assert found.ids is not None
    assert found.ids.tolist() == ids
    np.testing.assert_array_equal(column(tmp_path / name, "bias"), bias)


def column(path: Path, name: str) -> Any:
    """A column through the format's own library."""
    if path.suffix == ".npz":
        return np.load(path)[name]
    if path.suffix == ".jsonl":
        return [json.loads(line)[name] for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        return pq.read_table(path)[name].to_pylist()
    with pa.ipc.open_file(path) as file:
        return file.read_all()[name].to_pylist()


@pytest.mark.parametrize("name", [*COLUMNS, "x.npy", "x.safetensors"])
def test_apply_keeps_the_ids(tmp_path: Path, name: str) -> None:
    a, b = two_modalities(60, 8)
    closer = im.fit("center-queries", a, b)
    broken = b.astype(np.float32)
    broken[[3, 50]] = np.nan
    ids = [f"n{i}" for i in range(60)]
    with refused("not-finite", "rows 3 (id n3), 50 (id n50)"):
        apply_to_file(closer, named(broken), "candidate", tmp_path / name)
    done = apply_to_file(closer, named(broken), "candidate", tmp_path / name, skip_invalid=True)
    found = open_rows(tmp_path / name)
    kept = np.delete(np.arange(60), [3, 50])
    assert found.ids is not None
    assert found.ids.tolist() == [ids[row] for row in kept]
    np.testing.assert_array_equal(found.read(), closer.candidates(broken[kept]).rows)
    inside = name in COLUMNS
    assert done.ids == (f"{tmp_path / name}:id" if inside else f"{tmp_path / name}.ids.json")
    if inside:
        bias = column(tmp_path / name, "bias")
        np.testing.assert_allclose(bias, closer.candidates(broken[kept]).bias)
        assert not list(tmp_path.glob("*.bias.npy"))


def test_a_list_of_another_run_gives_no_ids(tmp_path: Path) -> None:
    a, b = two_modalities(60, 8)
    closer, out = im.fit("center-queries", a, b), tmp_path / "x.npy"
    apply_to_file(closer, named(a), "query", out)
    with refused("ids-of-other-rows", "x.npy.ids.json"):
        apply_to_file(closer, a, "query", out)
    (tmp_path / "y.npy.ids.json").write_text("[]")
    with refused("not-ours", "y.npy.ids.json"):
        apply_to_file(closer, named(a), "query", tmp_path / "y.npy")


def test_findings_name_rows_by_their_ids() -> None:
    a, b = two_modalities(400, 64)
    mixed = np.concatenate([b[200:], b[:200]])
    swapped = b[np.random.default_rng(0).permutation(400)]
    for other, fact in ((mixed, "row i+200 of b from row 0 (id n0)"), (swapped, "(id n")):
        texts = " ".join(w.text for w in measure(named(a), named(other), paired=True).warnings)
        assert fact in texts, texts
    broken = a.copy()
    broken[7] = 0
    with refused("zero-rows", "row 7 (id n7)"):
        open_task(named(broken), b)


def test_the_report_has_ids_beside_row_numbers() -> None:
    a, b = two_modalities(40, 32)
    twice = np.concatenate([a[:1], a])  # so that places in the task are not row numbers
    pairs = np.column_stack([np.arange(41), np.maximum(np.arange(41) - 1, 0)])
    report = im.audit(named(twice), b, relevance=pairs, trials=1).report
    assert (report["inputs"]["a"]["ids"], report["inputs"]["b"]["ids"]) == (41, None)
    live = report["directions"][0]["live"]
    held = [0, *range(2, 41)]
    assert live["query_ids"] == [f"n{held[row]}" for row in live["query_rows"]]
    assert live["candidate_ids"] is None
    assert report["directions"][1]["live"]["candidate_ids"][0].startswith("n")


def test_compare_names_rows_by_their_ids() -> None:
    a, b = two_modalities(80, 8)
    moved = a.copy()
    moved[5] = -moved[5]
    found = im.compare(named(a), named(moved), b).result
    worst = found["paired"]["worst"][0]
    assert (worst["row"], worst["id"]) == (5, "n5")
    search = found["searches"]["new-old"]
    assert search["first_flipped_ids"] == [f"n{row}" for row in search["first_flipped"]] != []
    assert "ids-differ" not in [w["code"] for w in found["warnings"]]
    shifted = im.compare(named(a), named(moved, start=1), b).result["warnings"]
    text = next(w["text"] for w in shifted if w["code"] == "ids-differ")
    assert "80 of 80 rows" in text
    assert "row 0: n0 and n1" in text


def test_a_canary_finds_its_rows_by_id() -> None:
    a, _ = two_modalities(80, 8)
    known = im.make_canary(named(a), max_inputs=10)
    assert known.ids[:2] == ("n0", "n9")
    order = np.random.default_rng(0).permutation(80)
    found = im.check_canary(known, named(a[order], [f"n{i}" for i in order]))
    assert (found.passed, found.kind) == (True, "same")
    other = im.check_canary(known, a[order][known.places])
    assert (other.passed, other.kind) == (False, "order")


def test_the_command_says_where_ids_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = two_modalities(60, 8)
    for name, side in (("a", a), ("b", b)):
        lines = [{"id": f"{name}{i}", "embedding": row} for i, row in enumerate(side.tolist())]
        Path(f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run(capsys, "close", "a.jsonl", "b.jsonl", "--out", "c.safetensors")[0] == 0
    words = ("apply", "c.safetensors", "b.jsonl", "--role", "candidate", "--out", "b.parquet")
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "b.parquet:id" in out
    assert pq.read_table("b.parquet")["id"].to_pylist() == [f"b{i}" for i in range(60)]
