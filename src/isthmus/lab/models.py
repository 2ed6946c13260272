"""What the laboratory trains: free vectors, and two small towers over inputs that are given."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from isthmus.core.seeds import stream
from isthmus.lab.dynamics import ALL, State
from isthmus.lab.gradients import loss_gradients


@dataclass(frozen=True)
class FreeVectors:
    """Every vector is a parameter: ``x``, ``y`` (runs, n, d), ``log_scale``, ``bias`` (runs,).

    Attributes are the options of :func:`isthmus.lab.gradients.loss_gradients`.
    """

    loss: str = "infonce"
    logits: str = "dot"
    normalised: bool = False

    def gradient(self, state: State, batch: np.ndarray | slice = ALL) -> tuple[np.ndarray, State]:
        found = loss_gradients(
            state["x"][:, batch],
            state["y"][:, batch],
            np.exp(state["log_scale"]),
            state["bias"],
            loss=self.loss,
            logits=self.logits,
            normalised=self.normalised,
        )
        gradient = {"log_scale": found.log_scale, "bias": found.bias}
        for name, part in (("x", found.x), ("y", found.y)):
            gradient[name] = np.zeros_like(state[name])
            gradient[name][:, batch] = part
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


@dataclass(frozen=True)
class Towers:
    """Two towers of one hidden layer, or none: (tanh(a W₁ + b₁)) W₂ + b₂.

    State: ``x.w1`` (runs, p, h), ``x.b1`` (runs, 1, h), ``x.w2`` (runs, h, d), ``x.b2``
    (runs, 1, d), the same with ``y.``, ``log_scale`` and ``bias``; without ``w1`` the tower is
    linear. A shared tower has ``x.`` only, and reads both inputs.

    Attributes:
        a, b: inputs of the two, (n, p), or (runs, n, p) where each run has its own pairs.
        loss, logits, normalised: as of :class:`FreeVectors`. shared: one tower for both.
    """

    a: np.ndarray
    b: np.ndarray
    loss: str = "infonce"
    logits: str = "dot"
    normalised: bool = False
    shared: bool = False

    @property
    def sides(self) -> tuple[tuple[str, np.ndarray], tuple[str, np.ndarray]]:
        """Names of the towers and what they read."""
        return ("x", self.a), ("x" if self.shared else "y", self.b)

    def outputs(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Vectors before they are normalised, (runs, n, d) each."""
        first, second = (_forward(state, name, inputs)[0] for name, inputs in self.sides)
        return first, second

    def gradient(self, state: State, batch: np.ndarray | slice = ALL) -> tuple[np.ndarray, State]:
        sides = [(name, inputs[..., batch, :]) for name, inputs in self.sides]
        passes = [_forward(state, name, inputs) for name, inputs in sides]
        found = loss_gradients(
            passes[0][0],
            passes[1][0],
            np.exp(state["log_scale"]),
            state["bias"],
            loss=self.loss,
            logits=self.logits,
            normalised=self.normalised,
        )
        total: State = {"log_scale": found.log_scale, "bias": found.bias}
        for (name, inputs), (_, hidden), out in zip(sides, passes, (found.x, found.y)):
            for key, part in _backward(state, name, inputs, hidden, out).items():
                total[key] = total[key] + part if key in total else part
        return found.loss, total

    def embed(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        x, y = self.outputs(state)
        return (_unit(x), _unit(y)) if self.normalised else (x, y)


def _forward(state: State, name: str, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A tower's output and its hidden layer (its inputs, where it has none)."""
    hidden = inputs
    if f"{name}.w1" in state:
        hidden = np.tanh(inputs @ state[f"{name}.w1"] + state[f"{name}.b1"])
    return hidden @ state[f"{name}.w2"] + state[f"{name}.b2"], hidden


def _backward(
    state: State, name: str, inputs: np.ndarray, hidden: np.ndarray, out: np.ndarray
) -> State:
    """Gradients of a tower's weights from the one of its output, (runs, n, d)."""
    found = {
        f"{name}.w2": np.swapaxes(hidden, -1, -2) @ out,
        f"{name}.b2": out.sum(-2, keepdims=True),
    }
    if f"{name}.w1" in state:
        inner = (out @ np.swapaxes(state[f"{name}.w2"], -1, -2)) * (1 - hidden**2)
        found[f"{name}.w1"] = np.swapaxes(inputs, -1, -2) @ inner
        found[f"{name}.b1"] = inner.sum(-2, keepdims=True)
    return found


def tower_state(
    widths: tuple[int, ...],
    offsets: np.ndarray,
    scale: float | np.ndarray,
    seed: int,
    *,
    spread: float = 1.0,
    shared: bool = False,
    bias: float = 0.0,
) -> State:
    """Towers at the start: the same random weights in every run, and a gap of one's own.

    Args:
        widths: (p, h, d), or (p, d) for a linear tower. offsets: (runs,), distance that the last
            bias puts between the two outputs, along the last coordinate, in which no weight is. A
            shared tower has no offset of its own. scale: of the logits, one or (runs,). spread:
            weights are normal with variance spread² over the width that they read.
    """
    runs = len(offsets)
    rng = stream("lab.vectors", seed, 1)
    state: State = {}
    for name, sign in (("x", -1),) if shared else (("x", -1), ("y", 1)):
        for layer, (wide, out) in enumerate(pairwise(widths)):
            last = layer == len(widths) - 2
            weight = rng.normal(size=(wide, out)) * spread / np.sqrt(wide)
            shift = np.zeros((runs, 1, out))
            if last:
                weight[:, -1] = 0.0
                shift[:, 0, -1] = sign * np.asarray(offsets) / 2
            which = "2" if last else "1"
            state[f"{name}.w{which}"] = np.broadcast_to(weight, (runs, wide, out)).copy()
            state[f"{name}.b{which}"] = shift
    log_scale = np.broadcast_to(np.log(np.asarray(scale, np.float64)), (runs,)).copy()
    return state | {"log_scale": log_scale, "bias": np.full(runs, float(bias))}


def paired_inputs(
    n: int, latent: int, width: int, seed: int, *more: int, noise: float = 0.3, wrong: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of two modalities that show the same things, (n, width) each.

    Row i of both is made from the same ``latent`` numbers by two fixed random maps, and ``noise``.

    Args:
        more: tells draws apart; the maps stay those of the seed. wrong: share of rows whose
            partners are dealt out anew among themselves.
    """
    maps = stream("lab.inputs", seed, 0).normal(size=(2, latent, width)) / np.sqrt(latent)
    rng = stream("lab.inputs", seed, 1, *more)
    things = rng.normal(size=(n, latent))
    a, b = (things @ one + noise * rng.normal(size=(n, width)) for one in maps)
    mixed = rng.permutation(n)[: round(wrong * n)]
    b[mixed] = b[np.roll(mixed, 1)]
    return a, b
