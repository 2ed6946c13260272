"""Are the gradients right? Against finite differences, and torch's where it is installed."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from isthmus.core.progress import Progress, counted
from isthmus.core.seeds import stream
from isthmus.lab.gradients import LOGITS, LOSSES, loss_gradients
from isthmus.lab.laws import Found

PAIRS, DIM, STEP = 7, 5, 1e-5


def gradient_errors(seed: int, progress: Progress) -> Found:
    """Largest error over all entries of every gradient, relative to the largest entry."""
    rows = []
    kinds = list(product(LOSSES, LOGITS, (False, True)))
    for number, (loss, logits, normalised) in enumerate(counted(kinds, "gradients", progress)):
        rng = stream("lab.vectors", seed, 10, number)
        point = {
            "x": rng.normal(size=(PAIRS, DIM)),
            "y": rng.normal(size=(PAIRS, DIM)),
            "log_scale": np.log(3.0) + 0 * rng.normal(size=()),
            "bias": np.array(-1.0),
        }
        how: dict[str, Any] = {"loss": loss, "logits": logits, "normalised": normalised}
        exact = _exact(point, **how)
        rows.append(
            {
                **how,
                "finite_differences": _error(exact, _differences(point, **how)),
                "autograd": _autograd_error(exact, point, **how),
            }
        )
    missing = rows[0]["autograd"] is None
    return rows, {}, ["torch is not installed: no autograd to compare with."] * missing


def _exact(point: dict[str, np.ndarray], **how: Any) -> dict[str, np.ndarray]:
    found = loss_gradients(point["x"], point["y"], np.exp(point["log_scale"]), point["bias"], **how)
    return {name: getattr(found, name) for name in point}


def _error(exact: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Largest difference over the largest entry of all gradients."""
    size = max(np.abs(values).max() for values in exact.values())
    return float(max(np.abs(exact[name] - other[name]).max() for name in exact) / size)


def _differences(point: dict[str, np.ndarray], **how: Any) -> dict[str, np.ndarray]:
    """Central differences of fourth order."""

    def value(name: str, place: int, step: float) -> float:
        moved = {key: np.array(values) for key, values in point.items()}
        moved[name].reshape(-1)[place] += step
        scale = np.exp(moved["log_scale"])
        return float(loss_gradients(moved["x"], moved["y"], scale, moved["bias"], **how).loss)

    found = {}
    for name, values in point.items():
        slopes = np.array(
            [
                8 * (value(name, place, STEP) - value(name, place, -STEP))
                - (value(name, place, 2 * STEP) - value(name, place, -2 * STEP))
                for place in range(values.size)
            ]
        )
        found[name] = slopes.reshape(values.shape) / (12 * STEP)
    return found


def _autograd_error(
    exact: dict[str, np.ndarray],
    point: dict[str, np.ndarray],
    *,
    loss: str,
    logits: str,
    normalised: bool,
) -> float | None:
    """The same against torch's autograd of a loss that is written as CLIP and SigLIP write it."""
    try:
        import torch
    except ImportError:
        return None
    from torch.nn import functional

    leaf = {
        name: torch.tensor(v, dtype=torch.float64, requires_grad=True) for name, v in point.items()
    }
    x, y = leaf["x"], leaf["y"]
    if normalised:
        x, y = functional.normalize(x, dim=-1), functional.normalize(y, dim=-1)
    scores = x @ y.T if logits == "dot" else -(torch.cdist(x, y, compute_mode=NO_MATMUL) ** 2)
    table = leaf["log_scale"].exp() * scores + leaf["bias"]
    right = torch.arange(PAIRS)
    if loss == "infonce":
        total = functional.cross_entropy(table, right) + functional.cross_entropy(table.T, right)
        total = total / 2
    else:
        sign = 2 * torch.eye(PAIRS, dtype=torch.float64) - 1
        total = -functional.logsigmoid(sign * table).sum() / PAIRS
    total.backward()
    return _error(exact, {name: values.grad.numpy() for name, values in leaf.items()})


NO_MATMUL = "donot_use_mm_for_euclid_dist"
"""torch's name for distances from differences, without cancellation."""
