"""The door: what comes in, what is refused and with which sentence, what is warned about."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.data.embeddings import (
    Embeddings,
    Pairs,
    RowStats,
    checked_labels,
    checked_relevance,
    checked_rows,
    decide_paired,
)
from isthmus.errors import (
    DtypeError,
    IsthmusError,
    LabelsError,
    NotPaired,
    ShapeError,
    ValuesError,
    first_rows,
)
from worlds import unit_rows


def rows_of(n: int = 12, d: int = 5, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)))


# --- what is accepted -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8", ">f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_float_dtypes_and_orders_pass_with_the_same_values(dtype: str, order: str) -> None:
    stored = np.asarray(rows_of(), dtype=dtype, order=order)  # type: ignore[call-overload]
    checked = checked_rows(stored)
    assert checked.dtype.isnative
    np.testing.assert_array_equal(np.asarray(checked, np.float64), stored.astype(np.float64))
    seen = Embeddings.of(stored, "images")
    exact = stored.astype(np.float64)
    assert seen.stats.norm_mean == pytest.approx(np.linalg.norm(exact, axis=1).mean(), rel=1e-6)
    assert (len(seen), seen.dim) == (12, 5)


def test_no_copy_is_made_of_ordinary_rows() -> None:
    rows = rows_of()
    assert np.shares_memory(checked_rows(rows), rows)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[::2],
        lambda x: x[:, ::2],
        lambda x: x[::-1],
        lambda x: x.T[:5].T,
        lambda x: np.lib.stride_tricks.as_strided(x, x.shape, x.strides, writeable=False),
    ],
)
def test_strided_views_give_the_numbers_of_their_copy(view: Any) -> None:
    part = view(np.asarray(rows_of(20, 8), np.float32))
    seen, copied = RowStats.of(part), RowStats.of(np.ascontiguousarray(part))
    assert seen.norm_sum == pytest.approx(copied.norm_sum, rel=1e-6)
    np.testing.assert_array_equal(seen.hashes[0], copied.hashes[0])


def test_read_only_and_memory_mapped_rows_pass_unchanged(tmp_path: Path) -> None:
    rows = np.asarray(rows_of(), np.float32)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    seen = Embeddings.of(mapped)
    assert seen.stats.norm_mean == pytest.approx(1, abs=1e-6)
    frozen = rows.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(Embeddings.of(frozen).unit(), Embeddings.of(rows).unit())
    np.testing.assert_array_equal(rows, mapped)


def bfloat16_as_stored(rows: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(rows, np.float32).view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize("order", ["C", "F"])
def test_bfloat16_as_stored_decodes_exactly(order: str) -> None:
    bits = bfloat16_as_stored(rows_of())
    stored = np.asarray(bits.view("V2"), order=order)  # type: ignore[call-overload]
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(checked_rows(stored), expected)
    assert np.abs(checked_rows(stored) - rows_of()).max() < 2**-7


def test_a_bfloat16_dtype_of_ml_dtypes_decodes_too() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rows = rows_of().astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(checked_rows(rows), rows.astype(np.float32))


def test_lists_of_numbers_are_taken() -> None:
    np.testing.assert_array_equal(checked_rows([[1.0, 0.0], [0.0, 1.0]]), np.eye(2))


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_torch_tensors_pass_with_the_same_census(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    rows = np.asarray(rows_of(), np.float32)
    tensor = torch.tensor(rows, requires_grad=dtype == "float32").to(getattr(torch, dtype))
    seen = Embeddings.of(tensor)
    exact = tensor.detach().double().numpy()
    assert seen.stats.dtype == dtype
    assert seen.stats.norm_mean == pytest.approx(np.linalg.norm(exact, axis=1).mean(), rel=1e-6)
    assert seen.stats.duplicates == 0


@pytest.mark.torch
def test_an_integer_tensor_is_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(DtypeError, match=r"codes has dtype torch.int8.*decode quantised codes"):
        checked_rows(torch.zeros((4, 3), dtype=torch.int8), "codes")


def test_array_api_strict_rows_pass() -> None:
    strict = pytest.importorskip("array_api_strict")
    rows = np.asarray(rows_of(), np.float32)
    seen = Embeddings.of(strict.asarray(rows))
    assert seen.stats.norm_sum == RowStats.of(rows).norm_sum
    with pytest.raises(DtypeError, match="int64"):
        checked_rows(strict.asarray([[1, 2], [3, 4]]))


# --- what is refused: each with its own sentence ----------------------------------------------


def with_bad(value: float, *places: tuple[int, int], dtype: str = "float32") -> np.ndarray:
    rows = np.asarray(rows_of(), dtype)
    for place in places:
        rows[place] = value
    return rows


def with_zero(*rows_zero: int) -> np.ndarray:
    rows = rows_of()
    rows[list(rows_zero)] = 0
    return rows


BAD_INPUTS: list[tuple[str, Any, type[IsthmusError], str]] = [
    (
        "one axis",
        np.ones(4),
        ShapeError,
        r"images has shape \(4,\), expected two axes .*pass rows\[None, :\]",
    ),
    (
        "no axis",
        np.float32(1.0) * np.ones(()),
        ShapeError,
        r"images has shape \(\), expected two axes",
    ),
    (
        "stray middle axis",
        np.ones((4, 1, 3)),
        ShapeError,
        r"shape \(4, 1, 3\).*middle axis of length 1 is a stray one; pass rows\[:, 0, :\]",
    ),
    (
        "both modalities stacked",
        np.ones((2, 5, 3)),
        ShapeError,
        r"shape \(2, 5, 3\).*looks like the two modalities; pass rows\[0\] and rows\[1\]",
    ),
    (
        "tokens",
        np.ones((4, 7, 3)),
        ShapeError,
        r"shape \(4, 7, 3\).*choose one vector per item first",
    ),
    ("four axes", np.ones((4, 2, 2, 3)), ShapeError, r"shape \(4, 2, 2, 3\), expected two axes"),
    ("no columns", np.ones((4, 0)), ShapeError, r"\(4, 0\): rows without columns hold no"),
    ("no rows", np.ones((0, 3)), ShapeError, r"images has 0 rows; .*at least 2 rows on each side"),
    ("one row", np.ones((1, 3)), ShapeError, r"images has 1 row; .*at least 2 rows on each side"),
    (
        "int8 codes",
        np.ones((4, 3), np.int8),
        DtypeError,
        r"dtype int8; expected float16.*decode quantised codes to floats first",
    ),
    ("uint8 codes", np.ones((4, 3), np.uint8), DtypeError, r"dtype uint8; .*decode quantised"),
    ("int64", np.ones((4, 3), np.int64), DtypeError, r"dtype int64; .*decode quantised"),
    ("booleans", np.ones((4, 3), bool), DtypeError, r"dtype bool; .*convert the rows first"),
    ("complex", np.ones((4, 3), np.complex64), DtypeError, r"dtype complex64; .*convert the rows"),
    (
        "objects",
        np.array([[1.0, "x"], [2.0, None]], object),
        DtypeError,
        r"dtype object; .*rows probably differ in length",
    ),
    ("text", np.array([["a", "b"], ["c", "d"]]), DtypeError, r"dtype <U1; .*convert the rows"),
    (
        "long double",
        np.ones((4, 3), np.longdouble),
        DtypeError,
        r"expected float16, float32 or float64: convert it",
    ),
    ("records", np.zeros(4, [("x", "f4")]), DtypeError, r"dtype \[\('x', '<f4'\)\]; expected"),
    ("four-byte void", np.zeros((4, 3), "V4"), DtypeError, r"dtype \|V4; expected"),
    ("ragged lists", [[1.0, 2.0], [3.0]], DtypeError, r"images.*differ in length"),
    ("lists of whole numbers", [[1, 2], [3, 4]], DtypeError, r"dtype int64; expected"),
    ("a word", "rows.npy", DtypeError, r"images is a str, not an array; pass an \(n, d\) array"),
    ("nothing", None, DtypeError, r"images is a NoneType, not an array"),
    ("a dict", {"image": [1.0]}, DtypeError, r"images is a dict, not an array"),
    (
        "hidden values",
        np.ma.masked_less(np.array([[1.0, -1], [1, 1]]), 0),
        ValuesError,
        r"images is masked and hides 1 of 4 values.*drop",
    ),
    (
        "one NaN",
        with_bad(np.nan, (3, 1)),
        ValuesError,
        r"NaN or infinity in 1 of 12 rows \(row 3\); drop or recompute",
    ),
    (
        "an infinity in float64",
        with_bad(-np.inf, (0, 0), dtype="float64"),
        ValuesError,
        r"NaN or infinity in 1 of 12 rows \(row 0\)",
    ),
    (
        "an infinity in float16",
        with_bad(np.inf, (11, 4), dtype="float16"),
        ValuesError,
        r"NaN or infinity in 1 of 12 rows \(row 11\)",
    ),
    (
        "seven rows with NaN",
        with_bad(np.nan, *[(i, 0) for i in range(1, 8)]),
        ValuesError,
        r"in 7 of 12 rows \(rows 1, 2, 3, 4, 5 and 2 more\)",
    ),
    (
        "two bad values in one row",
        with_bad(np.nan, (5, 0), (5, 3)),
        ValuesError,
        r"in 1 of 12 rows \(row 5\)",
    ),
    (
        "one zero vector",
        with_zero(4),
        ValuesError,
        r"1 zero vector \(row 4\), which have no cosine; .*use the dot or euclidean score",
    ),
    ("two zero vectors", with_zero(2, 9), ValuesError, r"2 zero vectors \(rows 2, 9\)"),
]


@pytest.mark.parametrize(
    ("bad", "error", "sentence"), [c[1:] for c in BAD_INPUTS], ids=[c[0] for c in BAD_INPUTS]
)
def test_malformed_rows_are_refused_in_one_sentence(
    bad: Any, error: type[IsthmusError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        Embeddings.of(bad, "images")
    assert "images" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_table_of_bad_inputs_has_the_promised_length() -> None:
    assert len(BAD_INPUTS) >= 25


BAD_LABELS: list[tuple[str, Any, str]] = [
    ("floats", [0.0, 1.0, 2.0], r"dtype float64; expected one integer per query"),
    ("booleans", [True, False, True], r"dtype bool; expected one integer per query"),
    ("two axes", [[0], [1], [2]], r"shape \(3, 1\).*expected one integer per query"),
    ("too few", [0, 1], r"2 labels for 3 queries; expected one per query"),
    ("too many", [0, 1, 1, 0], r"4 labels for 3 queries"),
    ("above the last", [0, 4, 1], r"labels: 1 value out of range, first 4 at row 1; there are 4"),
    ("below zero", [-1, -2, 1], r"labels: 2 values out of range, first -1 at rows 0, 1; there"),
    ("beyond int64", np.array([0, 2**63 + 1, 1], np.uint64), r"labels: 1 value out of range"),
    ("ragged", [[0], [1, 2], [1]], r"labels.*expected one integer per query"),
]


@pytest.mark.parametrize(
    ("labels", "sentence"), [c[1:] for c in BAD_LABELS], ids=[c[0] for c in BAD_LABELS]
)
def test_malformed_labels_are_refused(labels: Any, sentence: str) -> None:
    with pytest.raises(LabelsError, match=sentence):
        checked_labels(labels, 3, 4)


def test_labels_in_range_pass_as_int64() -> None:
    out = checked_labels(np.array([0, 3, 3], np.uint8), 3, 4)
    assert out.dtype == np.int64
    assert out.tolist() == [0, 3, 3]


BAD_RELEVANCE: list[tuple[str, Any, str]] = [
    ("one column", [[0], [1]], r"shape \(2, 1\) and dtype int64; expected two integer columns"),
    ("three columns", [[0, 1, 1]], r"shape \(1, 3\).*expected two integer columns"),
    ("floats", [[0.0, 1.0]], r"dtype float64; expected two integer columns"),
    ("no rows", np.zeros((0, 2), int), r"relevance holds no rows"),
    (
        "query out of range",
        [[3, 0]],
        r"query column: 1 value out of range, first 3 at row 0; "
        r"there are 3 queries, numbered from 0 to 2",
    ),
    (
        "candidate out of range",
        [[0, 0], [1, 9]],
        r"candidate column: 1 value out of range, "
        r"first 9 at row 1; there are 4 candidates",
    ),
    ("ragged", [[0, 1], [2]], r"relevance.*expected two integer columns"),
]


@pytest.mark.parametrize(
    ("relevance", "sentence"), [c[1:] for c in BAD_RELEVANCE], ids=[c[0] for c in BAD_RELEVANCE]
)
def test_malformed_relevance_is_refused(relevance: Any, sentence: str) -> None:
    with pytest.raises(LabelsError, match=sentence):
        checked_relevance(relevance, 3, 4)


def test_relevance_is_sorted_and_said_once() -> None:
    out = checked_relevance([[2, 0], [0, 3], [2, 0], [0, 1]], 3, 4)
    assert out.tolist() == [[0, 1], [0, 3], [2, 0]]


def test_two_sides_of_different_dimension_or_length_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"image has 5 dimensions and text has 4; .*one model"):
        Pairs.of(rows_of(6, 5), rows_of(6, 4), names=("image", "text"))
    with pytest.raises(NotPaired, match=r"image has 6 rows and text has 7.*labels or a relevance"):
        Pairs.of(rows_of(6), rows_of(7), names=("image", "text"), paired=True)


def test_pairing_is_taken_from_lengths_only_where_nothing_is_said() -> None:
    assert Pairs.of(rows_of(6), rows_of(6, seed=1)).paired
    assert not Pairs.of(rows_of(6), rows_of(7)).paired
    assert not Pairs.of(rows_of(6), rows_of(6, seed=1), paired=False).paired
    assert not decide_paired("a", 3, "b", 4, False)


def test_zero_vectors_pass_where_no_cosine_is_taken() -> None:
    assert Embeddings.of(with_zero(4), cosine=False).stats.zeros == 1


def test_first_rows_names_five_and_counts_the_rest() -> None:
    assert first_rows([3], 1) == "row 3"
    assert first_rows([1, 2], 2) == "rows 1, 2"
    assert first_rows([0, 1, 2, 3, 4], 5) == "rows 0, 1, 2, 3, 4"
    assert first_rows([0, 1, 2, 3, 4], 9) == "rows 0, 1, 2, 3, 4 and 4 more"


# --- what is warned about ---------------------------------------------------------------------


def codes(stats: RowStats) -> set[str]:
    return {c.code for c in stats.warnings("images")}


def test_rows_that_are_not_unit_norm_are_said_with_their_mean_norm() -> None:
    found = RowStats.of(rows_of(12) * 9.1).warnings("images")
    assert [c.code for c in found] == ["not-unit-norm"]
    assert "images: rows are not unit norm (mean 9.1, standard deviation" in found[0].text
    assert found[0].to_dict() == {"code": "not-unit-norm", "text": found[0].text}


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
    found = {c.code: c.text for c in RowStats.of(rows).warnings("texts")}
    assert set(found) == {"duplicates", "fewer-rows-than-dimensions"}
    assert "texts: 2 of 6 rows repeat an earlier row exactly" in found["duplicates"]
    assert "6 rows in 9 dimensions span at most 5 directions" in found["fewer-rows-than-dimensions"]
    assert codes(RowStats.of(rows_of(9, 9))) == set()


# --- the stats is a fold ---------------------------------------------------------------------


@given(
    cuts=st.lists(st.integers(0, 50), max_size=6),
    seed=st.integers(0, 5),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
)
def test_a_merged_census_equals_one_pass(cuts: list[int], seed: int, dtype: str) -> None:
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
    for name in (
        "rows",
        "dim",
        "dtype",
        "nonfinite",
        "zeros",
        "nonfinite_first",
        "zeros_first",
        "duplicates",
    ):
        assert getattr(merged, name) == getattr(whole, name), name
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
    assert RowStats.of(rows).nonfinite == 1
    with pytest.raises(ValuesError, match=r"1 of 4 rows \(row 0\)"):
        Embeddings.of(rows)


def test_unit_rows_of_huge_and_tiny_float32_rows_have_norm_one() -> None:
    rows = np.asarray(rows_of(6, 4), np.float32)
    for size in (1e30, 1e-30):
        scaled = Embeddings.of(rows * np.float32(size))
        assert scaled.stats.zeros == 0
        np.testing.assert_allclose(scaled.unit(), rows, rtol=1e-5, atol=1e-7)


def test_blocks_cover_all_rows_in_order() -> None:
    seen = Embeddings.of(rows_of(12))
    np.testing.assert_array_equal(np.concatenate(list(seen.blocks(5))), seen.rows)
    assert [len(b) for b in seen.blocks(5)] == [5, 5, 2]


def test_offsets_number_bad_rows_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.data.embeddings.BLOCK", 4)
    with pytest.raises(ValuesError, match=r"in 3 of 12 rows \(rows 1, 6, 11\)"):
        Embeddings.of(with_bad(np.nan, (1, 0), (6, 2), (11, 4)))
