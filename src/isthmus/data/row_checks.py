"""Whether an array can be rows of embeddings: number format, axes, masks, two sides together."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.arrays import Array, namespace
from isthmus.data.dtypes import Stored, check_float, decode, stored_as
from isthmus.errors import DtypeError, NotPaired, ShapeError, ValuesError


def checked_rows(rows: Any, name: str = "rows") -> Array:
    """Return ``rows`` as an (n, d) floating-point array or refuse it with one sentence.

    Accepts float16, float32, float64 and bfloat16 (also as stored, two-byte void), any memory
    order, strides, read-only and memory-mapped arrays, and tensors of array-API libraries. Values
    are not looked at here (``RowStats.of`` does); no copy is made except for bfloat16 and foreign
    byte order.

    Raises:
        ShapeError: not two axes, no columns, or fewer than 2 rows.
        DtypeError: integers, booleans, complex numbers or objects. ValuesError: masked values.
    """
    if isinstance(rows, list | tuple):
        try:
            rows = np.asarray(rows)
        except ValueError:
            raise DtypeError(
                "ragged-rows",
                f"{name} is a list whose rows differ in length; expected equally long rows of "
                "floats: choose one vector per item first",
            ) from None
    if not hasattr(rows, "shape") or not hasattr(rows, "dtype"):
        raise DtypeError(
            "not-an-array",
            f"{name} is a {type(rows).__name__}, not an array; pass an (n, d) array of floats",
        )
    if isinstance(rows, np.ndarray):
        stored = check_array(rows, name)
        rows = np.asarray(rows)  # subclasses (masked, matrix) have rules of their own
        bits = np.ascontiguousarray(rows).view(np.uint16) if stored.name == "bfloat16" else rows
        rows = decode(bits, stored)
    else:
        if not namespace(rows).isdtype(rows.dtype, "real floating"):
            check_float(_stored_tensor(rows.dtype), name)
        check_axes(tuple(int(s) for s in rows.shape), name)
    check_count(int(rows.shape[0]), name)
    return rows


def check_array(array: np.ndarray, what: str) -> Stored:
    """How the numbers of an array lie; refuse one that is not (rows, dim) of floats.

    Raises:
        ValuesError: masked values. DtypeError: other numbers than floats. ShapeError: other axes.
    """
    if isinstance(array, np.ma.MaskedArray):
        hidden = int(np.ma.getmaskarray(array).sum())
        if hidden:
            raise ValuesError(
                "masked-values",
                f"{what} is masked and hides {hidden} of {array.size} values; expected a number "
                "everywhere: drop those rows first",
            )
    stored = stored_as(array.dtype)
    if array.dtype.kind == "O" and array.shape == () and isinstance(array.item(), dict):
        keys = ", ".join(repr(key) for key in list(array.item())[:8])
        raise DtypeError(
            "not-floats",
            f"{what} is an array that holds a dict with the keys {keys}; expected rows of floats: "
            "pass array.item()[KEY]",
        )
    check_float(stored, what, array.shape)
    check_axes(array.shape, what)
    return stored


def _stored_tensor(dtype: Any) -> Stored:
    """The number format of a tensor by its name, such as ``torch.int8``."""
    name = str(dtype).rpartition(".")[2]
    try:
        return stored_as(np.dtype(name))
    except TypeError:
        return Stored(name, np.dtype("V1"))


def check_axes(shape: tuple[int, ...], what: str) -> None:
    """Raise ShapeError unless ``shape`` is (rows, dim) with dim of at least 1."""
    if len(shape) == 2 and shape[1]:
        return
    text = f"{what} has shape {tuple(shape)}"
    if len(shape) == 2:
        raise ShapeError(
            "no-columns", f"{text}: rows without columns hold no embeddings; check what wrote it"
        )
    if len(shape) == 1:
        hint = "a single vector is one row; pass rows[None, :], or rows.reshape(-1, dimensions)"
    elif len(shape) == 3 and shape[1] == 1:
        hint = "the middle axis of length 1 is a stray one; pass rows[:, 0, :]"
    elif len(shape) == 3 and shape[0] == 2:
        hint = "the first axis looks like the two modalities; pass rows[0] and rows[1]"
    elif len(shape) == 3 and shape[0] == 1:
        hint = "the first axis of length 1 is a stray one; pass rows[0]"
    else:
        hint = "choose one vector per item first (one token, one crop, or their mean)"
    raise ShapeError("wrong-axes", f"{text}, expected two axes (rows, dimensions): {hint}")


def check_count(rows: int, name: str) -> None:
    """Raise ShapeError for fewer than 2 rows."""
    if rows < 2:
        raise ShapeError(
            "too-few-rows",
            f"{name} has {rows} row{'s' * (rows != 1)}; a gap is a difference of means "
            "and needs at least 2 rows on each side",
        )


def check_same_space(name_a: str, dim_a: int, name_b: str, dim_b: int) -> None:
    """Refuse two sides of different dimension."""
    if dim_a != dim_b:
        raise ShapeError(
            "unequal-dimensions",
            f"{name_a} has {dim_a} dimensions and {name_b} has {dim_b}; both sides must come from "
            "the two towers of one model (after its projection)",
        )


def decide_paired(name_a: str, n: int, name_b: str, m: int, paired: bool | None) -> bool:
    """Whether row i belongs to row i; None takes equal lengths as paired.

    Raises:
        NotPaired: the lengths contradict ``paired``.
    """
    if paired and n != m:
        raise NotPaired(
            "unequal-lengths",
            f"{name_a} has {n} rows and {name_b} has {m}, so row i cannot belong to row i; pass "
            "labels or a relevance file, or say that the sides are unpaired",
        )
    return n == m if paired is None else paired
