"""Dask and Ray against this machine's own engine: the same bytes, and workers that are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

import isthmus as im
from commands import run
from isthmus.data import open_rows
from isthmus.data.summary import Partition, Summary, fold, summarise
from isthmus.engines import DaskExecutor, Executor, RayExecutor, SerialExecutor, open_engine
from isthmus.engines import dask as dask_engine
from refusals import refused

pytestmark = [
    pytest.mark.engines,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60,000 rows of 32 dimensions in four shards of unequal length, float16."""
    folder = tmp_path_factory.mktemp("gallery")
    rng = np.random.default_rng(0)
    for i, count in enumerate((9000, 21_000, 17_000, 13_000)):
        np.save(folder / f"part-{i}.npy", (rng.normal(size=(count, 32)) + 1).astype(np.float16))
    return str(folder)


def killed_once(marker: Path, fn: object, item: object) -> object:
    """``fn(item)``, but whoever comes first is killed in the middle of it."""
    found = fn(item)  # type: ignore[operator]
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return found
    os.kill(os.getpid(), signal.SIGKILL)
    return None


class Killing:
    """An engine whose first worker is killed."""

    def __init__(self, engine: Executor, marker: Path) -> None:
        self.engine, self.marker = engine, marker

    def map(self, fn: object, items: object) -> object:
        return self.engine.map(partial(killed_once, self.marker, fn), items)


def same(first: Summary, second: Summary) -> None:
    """Bit for bit."""
    for name in ("stats_a", "a"):
        np.testing.assert_equal(vars(getattr(first, name)), vars(getattr(second, name)))


def test_a_fold_gives_the_bytes_of_the_local_one_though_a_worker_is_killed(
    cluster: Executor, gallery: str, tmp_path: Path
) -> None:
    rows = open_rows(gallery)
    here = summarise(rows, engine=SerialExecutor())
    same(summarise(rows, engine=cluster), here)
    killing = Killing(cluster, tmp_path / "killed")
    same(summarise(rows, engine=killing), here)
    assert killing.marker.exists()


def poison(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_what_kills_every_worker_is_refused(cluster: Executor) -> None:
    with refused("worker-killed", "give workers more memory"):
        list(cluster.map(poison, range(3)))


def test_a_cluster_without_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(dask_engine, "PATIENCE", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as empty:
        engine = DaskExecutor.at(empty.scheduler_address)
        with engine.client, refused("no-workers", "start workers"):
            list(engine.map(abs, range(3)))


def test_a_worker_that_comes_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(dask_engine, "PATIENCE", 20.0)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as cluster:
        engine = DaskExecutor.at(cluster.scheduler_address)
        with engine.client:
            threading.Timer(2.5, cluster.scale, (1,)).start()
            assert list(engine.map(abs, range(-2, 1))) == [2, 1, 0]


def test_workers_may_go_and_come_back(dask_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only time without any worker counts, in one piece."""
    monkeypatch.setattr(dask_engine, "PATIENCE", 0.3)
    engine = DaskExecutor.at(dask_cluster)
    there = cycle([{}, {"a worker": 1}])
    with engine.client:
        monkeypatch.setattr(engine.client, "nthreads", lambda: next(there))
        assert list(engine.map(late, [1])) == [1]


def test_ray_cancels_only_what_is_not_done(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray 2.60 may end the whole process where a task is done and cancelled."""
    import ray

    cancelled, cancel = [], ray.cancel
    monkeypatch.setattr(ray, "cancel", lambda one: cancelled.append(one) or cancel(one))
    with pytest.raises(TimeoutError, match="its own"):
        list(RayExecutor.at("").map(late, [0, 2, 50]))
    assert len(cancelled) == 1


def late(item: int) -> int:
    if item == 2:
        raise TimeoutError("its own")
    time.sleep(item)
    return item


def test_slow_items_are_waited_for(dask_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_engine, "PATIENCE", 0.2)
    engine = DaskExecutor.at(dask_cluster)
    with engine.client:
        results = engine.map(late, range(3))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(TimeoutError, match="its own"):
            next(results)


def test_errors_come_back_as_they_are(cluster: Executor, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((9, 4), np.float32))
    rows = open_rows(tmp_path / "a.npy")
    (tmp_path / "a.npy").unlink()
    with refused("no-such-file", "a.npy"):
        list(cluster.map(fold, [Partition(rows, None, 0, 9, True, True)]))


def test_commands_take_a_cluster_by_its_address(
    dask_cluster: str, gallery: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = np.random.default_rng(1).normal(size=(200, 32)).astype(np.float32)
    np.save(tmp_path / "queries.npy", queries)
    files = {}
    for name, engine in (("here", "processes:1"), ("there", f"dask://{dask_cluster}")):
        files[name] = tmp_path / f"{name}.safetensors"
        words = ("close", str(tmp_path / "queries.npy"), gallery, "--out", str(files[name]))
        assert run(capsys, *words, "--engine", engine)[0] == 0
    assert files["here"].read_bytes() == files["there"].read_bytes()


def test_addresses(dask_cluster: str, ray_cluster: None) -> None:
    import dask

    assert open_engine(f"dask://{dask_cluster}") is open_engine(f"dask://{dask_cluster}")
    assert isinstance(open_engine("ray://"), RayExecutor)
    soon = {"distributed.comm.timeouts.connect": "1s"}
    with dask.config.set(soon), refused("engine-unreachable", "dask://127.0.0.1:9"):
        open_engine("dask://127.0.0.1:9")
    with refused("unknown-engine", "spark://host"):
        im.fit("center-queries", np.eye(4), np.eye(4), engine="spark://host")


@pytest.mark.parametrize("method", ["none", "biased-shift", "ridge-shift"])
def test_the_best_of_shards_are_those_of_one_search(
    cluster: Executor, gallery: str, method: str, tmp_path: Path
) -> None:
    queries = np.random.default_rng(1).normal(size=(300, 32)).astype(np.float32)
    closer = im.fit(method, queries, gallery)
    here = im.search_rows(queries, gallery, 10, closer=closer)
    killing = Killing(cluster, tmp_path / "killed")
    there = im.search_rows(queries, gallery, 10, closer=closer, engine=killing)
    np.testing.assert_equal(vars(there), vars(here))
    assert killing.marker.exists()


def test_an_audit_of_a_whole_gallery_says_the_same(cluster: Executor, gallery: str) -> None:
    rng = np.random.default_rng(2)
    right = np.stack([np.arange(40), rng.integers(0, 60_000, 40)], axis=1)
    queries = open_rows(gallery).take(right[:, 1]).astype(np.float32)
    queries += 0.3 * rng.normal(size=queries.shape).astype(np.float32) - 2
    options = {"relevance": right, "trials": 2, "levels": [0.02], "max_candidates": 500}
    here = im.audit(queries, gallery, **options).report
    there = im.audit(queries, gallery, engine=cluster, **options).report
    assert here["directions"][0]["gallery"]["rows"] == 60_000
    assert {k: v for k, v in there.items() if k != "created"} == {
        k: v for k, v in here.items() if k != "created"
    }


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".safetensors"])
def test_files_are_applied_by_a_cluster_byte_for_byte(
    cluster: Executor, suffix: str, gallery: str, tmp_path: Path
) -> None:
    queries = np.random.default_rng(1).normal(size=(300, 32)).astype(np.float32)
    closer = im.fit("center-both", queries, gallery)
    killing = Killing(cluster, tmp_path / "killed")
    for name, engine in (("here", None), ("there", killing)):
        out = tmp_path / name / f"x{suffix}"
        im.closers.apply_to_file(closer, gallery, "candidate", out, engine=engine)
    assert killing.marker.exists()
    files = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("here", "there")]
    assert files[0] == files[1]
    for name in files[0]:
        here, there = (tmp_path / side / name for side in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()
