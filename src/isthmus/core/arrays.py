"""Small helpers over the array API, so that one code path serves NumPy arrays and torch tensors.

Only what the standard leaves out is here: conversion to NumPy, float32/float64 working dtypes,
and unit rows. Nothing in this file imports a framework; ``array_api_compat`` looks at what it
is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import ref

import numpy as np

T = TypeVar("T")

Array = Any  # a NumPy array or a tensor that speaks the array API

EPS32 = float(np.finfo(np.float32).eps)
EPS64 = float(np.finfo(np.float64).eps)
UNIT_TOLERANCE = 1e-5
"""Rows whose norms are this near 1 count as unit rows."""
STANDARD = hasattr(np, "astype")
"""NumPy speaks the array API by itself, from 2.1 on."""


def namespace(*arrays: Array) -> Any:
    """The array-API namespace of the arrays given (NumPy's for plain arrays)."""
    if STANDARD and all(isinstance(array, np.ndarray) for array in arrays):
        return np
    from array_api_compat import array_namespace

    return array_namespace(*arrays)


def is_numpy(array: Array) -> bool:
    """Whether the rows are a NumPy array: then the faster NumPy-only calls may be used."""
    return isinstance(array, np.ndarray)


def to_numpy(array: Array) -> np.ndarray:
    """Bring an array to the host as NumPy, without a copy where that is possible."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):  # torch: leave the graph and the device first
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":  # NumPy has no bfloat16; float32 holds it exactly
            array = array.float()
    try:
        return np.from_dlpack(array)
    except (AttributeError, TypeError, BufferError, RuntimeError):
        return np.asarray(array)


def detached(array: Array) -> Array:
    """The same numbers outside any autograd graph; where it lies does not change."""
    return array.detach() if hasattr(array, "detach") else array


def working(array: Array, *, double: bool = False) -> Array:
    """Rows as float32 or float64, whichever loses nothing; float64 when ``double``.

    float16 becomes float32, which holds each of its values exactly.
    """
    xp = namespace(array)
    wanted = xp.float64 if double or array.dtype == xp.float64 else xp.float32
    return array if array.dtype == wanted else xp.astype(array, wanted)


def like(array: Array, values: np.ndarray) -> Array:
    """NumPy float64 numbers as an array of the namespace, dtype and device of ``array``."""
    if isinstance(array, np.ndarray):
        return values.astype(array.dtype, copy=False)
    from array_api_compat import device

    xp = namespace(array)
    own = np.array(values)  # torch shares memory with what it is given, and wants to write to it
    return xp.asarray(own, dtype=array.dtype, device=device(array))


def difference(rows: Array, values: Array, out: Array) -> Array:
    """Rows (n, d) minus ``values`` (d,), written into ``out`` (n, d) of the dtype of ``values``.

    The array API has no output argument, so for tensors the difference passes through a temporary.
    """
    if isinstance(out, np.ndarray):
        return np.subtract(rows, values, out=out)
    xp = namespace(out)
    out[:, :] = xp.astype(rows, out.dtype) - values[None, :]
    return out


def row_norms(rows: Array) -> Array:
    """Euclidean norm of each row, (n,), also where squares leave the dtype's range."""
    norms = _plain_norms(rows)
    lost = _out_of_range(norms)
    if lost is None:
        return norms
    scaled, peaks = _by_peak(rows, lost)
    return _plain_norms(scaled) * peaks


def unit(rows: Array, *, spent: bool = False) -> Array:
    """Rows divided by their norms; a zero row stays zero. ``spent``: nobody needs the rows after,
    and NumPy writes to them."""
    xp = namespace(rows)
    norms = _plain_norms(rows)
    lost = _out_of_range(norms)
    if lost is not None:
        rows, _ = _by_peak(rows, lost)
        norms = _plain_norms(rows)
        norms = xp.where(norms > 0, norms, xp.ones_like(norms))
    if spent and isinstance(rows, np.ndarray):
        return np.divide(rows, norms[:, None], out=rows)
    return rows / norms[:, None]


def _plain_norms(rows: Array) -> Array:
    if isinstance(rows, np.ndarray):
        with np.errstate(over="ignore"):
            return np.sqrt(np.einsum("ij,ij->i", rows, rows))
    xp = namespace(rows)
    return xp.sqrt(xp.sum(rows * rows, axis=1))


def _out_of_range(norms: Array) -> Array | None:
    """Rows (n,) bool whose squares overflowed or were too small to keep their digits, if any."""
    xp = namespace(norms)
    limits = xp.finfo(norms.dtype)
    least = float(limits.smallest_normal / limits.eps) ** 0.5
    lost = ~((norms > least) & xp.isfinite(norms))
    return lost if bool(xp.any(lost)) else None


def _by_peak(rows: Array, lost: Array) -> tuple[Array, Array]:
    """Rows named by ``lost`` over their largest magnitude, and that magnitude; others over 1."""
    xp = namespace(rows)
    peaks = xp.max(xp.abs(rows), axis=1)
    peaks = xp.where(lost & (peaks > 0) & xp.isfinite(peaks), peaks, xp.ones_like(peaks))
    return rows / peaks[:, None], peaks


def near_unit(rows: np.ndarray, tolerance: float = UNIT_TOLERANCE) -> bool:
    """Whether all norms are as near 1 as rounding leaves unit rows."""
    return bool((np.abs(row_norms(rows) - 1) <= tolerance).all())


class Facts:
    """Facts of arrays, by name. An array is known by itself, so it must not change meanwhile.

    Arrays are not kept alive: what was found of one is forgotten with it.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], tuple[tuple[Any, ...], Any]] = {}

    def of(self, name: str, find: Callable[[], T], *arrays: Any) -> T:
        """The fact ``name`` of some arrays together; ``find`` finds it where it is not known."""
        key = name, *(id(array) for array in arrays)
        kept = self._found.get(key)
        if kept is None or any(
            known() is not array for known, array in zip(kept[0], arrays, strict=True)
        ):
            forget = lambda _: self._found.pop(key, None)  # noqa: E731
            kept = self._found[key] = tuple(ref(array, forget) for array in arrays), find()
        found: T = kept[1]
        return found

    def forget(self) -> None:
        """Drop all of them; they are found again where they are asked for."""
        self._found.clear()
