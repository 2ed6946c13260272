"""One pass over rows: what it finds, refuses and warns of, however the rows are cut or stored."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.arrays import unit
from isthmus.data.row_stats import RowStats
from isthmus.errors import ValuesError
from refusals import refused
from worlds import unit_rows


def rows_of(n: int = 12, d: int = 5, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)))


def mean_norm(rows: np.ndarray) -> Any:
    return pytest.approx(np.linalg.norm(rows.astype(np.float64), axis=1).mean(), rel=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x[::2],
        lambda x: x[:, ::2],
        lambda x: x[::-1],
        lambda x: x.T[:5].T,
        lambda x: np.lib.stride_tricks.as_strided(x, x.shape, x.strides, writeable=False),
    ],
)
def test_strided_views_give_the_numbers_of_their_copy(view: Any, dtype: str) -> None:
    part = view(rows_of(20, 8).astype(dtype))
    seen, copied = RowStats.of(part), RowStats.of(np.ascontiguousarray(part))
    assert (seen.rows, seen.dim, seen.dtype) == (*part.shape, dtype)
    assert seen.norm_mean == mean_norm(part)
    np.testing.assert_array_equal(seen.hashes[0], copied.hashes[0])


def test_read_only_and_memory_mapped_rows_pass_unchanged(tmp_path: Path) -> None:
    rows = np.asarray(rows_of(), np.float32)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert RowStats.of(mapped).norm_mean == mean_norm(rows)
    np.testing.assert_array_equal(rows, mapped)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_torch_tensors_have_the_same_statistics(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    rows = np.asarray(rows_of(), np.float32)
    tensor = torch.tensor(rows, requires_grad=dtype == "float32").to(getattr(torch, dtype))
    seen = RowStats.of(tensor)
    assert seen.dtype == dtype
    assert seen.norm_mean == mean_norm(tensor.detach().double().numpy())
    assert seen.duplicates == 0


def test_array_api_strict_rows_have_the_same_statistics() -> None:
    strict = pytest.importorskip("array_api_strict")
    rows = np.asarray(rows_of(), np.float32)
    assert RowStats.of(strict.asarray(rows)).norm_sum == RowStats.of(rows).norm_sum


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value", "places", "fact"),
    [
        ("float32", np.nan, [(3, 1)], "NaN or infinity in 1 of 12 rows (row 3)"),
        ("float64", -np.inf, [(0, 0)], "1 of 12 rows (row 0)"),
        ("float16", np.inf, [(11, 4)], "1 of 12 rows (row 11)"),
        ("float32", np.nan, [(i, 0) for i in range(1, 8)], "(rows 1, 2, 3, 4, 5 and 2 more)"),
        ("float32", np.nan, [(5, 0), (5, 3)], "1 of 12 rows (row 5)"),
    ],
)
def test_rows_that_are_not_finite_are_refused(
    dtype: str, value: float, places: list[tuple[int, int]], fact: str
) -> None:
    rows = rows_of().astype(dtype)
    for place in places:
        rows[place] = value
    with refused("not-finite", "images", fact, kind=ValuesError):
        RowStats.of(rows).refuse("images", cosine=False)


@pytest.mark.parametrize(
    ("zeros", "fact"), [([4], "1 zero vector (row 4)"), ([2, 9], "2 zero vectors (rows 2, 9)")]
)
def test_zero_rows_are_refused_where_a_cosine_is_taken(zeros: list[int], fact: str) -> None:
    rows = rows_of()
    rows[zeros] = 0
    stats = RowStats.of(rows)
    stats.refuse("images", cosine=False)
    with refused("zero-rows", "images", fact, kind=ValuesError):
        stats.refuse("images", cosine=True)


# --- what is warned about ---------------------------------------------------------------------


def codes(stats: RowStats) -> set[str]:
    return {c.code for c in stats.warnings("images")}


def test_rows_that_are_not_unit_norm_are_said_with_their_mean_norm() -> None:
    found = RowStats.of(rows_of(12) * 9.1).warnings("images")
    assert [c.code for c in found] == ["not-unit-norm"]
    assert "images: rows are not unit norm (mean 9.1, standard deviation" in found[0].text
    assert found[0].to_dict() == {
        "code": "not-unit-norm",
        "text": found[0].text,
        "severity": "caution",
    }


def test_unit_mean_with_spread_norms_is_warned_about_too() -> None:
    rows = rows_of(12)
    rows[::2] *= 0.5
    rows[1::2] *= 1.5
    assert codes(RowStats.of(rows)) == {"not-unit-norm"}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_unit_rows_of_any_dtype_are_quiet(dtype: str) -> None:
    assert codes(RowStats.of(rows_of(40, 8).astype(dtype))) == set()


def test_duplicates_and_few_rows_are_warned_about_with_their_counts() -> None:
    rows = rows_of(6, 9)
    rows[5] = rows[2]
    rows[4] = rows[2]
    stats = RowStats.of(rows)
    found = {c.code: c.text for c in (*stats.warnings("texts"), *stats.repeated("texts"))}
    assert set(found) == {"duplicates", "fewer-rows-than-dimensions"}
    assert "texts: 2 of 6 rows repeat an earlier row exactly" in found["duplicates"]
    assert "6 rows in 9 dimensions span at most 5 directions" in found["fewer-rows-than-dimensions"]
    assert codes(RowStats.of(rows_of(9, 9))) == set()


# --- statistics are a fold ---------------------------------------------------------------------


@given(
    cuts=st.lists(st.integers(0, 50), max_size=6),
    seed=st.integers(0, 5),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
)
def test_a_merged_pass_equals_one_pass(cuts: list[int], seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(50, 4)).astype(dtype)
    rows[rng.integers(0, 50, 12)] = rows[0]
    rows[rng.integers(0, 50, 7)] = 0
    rows[rng.integers(0, 50, 8), 1] = np.nan
    edges = [0, *sorted(cuts), 50]
    merged = RowStats(0, 4, "")
    for start, stop in itertools.pairwise(edges):
        merged = merged.merge(RowStats.of(rows[start:stop], offset=start))
    whole = RowStats.of(rows)
    same = [
        "rows",
        "dim",
        "dtype",
        "nonfinite",
        "zeros",
        "nonfinite_first",
        "zeros_first",
        "duplicates",
    ]
    assert [getattr(merged, name) for name in same] == [getattr(whole, name) for name in same]
    assert merged.norm_mean == pytest.approx(whole.norm_mean, rel=1e-12)
    assert merged.norm_std == pytest.approx(whole.norm_std, rel=1e-9)
    good = np.isfinite(rows).all(axis=1)
    norms = np.where(
        good, np.linalg.norm(np.where(good[:, None], rows, 0).astype(float), axis=1), 0
    )
    assert whole.norm_mean == pytest.approx(norms.mean(), rel=1e-6)
    assert whole.norm_std == pytest.approx(norms.std(), rel=1e-5)


@given(st.integers(0, 3), st.integers(1, 40))
def test_duplicates_agree_with_a_set_of_bytes(seed: int, distinct: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(distinct, 3)).astype(np.float32)[rng.integers(0, distinct, 60)]
    expected = len(rows) - len({r.tobytes() for r in rows})
    assert RowStats.of(rows).duplicates == expected


def test_minus_zero_is_zero_and_swapped_coordinates_are_no_duplicates() -> None:
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [1.0, -1.0], [-1.0, 1.0]], np.float32)
    assert RowStats.of(rows).duplicates == 1


def test_one_bit_of_difference_is_no_duplicate() -> None:
    rows = np.tile(np.float32(0.3), (64, 32))
    for i in range(32):
        rows[i, i] = np.nextafter(np.float32(0.3), np.float32(1))
    assert RowStats.of(rows).duplicates == 31
    assert RowStats.of(rows.astype(np.float64)).duplicates == 31


def test_hashes_do_not_depend_on_the_cut_of_wide_blocks() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 2**20)).astype(np.float16)  # cut at 4 rows
    together = RowStats.of(rows).hashes[0]
    apart = [RowStats.of(rows[i : i + 1]).hashes[0][0] for i in range(9)]
    assert together.tolist() == [int(h) for h in apart]


def test_norms_beyond_float32_are_measured_and_not_called_infinite() -> None:
    rows = np.full((4, 3), 1e30, np.float32)
    rows[0, 0] = np.inf
    stats = RowStats.of(rows[1:])
    assert stats.nonfinite == 0
    assert stats.norm_mean == pytest.approx(np.sqrt(3) * 1e30, rel=1e-6)
    assert stats.norm_std <= 1e-6 * stats.norm_mean
    assert RowStats.of(rows).nonfinite_first == (0,)


def test_unit_rows_of_huge_and_tiny_float32_rows_have_norm_one() -> None:
    rows = np.asarray(rows_of(6, 4), np.float32)
    for size in (1e30, 1e-30):
        scaled = rows * np.float32(size)
        assert RowStats.of(scaled).zeros == 0
        np.testing.assert_allclose(unit(scaled), rows, rtol=1e-5, atol=1e-7)
