"""Full moments of a million rows against one bare matrix product of the same shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.rows import MADE_UP, array
from bench.timing import interleaved, ratio, result


def measure(quick: bool) -> dict[str, Any]:
    """Time of count, mean and scatter (chunk by chunk, shifted by a pivot) over a product's."""
    from isthmus.data.moments import Moments

    rows, dim = (100_000 if quick else 1_000_000), 512
    longer = array(rows + 1, dim)
    x, shifted = longer[:-1], longer[1:]
    taken = interleaved(
        {
            "moments": lambda: Moments.of(x),
            "general_product": lambda: x.T @ shifted,
            "symmetric_product": lambda: x.T @ x,
        },
        repeats=3 if quick else 5,
        warm=quick,
    )
    shape: dict[str, Any] = {"shape": [rows, dim], "dtype": "float32", "rows": MADE_UP}
    general, symmetric = (
        ratio(taken, "moments", other) for other in ("general_product", "symmetric_product")
    )
    return {
        "moments_vs_gemm": result(
            general.pop("value"),
            "time of moments / time of product",
            at_most=1.2,
            aim="< 1",
            what="against a general float32 product of that shape (BLAS gemm): X.T @ Y, Y being X "
            "moved on by one row, so that NumPy does not see that the result is symmetric",
            **general,
            **shape,
        ),
        "moments_vs_syrk": result(
            symmetric.pop("value"),
            "time of moments / time of product",
            what="against NumPy's X.T @ X, which sees one array twice and calls BLAS syrk: half "
            "the work; for comparison, no bound",
            **symmetric,
            **shape,
            error=_error(Moments.of(x[:50_000]), x[:50_000]),
        ),
    }


def _error(moments: Any, rows: np.ndarray) -> dict[str, float]:
    """Relative errors against two passes in float64, on the first rows."""
    exact = rows.astype(np.float64)
    mean = exact.mean(axis=0)
    exact -= mean
    scatter = exact.T @ exact
    return {
        "mean": float(np.linalg.norm(moments.mean - mean) / np.linalg.norm(mean)),
        "scatter": float(np.linalg.norm(moments.scatter - scatter) / np.linalg.norm(scatter)),
    }
