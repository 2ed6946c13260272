"""Which rows a map cannot take: NaN, infinity, and zero rows where rows are normalised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.core.arrays import Array, namespace, to_numpy
from isthmus.data.source import ids_of
from isthmus.errors import ValuesError, first_rows


def invalid_rows(rows: Array, *, normalised: bool) -> dict[str, np.ndarray]:
    """Places of rows (n, d) that cannot be mapped, by their fault; no fault, no entry. O(n d)."""
    xp = namespace(rows)
    finite = to_numpy(xp.all(xp.isfinite(rows), axis=1)).astype(bool)
    found = {"not-finite": np.flatnonzero(~finite)}
    if normalised:
        found["zero-rows"] = np.flatnonzero(~to_numpy(xp.any(rows != 0, axis=1)).astype(bool))
    return {fault: places for fault, places in found.items() if len(places)}


def refuse_invalid(
    faults: Mapping[str, Sequence[int]], name: str, hint: str = "", source: Any = None
) -> None:
    """Refuse rows that cannot be mapped, the first five of each fault named; ``source`` knows ids.

    Raises:
        ValuesError: there are such rows.
    """
    for code, what in (
        ("not-finite", "NaN or infinity, which would spread through the map"),
        ("zero-rows", "nothing but zeros (failed encodings?), which have no direction"),
    ):
        places = faults.get(code)
        if places is not None and len(places):
            count, ids = len(places), ids_of(source)
            raise ValuesError(
                code,
                f"{name}: {count} row{'s' * (count != 1)} with {what} "
                f"({first_rows([int(p) for p in places[:5]], count, ids)}); recompute or drop "
                f"{'them' if count > 1 else 'it'}{hint}",
            )


def refuse_invalid_rows(rows: Any, name: str, *, normalised: bool) -> None:
    """The same for rows (n, d) in memory. Raises ValuesError."""
    found = invalid_rows(rows, normalised=normalised)
    refuse_invalid({fault: places.tolist() for fault, places in found.items()}, name)
