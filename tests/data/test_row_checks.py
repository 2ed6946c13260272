"""Which arrays are rows, which labels fit them, and with which code the others are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.data.labels import checked_labels, checked_relevance
from isthmus.data.row_checks import check_same_space, checked_rows, decide_paired
from isthmus.errors import DtypeError, LabelsError, NotPaired, ShapeError, first_rows
from refusals import refused
from worlds import unit_rows


def rows_of(n: int = 12, d: int = 5, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)))


def ids(table: list[tuple[str, Any, str, str]]) -> list[str]:
    return [line[0] for line in table]


# --- what is accepted -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8", ">f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_float_dtypes_and_orders_pass_with_the_same_values(dtype: str, order: str) -> None:
    stored = np.asarray(rows_of(), dtype=dtype, order=order)  # type: ignore[call-overload]
    checked = checked_rows(stored)
    assert checked.dtype.isnative
    np.testing.assert_array_equal(np.asarray(checked, np.float64), stored.astype(np.float64))


def test_no_copy_is_made_of_ordinary_rows() -> None:
    rows = rows_of()
    rows.flags.writeable = False
    assert np.shares_memory(checked_rows(rows), rows)


@pytest.mark.parametrize("order", ["C", "F"])
def test_bfloat16_as_stored_decodes_exactly(order: str) -> None:
    bits = (np.ascontiguousarray(rows_of(), np.float32).view(np.uint32) >> 16).astype(np.uint16)
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
def test_an_integer_tensor_is_refused() -> None:
    torch = pytest.importorskip("torch")
    with refused("not-floats", "codes holds integers (int8)", kind=DtypeError):
        checked_rows(torch.zeros((4, 3), dtype=torch.int8), "codes")


def test_array_api_strict_rows_pass() -> None:
    strict = pytest.importorskip("array_api_strict")
    rows = strict.asarray(rows_of())
    assert checked_rows(rows) is rows
    with refused("not-floats", "integers (int64)"):
        checked_rows(strict.asarray([[1, 2], [3, 4]]))
    with refused("wrong-axes"):
        checked_rows(rows[0, :])


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


BAD_ROWS: list[tuple[str, Any, str, str]] = [
    ("one axis", np.ones(4), "wrong-axes", "pass rows[None, :]"),
    ("no axis", np.ones((), "f4"), "wrong-axes", "shape ()"),
    ("stray middle axis", np.ones((4, 1, 3)), "wrong-axes", "pass rows[:, 0, :]"),
    ("stray first axis", np.ones((1, 4, 3)), "wrong-axes", "pass rows[0]"),
    ("both modalities stacked", np.ones((2, 5, 3)), "wrong-axes", "pass rows[0] and rows[1]"),
    ("tokens", np.ones((4, 7, 3)), "wrong-axes", "choose one vector per item first"),
    ("four axes", np.ones((4, 2, 2, 3)), "wrong-axes", "shape (4, 2, 2, 3)"),
    ("no columns", np.ones((4, 0)), "no-columns", "shape (4, 0)"),
    ("no rows", np.ones((0, 3)), "too-few-rows", "images has 0 rows"),
    ("one row", np.ones((1, 3)), "too-few-rows", "images has 1 row;"),
    ("int8 codes", np.ones((4, 3), np.int8), "not-floats", "integers (int8)"),
    ("uint8 codes", np.ones((4, 3), np.uint8), "not-floats", "code * scale + offset"),
    ("int64", np.ones((4, 3), np.int64), "not-floats", "integers (int64)"),
    ("booleans", np.ones((4, 3), bool), "not-floats", "booleans"),
    ("complex", np.ones((4, 3), np.complex64), "not-floats", "complex numbers (complex64)"),
    ("objects", np.array([[1.0, "x"]], object), "not-floats", "numpy.stack(list(array))"),
    ("text", np.array([["a", "b"], ["c", "d"]]), "not-floats", "names or captions"),
    ("long double", np.ones((4, 3), np.longdouble), "not-floats", "convert with .astype"),
    ("records", np.zeros(4, [("x", "f4")]), "not-floats", "named fields (x)"),
    ("four-byte void", np.zeros((4, 3), "V4"), "not-floats", "void32"),
    ("ragged lists", [[1.0, 2.0], [3.0]], "ragged-rows", "differ in length"),
    ("lists of whole numbers", [[1, 2], [3, 4]], "not-floats", "integers (int64)"),
    ("a word", "rows.npy", "not-an-array", "images is a str"),
    ("nothing", None, "not-an-array", "images is a NoneType"),
    ("a dict", {"image": [1.0]}, "not-an-array", "images is a dict"),
    (
        "hidden values",
        np.ma.masked_less(np.array([[1.0, -1], [1, 1]]), 0),
        "masked-values",
        "1 of 4 values",
    ),
]


@pytest.mark.parametrize(("bad", "code", "fact"), [b[1:] for b in BAD_ROWS], ids=ids(BAD_ROWS))
def test_malformed_rows_are_refused_in_one_sentence(bad: Any, code: str, fact: str) -> None:
    with refused(code, "images", fact) as caught:
        checked_rows(bad, "images")
    assert "\n" not in str(caught.value)


BAD_LABELS: list[tuple[str, Any, str, str]] = [
    ("floats", [0.0, 1.0, 2.0], "labels-not-integers", "dtype float64"),
    ("booleans", [True, False, True], "labels-not-integers", "dtype bool"),
    ("two axes", [[0], [1], [2]], "labels-not-integers", "shape (3, 1)"),
    ("too few", [0, 1], "unequal-lengths", "2 labels for 3 queries"),
    ("too many", [0, 1, 1, 0], "unequal-lengths", "4 labels for 3 queries"),
    ("above the last", [0, 4, 1], "row-out-of-range", "first 4 at row 1; there are 4"),
    ("below zero", [-1, -2, 1], "row-out-of-range", "2 values out of range, first -1 at rows 0, 1"),
    ("beyond int64", np.array([0, 2**63 + 1, 1], np.uint64), "row-out-of-range", "1 value"),
    ("ragged", [[0], [1, 2], [1]], "ragged-rows", "one integer per query"),
]
BAD_RELEVANCE: list[tuple[str, Any, str, str]] = [
    ("one column", [[0], [1]], "labels-not-integers", "shape (2, 1)"),
    ("three columns", [[0, 1, 1]], "labels-not-integers", "shape (1, 3)"),
    ("floats", [[0.0, 1.0]], "labels-not-integers", "dtype float64"),
    ("no rows", np.zeros((0, 2), int), "no-relevance", ""),
    ("no such query", [[3, 0]], "row-out-of-range", "query column: 1 value"),
    ("no such candidate", [[0, 0], [1, 9]], "row-out-of-range", "first 9 at row 1; there are 4"),
    ("ragged", [[0, 1], [2]], "ragged-rows", "two integer columns"),
]


@pytest.mark.parametrize(("bad", "code", "fact"), [b[1:] for b in BAD_LABELS], ids=ids(BAD_LABELS))
def test_malformed_labels_are_refused(bad: Any, code: str, fact: str) -> None:
    with refused(code, "labels", fact, kind=LabelsError):
        checked_labels(bad, 3, 4)


@pytest.mark.parametrize(
    ("bad", "code", "fact"), [b[1:] for b in BAD_RELEVANCE], ids=ids(BAD_RELEVANCE)
)
def test_malformed_relevance_is_refused(bad: Any, code: str, fact: str) -> None:
    with refused(code, "relevance", fact, kind=LabelsError):
        checked_relevance(bad, 3, 4)


def test_labels_in_range_pass_as_int64() -> None:
    out = checked_labels(np.array([0, 3, 3], np.uint8), 3, 4)
    assert out.dtype == np.int64
    assert out.tolist() == [0, 3, 3]


def test_relevance_is_sorted_and_said_once() -> None:
    out = checked_relevance([[2, 0], [0, 3], [2, 0], [0, 1]], 3, 4)
    assert out.tolist() == [[0, 1], [0, 3], [2, 0]]


def test_two_sides_of_different_dimension_or_length_are_refused() -> None:
    check_same_space("image", 5, "text", 5)
    with refused("unequal-dimensions", "image has 5 dimensions and text has 4", kind=ShapeError):
        check_same_space("image", 5, "text", 4)
    with refused("unequal-lengths", "image has 6 rows and text has 7", kind=NotPaired):
        decide_paired("image", 6, "text", 7, True)


@pytest.mark.parametrize(
    ("n", "m", "said", "paired"),
    [(6, 6, None, True), (6, 7, None, False), (6, 6, False, False), (3, 4, False, False)],
)
def test_pairing_is_taken_from_lengths_only_where_nothing_is_said(
    n: int, m: int, said: bool | None, paired: bool
) -> None:
    assert decide_paired("a", n, "b", m, said) is paired


def test_first_rows_names_five_and_counts_the_rest() -> None:
    assert first_rows([3], 1) == "row 3"
    assert first_rows([1, 2], 2) == "rows 1, 2"
    assert first_rows([0, 1, 2, 3, 4], 5) == "rows 0, 1, 2, 3, 4"
    assert first_rows([0, 1, 2, 3, 4], 9) == "rows 0, 1, 2, 3, 4 and 4 more"
