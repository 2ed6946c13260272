"""Exact gradients of contrastive losses in NumPy float64, for one batch or many at once.

With logits ℓ_ij between x_i and y_j and the pairs on the diagonal,

* ``infonce``: half the cross-entropy over rows and half over columns, averaged over the n pairs
  (CLIP's loss; equation 6 of the paper is twice this). ∂L/∂ℓ = (P + R - 2I) / 2n, P and R the
  softmaxes over rows and columns;
* ``sigmoid``: SigLIP's, -1/n Σ_ij log σ(z_ij ℓ_ij), z = 1 on the diagonal and -1 elsewhere.

Logits are ``dot``, s⟨x_i, y_j⟩ + b, or ``distance``, -s‖x_i - y_j‖² + b, of the vectors as they are
or of the vectors over their norms (``normalised``). On unit vectors distance logits of scale s are
dot logits of scale 2s. Source: theory of the paper (equation 7) and D1 to D4 of ``docs/lab.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.checks import one_of

LOSSES = ("infonce", "sigmoid")
LOGITS = ("dot", "distance")


@dataclass(frozen=True)
class Gradients:
    """A loss and its gradients; "…" are the axes of runs, which do not meet.

    Attributes:
        loss: (…,). x, y: (…, n, d). log_scale, bias: (…,). weights: (…, n, n), ∂L/∂ℓ.
        unit_x, unit_y: (…, n, d), the gradients by the vectors that the logits are made of.
    """

    loss: np.ndarray
    x: np.ndarray
    y: np.ndarray
    log_scale: np.ndarray
    bias: np.ndarray
    weights: np.ndarray
    unit_x: np.ndarray
    unit_y: np.ndarray


def loss_gradients(
    x: np.ndarray,
    y: np.ndarray,
    scale: float | np.ndarray,
    bias: float | np.ndarray = 0.0,
    *,
    loss: str = "infonce",
    logits: str = "dot",
    normalised: bool = False,
) -> Gradients:
    """The loss of paired rows and its gradients by rows, log scale and bias. O(n² d) a run.

    Args:
        x, y: (…, n, d), row i of one belongs to row i of the other. scale: s above 0, one number
            or one a run, (…,). bias: b, likewise; it cancels in ``infonce``.

    Raises:
        OptionError: another loss or other logits.

    >>> x = np.eye(3)
    >>> bool(loss_gradients(x, x, 10.0).loss < 1e-3)
    True
    """
    one_of(loss, LOSSES, "loss")
    one_of(logits, LOGITS, "logits")
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    s = np.asarray(scale, np.float64)[..., None, None]
    u, v, lengths = x, y, None
    if normalised:
        lengths = tuple(np.linalg.norm(side, axis=-1, keepdims=True) for side in (x, y))
        u, v = x / lengths[0], y / lengths[1]
    scores = u @ np.swapaxes(v, -1, -2)
    if logits == "distance":
        squares = (np.sum(side * side, axis=-1) for side in (u, v))
        scores = 2 * scores - next(squares)[..., :, None] - next(squares)[..., None, :]
    value, weights = (_infonce if loss == "infonce" else _sigmoid)(
        s * scores + np.asarray(bias, np.float64)[..., None, None]
    )
    back = np.swapaxes(weights, -1, -2)
    if logits == "dot":
        unit_x, unit_y = s * (weights @ v), s * (back @ u)
    else:
        unit_x = 2 * s * (weights @ v - weights.sum(-1)[..., None] * u)
        unit_y = 2 * s * (back @ u - back.sum(-1)[..., None] * v)
    return Gradients(
        value,
        unit_x if lengths is None else _through_norm(unit_x, u, lengths[0]),
        unit_y if lengths is None else _through_norm(unit_y, v, lengths[1]),
        (weights * s * scores).sum((-1, -2)),
        weights.sum((-1, -2)),
        weights,
        unit_x,
        unit_y,
    )


def _through_norm(gradient: np.ndarray, unit: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The gradient by a vector from the one by its unit vector: (I - u uᵀ) / length."""
    return (gradient - (gradient * unit).sum(-1, keepdims=True) * unit) / length


def softmaxes(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Softmax over each row and over each column, (…, n, m) each."""
    found = []
    for axis in (-1, -2):
        part = np.exp(logits - logits.max(axis, keepdims=True))
        found.append(part / part.sum(axis, keepdims=True))
    return found[0], found[1]


def _infonce(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = logits.shape[-1]
    right = np.arange(n)
    own = logits[..., right, right]
    loss = np.zeros(logits.shape[:-2])
    weights = np.zeros_like(logits)
    for axis in (-1, -2):
        most = logits.max(axis, keepdims=True)
        part = np.exp(logits - most)
        total = part.sum(axis, keepdims=True)
        loss += (np.squeeze(most + np.log(total), axis) - own).mean(-1) / 2
        weights += part / total / (2 * n)
    weights[..., right, right] -= 1 / n
    return loss, weights


def _sigmoid(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = logits.shape[-1]
    sign = 2 * np.eye(n) - 1
    signed = sign * logits
    loss = np.logaddexp(0, -signed).sum((-1, -2)) / n
    return loss, -sign * np.exp(-np.logaddexp(0, signed)) / n
