"""What is read off paired vectors along a training; every function takes leading axes of runs."""

from __future__ import annotations

import numpy as np

from isthmus.lab.gradients import softmaxes


def gap_vector(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of y minus mean of x, (…, d)."""
    return np.asarray(y.mean(-2) - x.mean(-2))


def gap(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Length of the gap vector, (…,)."""
    return np.asarray(np.linalg.norm(gap_vector(x, y), axis=-1))


def along_gap(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of x and of y along the gap, each less its mean, (…, n) each."""
    g = gap_vector(x, y)
    axis = (g / np.linalg.norm(g, axis=-1, keepdims=True))[..., None]
    first, second = ((side @ axis)[..., 0] for side in (x, y))
    return first - first.mean(-1, keepdims=True), second - second.mean(-1, keepdims=True)


def variance_along(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Variance of x plus variance of y along the gap, (…,): V of D8, population variances."""
    return np.asarray(sum(side.var(-1) for side in along_gap(x, y)))


def variance_share(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of the two sides' variance that lies along the gap, (…,); 1 / d where isotropic."""
    return np.asarray(variance_along(x, y) / (x.var(-2).sum(-1) + y.var(-2).sum(-1)))


def across_gap(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y without their coordinate along the gap, (…, n, d) each."""
    g = gap_vector(x, y)
    axis = (g / np.linalg.norm(g, axis=-1, keepdims=True))[..., None, :]
    first, second = (side - (side * axis).sum(-1, keepdims=True) * axis for side in (x, y))
    return first, second


def matched_cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean cosine of pairs, (…,)."""
    lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    return np.asarray(((x * y).sum(-1) / lengths).mean(-1))


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """‖x_i - y_j‖², (…, n, m)."""
    squares = [(side * side).sum(-1) for side in (x, y)]
    return squares[0][..., :, None] + squares[1][..., None, :] - 2 * x @ np.swapaxes(y, -1, -2)


def first_right(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Share of queries whose nearest candidate is their partner, (…,)."""
    nearest = squared_distances(queries, candidates).argmin(-1)
    return np.asarray((nearest == np.arange(queries.shape[-2])).mean(-1))


def column_deviation(logits: np.ndarray) -> np.ndarray:
    """How far the softmax over rows is from doubly stochastic, (…,): rms of column sums less 1."""
    sums = softmaxes(logits)[0].sum(-2)
    return np.asarray(np.sqrt(((sums - 1) ** 2).mean(-1)))


def sinkhorn_potentials(logits: np.ndarray, rounds: int = 300) -> np.ndarray:
    """What to add to each column so that rows and columns of exp sum to 1, (n,), mean 0."""
    rows, columns = np.zeros(len(logits)), np.zeros(logits.shape[1])
    for _ in range(rounds):
        rows = -_log_sums(logits + columns, 1)
        columns = -_log_sums(logits + rows[:, None], 0)
    return columns - columns.mean()


def _log_sums(logits: np.ndarray, axis: int) -> np.ndarray:
    most = logits.max(axis, keepdims=True)
    return np.squeeze(most, axis) + np.log(np.exp(logits - most).sum(axis))
