"""Training as a path: gradient flow and the optimisers in use, of many runs at once.

A *state* is a dict of arrays whose first axis is the run. A *model* turns it into paired vectors
and a gradient (:mod:`isthmus.lab.models`). Nothing here knows which laws hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isthmus.core.checks import one_of
from isthmus.core.seeds import stream
from isthmus.errors import OptionError

State = dict[str, np.ndarray]
"""Name of a parameter -> (runs, …)."""
OPTIMISERS = ("sgd", "momentum", "adam")
ALL = slice(None)
"""A batch of all pairs."""
MOMENTUM = 0.9
ADAM = (0.9, 0.999, 1e-8)
"""Decay of the mean, decay of the mean square, and what is added to the root."""


class Model(Protocol):
    """What can be trained."""

    def gradient(self, state: State, batch: np.ndarray | slice = ALL) -> tuple[np.ndarray, State]:
        """Losses (runs,) of the pairs of a batch, and the gradient by each parameter."""

    def embed(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Paired vectors, (runs, n, d) each, as the loss meets them."""


@dataclass(frozen=True)
class Path:
    """States along a training.

    Attributes:
        times: (t,), time of a flow or number of steps. states: name -> (t, runs, …). losses:
            (t, runs). model: what was trained.
    """

    times: np.ndarray
    states: State
    losses: np.ndarray
    model: Model

    def state(self, at: int) -> State:
        """The state at one of ``times``."""
        return {name: values[at] for name, values in self.states.items()}

    def embeddings(self, at: int = -1) -> tuple[np.ndarray, np.ndarray]:
        """Paired vectors at one of ``times``, (runs, n, d) each."""
        return self.model.embed(self.state(at))


Rates = Mapping[str, float | np.ndarray]
"""Name of a parameter or tower -> its rate over the common one, or one for each coordinate."""


def rate_of(name: str, rates: Rates) -> float | np.ndarray:
    """Rate of a parameter over the common one: its own, its tower's (before the dot), or 1."""
    return rates.get(name, rates.get(name.split(".")[0], 1.0))


def gradient_flow(
    model: Model,
    state: State,
    times: Sequence[float] | np.ndarray,
    *,
    rates: Rates | None = None,
    rtol: float = 1e-8,
) -> Path:
    """θ' = -rate · ∂L/∂θ by SciPy's DOP853, adaptive of order 8; all runs share the step.

    Args:
        times: increasing, from the start on. rates: :data:`Rates`; what is not named has 1,
            0 freezes it. rtol: of ``scipy.integrate.solve_ivp``.

    Raises:
        OptionError: the integrator could not go on.
    """
    from scipy.integrate import solve_ivp

    rates = rates or {}
    times = np.asarray(times, np.float64)
    shapes = {name: values.shape for name, values in state.items()}
    speed = np.concatenate(
        [
            np.broadcast_to(rate_of(name, rates), values.shape).ravel()
            for name, values in state.items()
        ]
    )

    def unpacked(flat: np.ndarray) -> State:
        out, at = {}, 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            out[name] = flat[at : at + size].reshape(shape)
            at += size
        return out

    def slope(time: float, flat: np.ndarray) -> np.ndarray:
        _, gradient = model.gradient(unpacked(flat))
        return -speed * np.concatenate([gradient[name].ravel() for name in shapes])

    start = np.concatenate([np.asarray(v, np.float64).ravel() for v in state.values()])
    ends, close = (times[0], times[-1]), {"rtol": rtol, "atol": 1e-11}
    found = solve_ivp(slope, ends, start, method="DOP853", t_eval=times, **close)
    if not found.success:
        raise OptionError("flow-stopped", f"the flow stopped: {found.message}; shorten it")
    kept = [unpacked(column) for column in found.y.T]
    return _path(model, times, kept)


def descend(
    model: Model,
    state: State,
    steps: int,
    *,
    rate: float,
    optimiser: str = "sgd",
    momentum: float = MOMENTUM,
    weight_decay: float = 0.0,
    rates: Rates | None = None,
    batch: int | None = None,
    every: int | None = None,
    seed: int = 0,
) -> Path:
    """Steps of ``sgd``, ``momentum`` (heavy ball) or ``adam``.

    Args:
        rate: the common learning rate. weight_decay: λ of θ ← (1 - rate λ) θ before each step, as
            AdamW does it; scale and bias do not decay. rates: as in :func:`gradient_flow`. batch:
            pairs in a step, the same for every run, each once before one comes again; None: all.
            every: steps between two kept states; the first and last are kept. None: a hundred in
            all. seed: of the batches.

    Raises:
        OptionError: another optimiser.
    """
    one_of(optimiser, OPTIMISERS, "optimiser")
    every = every or max(1, steps // 100)
    speeds = {name: rate * rate_of(name, rates or {}) for name in state}
    now = {name: np.array(values, np.float64) for name, values in state.items()}
    mean = {name: np.zeros_like(values) for name, values in now.items()}
    square = {name: np.zeros_like(values) for name, values in now.items()}
    kept, times = [dict(now)], [0]
    parts = _batches(model.embed(now)[0].shape[-2], batch, seed)
    for step in range(1, steps + 1):
        _, gradient = model.gradient(now, next(parts))
        for name, slope in gradient.items():
            if optimiser == "momentum":
                mean[name] = momentum * mean[name] + slope
                slope = mean[name]
            elif optimiser == "adam":
                slow, slower, least = ADAM
                mean[name] = slow * mean[name] + (1 - slow) * slope
                square[name] = slower * square[name] + (1 - slower) * slope**2
                root = np.sqrt(square[name] / (1 - slower**step))
                slope = mean[name] / (1 - slow**step) / (root + least)
            keep = 1.0 if name in ("log_scale", "bias") else 1 - speeds[name] * weight_decay
            now[name] = keep * now[name] - speeds[name] * slope
        if step % every == 0 or step == steps:
            kept.append(dict(now))
            times.append(step)
    return _path(model, np.array(times, np.float64), kept)


def _batches(n: int, size: int | None, seed: int) -> Iterator[np.ndarray | slice]:
    """Batches without end; what is left over of an epoch is not used."""
    rng = stream("lab.batches", seed)
    while True:
        if size is None or size >= n:
            yield ALL
        else:
            order = rng.permutation(n)
            yield from (order[at : at + size] for at in range(0, n - size + 1, size))


def _path(model: Model, times: np.ndarray, kept: list[State]) -> Path:
    losses = np.stack([model.gradient(state)[0] for state in kept])
    states = {name: np.stack([state[name] for state in kept]) for name in kept[0]}
    return Path(times, states, losses, model)
