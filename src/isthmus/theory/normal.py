"""D14: the normal approximation for two candidates, to read the story off, not to predict with."""

from __future__ import annotations

import numpy as np


def normal_two(
    near: np.ndarray, far: np.ndarray, height: np.ndarray, dim: int, total: float
) -> np.ndarray:
    """Φ((r_2² - r_1²) / (2σ√(r_1² + r_2² + 2h² + dσ²))): P[keep] of two candidates, Euclidean.

    Args:
        near, far: in-span distances r_1, r_2 of the query. height: its distance h from the span.
        dim: noisy coordinates. total: E‖ε‖² of a candidate's noise, σ² = total / dim.
    """
    from scipy.special import ndtr

    near, far = np.asarray(near) ** 2, np.asarray(far) ** 2
    reach = 2 * np.sqrt(total / dim) * np.sqrt(near + far + 2 * np.asarray(height) ** 2 + total)
    return ndtr((far - near) / reach)
