"""Files and arrays folded by partitions: the same stats and moments as one pass."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from isthmus.core.arrays import unit
from isthmus.data import open_rows
from isthmus.data import summary as module
from isthmus.data.moments import Moments, PairMoments
from isthmus.data.row_stats import RowStats
from isthmus.data.summary import Summary, opened, partitions, summarise
from isthmus.engines.local import THREAD_VARIABLES, ProcessExecutor, SerialExecutor
from refusals import refused
from worlds import unit_rows


def rows_of(n: int, seed: int, dim: int = 5) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32) + 1
    rows[7] = rows[2]
    return rows


def shards(folder: Path, rows: np.ndarray, cuts: list[int]) -> str:
    folder.mkdir()
    bounds = [0, *cuts, len(rows)]
    for i, start in enumerate(bounds[:-1]):
        np.save(folder / f"part-{i:03d}.npy", rows[start : bounds[i + 1]])
    return str(folder)


def same(got: Summary, a: np.ndarray, b: np.ndarray | None, unit: bool) -> None:
    """Against one pass over the arrays in float64."""
    ready = [unit_rows(x) if unit else x.astype(float) for x in (a, b) if x is not None]
    expected = Moments.of(ready[0])
    assert got.a.normalised is unit
    for stats, rows in ((got.stats_a, a), (got.stats_b, b)):
        if rows is None:
            assert stats is None
            continue
        whole = RowStats.of(rows)
        assert stats is not None
        assert (stats.rows, stats.duplicates) == (whole.rows, whole.duplicates)
        assert stats.norm_mean == pytest.approx(whole.norm_mean, rel=1e-9)
    np.testing.assert_allclose(got.a.mean, expected.mean, rtol=1e-10)
    np.testing.assert_allclose(got.a.scatter, expected.scatter, rtol=1e-9, atol=1e-9)
    if b is None:
        assert got.pair is None
        return
    both = PairMoments.of(*ready)
    assert got.pair is not None
    assert (got.pair.count, got.pair.normalised) == (len(a), unit)
    np.testing.assert_allclose(got.pair.cross, both.cross, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.pair.b.scatter, both.b.scatter, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize(
    ("cuts_a", "cuts_b"), [([], []), ([10, 40], []), ([], [3, 50]), ([1, 30, 59], [20, 31])]
)
def test_shards_cut_differently_on_the_two_sides(
    cuts_a: list[int], cuts_b: list[int], unit: bool, tmp_path: Path
) -> None:
    a, b = rows_of(60, 1), rows_of(60, 2)
    first = open_rows(shards(tmp_path / "a", a, cuts_a))
    second = open_rows(shards(tmp_path / "b", b, cuts_b))
    seen: list[tuple[int, int]] = []
    got = summarise(
        first,
        second,
        normalised=unit,
        engine=SerialExecutor(),
        on_partition=lambda done, of: seen.append((done, of)),
    )
    same(got, a, b, unit)
    assert seen == [(i + 1, len(cuts_a) + 1) for i in range(len(cuts_a) + 1)]
    same(summarise(second, normalised=unit, engine=SerialExecutor()), b, None, unit)


def test_small_blocks_and_partitions_change_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a, b = rows_of(60, 1), rows_of(60, 2)
    first, second = open_rows(shards(tmp_path / "a", a, [25])), opened(b, "b")
    for block in (1, 7, 100):
        monkeypatch.setattr(module, "BLOCK_ROWS", block)
        same(summarise(first, second, engine=SerialExecutor()), a, b, True)
    parts = partitions(first, second, normalised=True, precise=True, rows=20)
    assert [(p.start, p.stop) for p in parts] == [(0, 20), (20, 25), (25, 40), (40, 60)]
    whole = None
    for part in parts:
        summary = module.fold(part)
        whole = summary if whole is None else whole.merge(summary)
    assert whole is not None
    same(whole, a, b, True)


@pytest.mark.slow
def test_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    a, b = rows_of(90, 1), rows_of(90, 2)
    first = open_rows(shards(tmp_path / "a", a, [30, 60]))
    second = open_rows(shards(tmp_path / "b", b, [45]))
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    got = summarise(first, second, engine=ProcessExecutor(2))
    serial = summarise(first, second, engine=SerialExecutor())
    same(got, a, b, True)
    assert got.pair is not None
    assert serial.pair is not None
    np.testing.assert_array_equal(got.pair.cross, serial.pair.cross)
    assert got.stats_a.duplicates == serial.stats_a.duplicates
    assert {name: os.environ.get(name) for name in THREAD_VARIABLES} == before


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_two_threads_give_the_numbers_of_one(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)
    a, b = (opened(rows_of(60, seed).astype(dtype), "rows") for seed in (1, 2))

    def summary(threads: int) -> Summary:
        together = Barrier(threads)  # breaks unless as many blocks are under work at once

        def slow_unit(rows: np.ndarray) -> np.ndarray:
            together.wait(timeout=30)
            return unit(rows)

        monkeypatch.setattr("isthmus.core.threads.blas_threads", lambda: threads)
        monkeypatch.setattr(module, "unit", slow_unit)
        return summarise(a, b, precise=False)

    one, two = summary(1), summary(2)
    assert one.pair is not None
    assert two.pair is not None
    for first, second in ((one.a, two.a), (one.pair.b, two.pair.b)):
        np.testing.assert_array_equal(first.scatter, second.scatter)
        np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(one.pair.cross, two.pair.cross)
    assert one.stats_a.norm_sum == two.stats_a.norm_sum
    for side in (one.stats_a, two.stats_a):
        np.testing.assert_array_equal(np.concatenate(side.hashes), RowStats.of(a.read()).hashes[0])


def test_one_worker_or_one_item_stays_here() -> None:
    here: list[int] = []
    assert list(ProcessExecutor(1).map(here.append, [1, 2])) == [None, None]
    assert list(ProcessExecutor(4).map(here.append, [3])) == [None]
    assert here == [1, 2, 3]
    assert ProcessExecutor().workers >= 1


@pytest.mark.parametrize("block", [4, 8192])
def test_bad_rows_are_counted_over_all_partitions(
    block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", block)
    a = rows_of(60, 1)
    a[[5, 31, 59], 1] = np.nan
    a[40] = 0
    got = summarise(open_rows(shards(tmp_path / "a", a, [20, 50])), engine=SerialExecutor())
    assert (got.stats_a.nonfinite, got.stats_a.nonfinite_first) == (3, (5, 31, 59))
    assert (got.stats_a.zeros, got.stats_a.zeros_first) == (1, (40,))


def test_precision_follows_the_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(rows_of(60, 1), "a")
    assert summarise(source).a.resolution < 1e-12
    monkeypatch.setattr(module, "PRECISE_ROWS", 59)
    assert summarise(source).a.resolution > 1e-8
    assert summarise(source, precise=True).a.resolution < 1e-12


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_dtypes_fold_too(dtype: str) -> None:
    a = rows_of(60, 1).astype(dtype)
    got = summarise(opened(a, "a"))
    np.testing.assert_allclose(got.a.mean, unit_rows(a).mean(axis=0), rtol=1e-6)


def test_refusals() -> None:
    with refused("too-few-rows", "at least 2 rows on each side"):
        opened(np.ones((1, 3)), "images")
    with refused("not-floats", "images holds integers"):
        opened(np.ones((3, 3), int), "images")
