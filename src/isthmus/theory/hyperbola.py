"""The point of a hyperbola's branch that is nearest to a point inside it."""

from __future__ import annotations

import numpy as np

HALVINGS = 80


def nearest_on_branch(
    p: np.ndarray, t: np.ndarray, a: np.ndarray, b: np.ndarray, rise: np.ndarray, run: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest point (p', t') of p = a √(1 + t²/b²) to points with p inside and t >= 0, (n,) each.

    ``rise`` / ``run`` = b / a is the asymptotes' slope dt/dp, which also names the cone a = b = 0.
    A point (a cosh τ, b sinh τ) is a foot where c² sinh τ - a p tanh τ - b t = 0, c² = a² + b²;
    for τ >= 0 the left side is convex where it falls and then rises for good, so it has one
    sign change, which bisection finds. In sinh τ = w / b: the foot's own t is w.
    """
    slope = rise / run
    cone = b <= 1e-12 * np.hypot(p, t)
    # feet of the cone
    along = (p + slope * t) / (1 + slope**2)
    foot_p, foot_t = along, slope * along
    low, high = np.zeros_like(p), 2 * (np.abs(p) + t) + b
    some = ~cone
    p, t, a, b = p[some], t[some], a[some], b[some]
    low, high = low[some], high[some]
    square = a * a + b * b
    for _ in range(HALVINGS):
        w = 0.5 * (low + high)
        # times b: c² w / b ... with tanh τ = w / √(b² + w²)
        over = square * w / b - a * p * w / np.hypot(b, w) - b * t > 0
        high, low = np.where(over, w, high), np.where(over, low, w)
    w = 0.5 * (low + high)
    foot_p[some], foot_t[some] = a * np.hypot(b, w) / b, w
    return foot_p, foot_t
