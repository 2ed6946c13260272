"""What is read off paired vectors along a training; every function takes leading axes of runs."""

from __future__ import annotations

import numpy as np


def gap_vector(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of y minus mean of x, (…, d)."""
    return np.asarray(y.mean(-2) - x.mean(-2))


def variance_along(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Variance of x plus variance of y along the gap, (…,): V of D8, population variances."""
    g = gap_vector(x, y)
    axis = g / np.linalg.norm(g, axis=-1, keepdims=True)
    return np.asarray(sum((side @ axis[..., None])[..., 0].var(-1) for side in (x, y)))
