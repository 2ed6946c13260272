"""Files that lie elsewhere: the same rows by ranges, nothing shown that is secret, one sentence."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import fs

from io_helpers import FORMS, rows, save_any
from isthmus.data import open_rows, read_labels, remote, write_rows
from isthmus.data.judgement_files import labels_of
from isthmus.metrics.gap_report import measure
from refusals import refused

ROWS = rows(4000, 64)


class Counted(fs.FileSystemHandler):
    """A folder of this machine behind an address; counts the bytes that are read."""

    def __init__(self, root: Path) -> None:
        self.root, self.read = root, 0

    def get_type_name(self) -> str:
        return "counted"

    def normalize_path(self, path: str) -> str:
        return path

    def _info(self, path: str) -> fs.FileInfo:
        place = self.root / path
        if place.is_dir():
            return fs.FileInfo(path, fs.FileType.Directory)
        if not place.exists():
            return fs.FileInfo(path, fs.FileType.NotFound)
        return fs.FileInfo(path, fs.FileType.File, size=place.stat().st_size, mtime=1.0)

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> list[fs.FileInfo]:
        base = selector.base_dir
        return [self._info(f"{base}/{name}") for name in os.listdir(self.root / base)]

    def open_input_file(self, path: str) -> Any:
        if path.endswith("denied.npy"):
            raise OSError("ACCESS DENIED\nfor this key")
        outer, raw = self, open(self.root / path, "rb", 0)  # noqa: SIM115

        class Reader:
            closed = False

            def read(self, size: int = -1) -> bytes:
                found = raw.read(size)
                outer.read += len(found)
                return found

            seek, tell, close = raw.seek, raw.tell, raw.close

            def readable(self) -> bool:
                return True

            def seekable(self) -> bool:
                return True

            def writable(self) -> bool:
                return False

        return pa.PythonFile(Reader(), mode="r")

    def _never(self, *_: Any) -> Any:
        raise NotImplementedError

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _never
    delete_file = move = copy_file = open_input_stream = open_output_stream = _never
    open_append_stream = _never


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """s3://bucket/… is tmp_path/bucket/…"""
    (tmp_path / "bucket").mkdir()
    handler = Counted(tmp_path)
    monkeypatch.setattr(remote, "_system", lambda *_: fs.PyFileSystem(handler))
    return handler


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_rows_of_the_file(tmp_path: Path, counted: Counted, form: str) -> None:
    here = save_any(tmp_path / "bucket", form, ROWS[:300])
    away = "s3://" + here.removeprefix(f"{tmp_path}/")
    local, found = open_rows(here), open_rows(away)
    assert (found.rows, found.dim, found.dtype, found.name, found.spec) == (
        *(local.rows, local.dim, local.dtype, local.name),
        away,
    )
    np.testing.assert_array_equal(found.read(), local.read())
    np.testing.assert_array_equal(found.take([250, 7, 7]), local.take([250, 7, 7]))
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.read(), local.read())


@pytest.mark.parametrize("form", ["npy", "safetensors", "parquet-fixed"])
def test_only_what_is_asked_for_is_read(tmp_path: Path, counted: Counted, form: str) -> None:
    here = save_any(tmp_path / "bucket", form, ROWS)
    found = open_rows("s3://" + here.removeprefix(f"{tmp_path}/"))
    whole = Path(here.partition(":")[0]).stat().st_size
    assert counted.read < whole / 5
    counted.read = 0
    np.testing.assert_array_equal(found.take(np.arange(40)), ROWS[:40])
    assert 0 < counted.read < whole / 5


def test_ids_tables_shards_and_labels(tmp_path: Path, counted: Counted) -> None:
    bucket = tmp_path / "bucket"
    lines = [{"id": f"n{i}", "embedding": r.tolist()} for i, r in enumerate(ROWS[:5])]
    (bucket / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = pa.table({"id": [f"n{i}" for i in range(5)], "v": ROWS[:5].tolist()})
    with pa.ipc.new_file(str(bucket / "x.arrow"), table.schema) as out:
        out.write_table(table)
    np.save(bucket / "x.npy", ROWS[:5])
    (bucket / "x.npy.ids.txt").write_text("n0\nn1\nn2\nn3\nn4\n")
    np.savez(bucket / "x.npz", rows=ROWS[:5], id=[f"n{i}" for i in range(5)])
    for name in ("x.jsonl", "x.arrow", "x.npy", "x.npz", "x.npz:rows"):
        found = open_rows(f"s3://bucket/{name}")
        np.testing.assert_allclose(found.read(), ROWS[:5])
        assert found.ids is not None
        assert found.ids.tolist() == [f"n{i}" for i in range(5)]
    for i in range(12):
        (bucket / "parts").mkdir(exist_ok=True)
        np.save(bucket / "parts" / f"part-{i}.npy", ROWS[10 * i : 10 * i + 10])
    for spec in ("s3://bucket/parts", "s3://bucket/parts/", "s3://bucket/parts/part-*.npy"):
        np.testing.assert_array_equal(open_rows(spec).read(), ROWS[:120])
    (bucket / "l.csv").write_text("y\n3\n1\n")
    assert read_labels("s3://bucket/l.csv").tolist() == [3, 1]
    (bucket / "t.csv").write_text("id,y\n1,cat\n2,dog\n")
    assert labels_of("s3://bucket/t.csv:y").tolist() == ["cat", "dog"]


def test_a_measure_by_address(tmp_path: Path, counted: Counted) -> None:
    np.save(tmp_path / "bucket" / "a.npy", ROWS[:200])
    write_rows(tmp_path / "bucket" / "b.parquet", ROWS[200:400])
    near = measure("s3://bucket/a.npy", "s3://bucket/b.parquet", paired=False)
    here = measure(ROWS[:200], ROWS[200:400], paired=False)
    assert near.to_dict()["norm"] == here.to_dict()["norm"]


@pytest.mark.parametrize(
    ("spec", "code", "fact"),
    [
        ("s3://bucket/none.npy", "no-such-file", "s3://bucket/none.npy"),
        ("s3://bucket/none-*.npy", "no-match", "none-*"),
        ("s3://bucket/denied.npy", "not-reachable", "ACCESS DENIED for this key"),
        ("s3://bucket/x.npy?speed=9", "unknown-option", "'speed'"),
        ("s3://bucket/x.npy?secret_key=hidden", "unknown-option", "'secret_key'"),
        ("s3://me:hidden@bucket/x.npy", "secret-in-address", "AWS_ACCESS_KEY_ID"),
        ("https://example.org/x.npy", "is-a-url", "download"),
        ("s3://bucket/x.faiss", "not-remote", "download"),
        ("s3://bucket/x.pt", "not-remote", "download"),
        ("s3://bucket/x.pkl", "pickle", "can run code"),
        ("s3://bucket/short.npy", "cut-short", "s3://bucket/short.npy"),
        ("s3://bucket/short.safetensors", "wrong-kind", "short.safetensors"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    tmp_path: Path, counted: Counted, spec: str, code: str, fact: str
) -> None:
    for name in ("denied.npy", "x.faiss", "x.pt", "x.pkl", "x.npy", "short.safetensors"):
        (tmp_path / "bucket" / name).write_bytes(b"something")
    np.save(tmp_path / "bucket" / "short.npy", ROWS[:5])
    content = (tmp_path / "bucket" / "short.npy").read_bytes()
    (tmp_path / "bucket" / "short.npy").write_bytes(content[:-9])
    with refused(code, fact) as caught:
        open_rows(spec)
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_address_is_a_local_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a b.npy", ROWS[:5])
    found = open_rows(f"file://{tmp_path}/a%20b.npy")
    np.testing.assert_array_equal(found.read(), ROWS[:5])
    with refused("no-such-file", "none.npy"):
        open_rows(f"file://{tmp_path}/none.npy")


def test_nothing_is_written_to_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with refused("is-a-url", "s3://bucket/x.npy"):
        write_rows("s3://bucket/x.npy", ROWS[:5])
    assert list(tmp_path.iterdir()) == []


def test_a_scheme_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    remote._system.cache_clear()
    with refused("is-a-url", "zzz://"):
        open_rows("zzz://bucket/x.npy")


CLOUDS = {
    "s3": ("moto.server", ["-H", "127.0.0.1", "-p"], "&region=us-east-1"),
    "gs": ("gcp_storage_emulator", ["start", "--in-memory", "--host=127.0.0.1", "--port"], ""),
}
"""Scheme -> a server of this machine, its words before the port, and options of an address."""


@pytest.fixture(scope="module", params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, Any]]:
    """A scheme, options of its addresses, and a file system that can write there."""
    program, before, more = CLOUDS[request.param]
    pytest.importorskip(program)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", program, *before, str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        place = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http"}
        options = f"endpoint_override=127.0.0.1:{port}&scheme=http{more}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", "testing")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-shown")
            if request.param == "s3":
                made = fs.S3FileSystem(**place, region="us-east-1", allow_bucket_creation=True)
            else:
                options += "&anonymous=true"
                made = fs.GcsFileSystem(**place, anonymous=True, project_id="here")
            made.create_dir("vectors/parts")
            yield request.param, options, made
        process.terminate()


@pytest.mark.stores
def test_a_server_of_the_cloud(cloud: tuple[str, str, Any], tmp_path: Path) -> None:
    scheme, options, there = cloud
    for form in FORMS:
        here = save_any(tmp_path, form, ROWS[:300])
        path, _, key = here.removeprefix(f"{tmp_path}/").partition(":")
        with there.open_output_stream(f"vectors/{path}") as out:
            out.write((tmp_path / path).read_bytes())
        found = open_rows(f"{scheme}://vectors/{path}{':' * bool(key)}{key}?{options}")
        np.testing.assert_array_equal(found.read(), open_rows(here).read())
        np.testing.assert_array_equal(found.take([250, 7]), open_rows(here).take([250, 7]))
    for i in range(3):
        np.save(tmp_path / "part.npy", ROWS[i : i + 1])
        with there.open_output_stream(f"vectors/parts/p{i}.npy") as out:
            out.write((tmp_path / "part.npy").read_bytes())
    parts = f"{scheme}://vectors/parts"
    np.testing.assert_array_equal(open_rows(f"{parts}?{options}").read(), ROWS[:3])
    np.testing.assert_array_equal(open_rows(f"{parts}/p*.npy?{options}").read(), ROWS[:3])
    with refused("no-such-file", f"{scheme}://vectors/none.npy") as caught:
        open_rows(f"{scheme}://vectors/none.npy?{options}")
    assert "not-to-be-shown" not in str(caught.value)


@pytest.mark.stores
@pytest.mark.parametrize("cloud", ["s3"], indirect=True)
def test_the_place_of_s3_from_the_environment(
    cloud: tuple[str, str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, options, there = cloud
    np.save(tmp_path / "one.npy", ROWS[:2])
    with there.open_output_stream("vectors/one.npy") as out:
        out.write((tmp_path / "one.npy").read_bytes())
    place = options.removeprefix("endpoint_override=").partition("&")[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{place}")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    np.testing.assert_array_equal(open_rows("s3://vectors/one.npy").read(), ROWS[:2])


@pytest.mark.stores
def test_what_fsspec_knows(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    np.save(tmp_path / "x.npy", ROWS[:30])
    with fsspec.filesystem("memory").open("/place/x.npy", "wb") as out:
        out.write((tmp_path / "x.npy").read_bytes())
    np.testing.assert_array_equal(open_rows("memory://place/x.npy").read(), ROWS[:30])
