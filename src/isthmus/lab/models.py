"""What the laboratory trains: free vectors, and two small towers over inputs that are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.seeds import stream
from isthmus.lab.dynamics import State
from isthmus.lab.gradients import Gradients, loss_gradients


@dataclass(frozen=True)
class FreeVectors:
    """Every vector is a parameter: ``x``, ``y`` (runs, n, d), ``log_scale``, ``bias`` (runs,).

    Attributes are the options of :func:`isthmus.lab.gradients.loss_gradients`.
    """

    loss: str = "infonce"
    logits: str = "dot"
    normalised: bool = False

    def evaluate(self, state: State) -> Gradients:
        """Everything that there is to know of the loss at a state."""
        return loss_gradients(
            state["x"],
            state["y"],
            np.exp(state["log_scale"]),
            state["bias"],
            loss=self.loss,
            logits=self.logits,
            normalised=self.normalised,
        )

    def gradient(self, state: State) -> tuple[np.ndarray, State]:
        found = self.evaluate(state)
        gradient = {"x": found.x, "y": found.y, "log_scale": found.log_scale, "bias": found.bias}
        return found.loss, gradient

    def embed(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        x, y = state["x"], state["y"]
        return (_unit(x), _unit(y)) if self.normalised else (x, y)


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


FIXED = {"log_scale": 0.0, "bias": 0.0}
"""Rates of a training whose temperature is fixed."""


def with_scale(x: np.ndarray, y: np.ndarray, scale: float | np.ndarray, bias: float = 0.0) -> State:
    """A state of free vectors: x, y (runs, n, d) and one scale, or one a run."""
    runs = len(x)
    log_scale = np.broadcast_to(np.log(np.asarray(scale, np.float64)), (runs,)).copy()
    return {"x": x, "y": y, "log_scale": log_scale, "bias": np.full(runs, float(bias))}


def two_clusters(
    n: int, d: int, gap: float, variance: float, seed: int, *more: int, matched: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Two Gaussian clusters with exactly this gap and this variance along it, (n, d) each.

    Args:
        gap: distance of the means, along the first axis. variance: of x and y together along it
            (V of D8); every other coordinate has the same in expectation. more: tells draws apart.
        matched: y is x moved by the gap, so that pairs differ by nothing else.
    """
    rng = stream("lab.vectors", seed, *more)
    x = rng.normal(size=(n, d)) * np.sqrt(variance / 2)
    y = x.copy() if matched else rng.normal(size=(n, d)) * np.sqrt(variance / 2)
    x, y = x - x.mean(0), y - y.mean(0)
    drawn = x[:, 0].var() + y[:, 0].var()
    for side, sign in ((x, -1), (y, 1)):
        side[:, 0] *= np.sqrt(variance / drawn) if drawn else 1.0
        side[:, 0] += sign * gap / 2
    return x, y


def many_clusters(
    runs: int, n: int, d: int, gap: float, variance: float, seed: int, *more: int, **how: bool
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`two_clusters` for several draws, (runs, n, d) each."""
    drawn = [two_clusters(n, d, gap, variance, seed, run, *more, **how) for run in range(runs)]
    return np.stack([x for x, _ in drawn]), np.stack([y for _, y in drawn])
