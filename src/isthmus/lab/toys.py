"""Toys of the literature, on which the laboratory must give the published answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.lab.gradients import loss_gradients
from isthmus.lab.laws import Found
from isthmus.report.charts import Chart, Series

APART = 15.0
"""Degrees of longitude between neighbouring pairs on the sphere."""
TEMPERATURES = (0.01, 0.05, 1.0)
ANGLES = np.linspace(0, 90, 91)
SWAPPED = [1, 0, 2, 3, 4, 5]


def sphere(seed: int, progress: Progress) -> Found:
    """Loss against the angle between two modalities on a sphere, pairs right or two mismatched.

    Six images at even longitudes and one latitude, their texts at the opposite latitude. Source:
    the simulation of Liang et al. 2022 (arXiv 2203.02053, section 4.2). No randomness.
    """
    del seed
    longitude = np.deg2rad(APART * np.arange(6))
    rows, charts = [], {}
    for pairs, order in (("all right", list(range(6))), ("two mismatched", SWAPPED)):
        drawn = []
        for tau in TEMPERATURES:
            latitude = np.deg2rad(ANGLES / 2)[:, None]
            x, y = _placed(longitude, latitude), _placed(longitude[order], -latitude)
            loss = loss_gradients(x, y, 1 / tau).loss
            best = int(loss.argmin())
            rows.append(
                {
                    **{"pairs": pairs, "temperature": tau, "best_angle": float(ANGLES[best])},
                    **{"loss_at_best": float(loss[best]), "loss_closed": float(loss[0])},
                    "published": "apart" if pairs != "all right" and tau == 0.01 else "closed",
                }
            )
            drawn.append(Series(f"temperature {tau:g}", ANGLES, loss - loss[0]))
        charts[pairs.split()[-1]] = Chart(
            f"Pairs {pairs}: loss against the gap",
            "angle between the modalities, degrees",
            "loss less the loss without a gap",
            drawn,
        )
    progress("sphere", 1, 1)
    return rows, charts, []


def _placed(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Unit vectors (angles, points, 3)."""
    across = np.cos(latitude)
    parts = (across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude))
    return np.stack(np.broadcast_arrays(*parts), -1)


POINTS, KERNEL, DESCENT = 90, 0.1, (3000, 0.02)
"""Grid points of the circle, temperature of the kernel, steps and rate of the descent."""


def divergence(seed: int, progress: Progress) -> Found:
    """The large-batch loss on densities: one modality stays together, two drive each other apart.

    Densities p and q on a circle descend, by exponentiated gradients, the energy that InfoNCE
    becomes in the large-batch limit: potentials U (attraction of pairs) plus log-averages under the
    kernel K. One modality: ⟨U, p⟩ + ⟨p, log Kp⟩. Two: ½(⟨U, p⟩ + ⟨U', q⟩ + ⟨p, log Kq⟩ +
    ⟨q, log Kp⟩): p is held off by q's mass and not by its own. Source: Cai et al. 2026 (arXiv
    2601.19597), whose claim is the divergence term; this toy is ours.
    """
    rows, drawn = [], []
    for number, (attraction, angle) in enumerate(
        ((1.0, 0.0), (1.0, 30.0), (3.0, 0.0), (3.0, 30.0))
    ):
        for modalities in (1, 2):
            progress("divergence", 2 * number + modalities, 8)
            p, q = _densities(attraction, np.deg2rad(angle), modalities == 2, seed)
            rows.append(
                {
                    **{"modalities": modalities, "attraction": attraction, "angle": angle},
                    "gap": float(np.abs((p - q) @ np.exp(1j * _circle())).item()),
                    "overlap": float(np.minimum(p, q).sum()),
                    "published": "apart" if modalities == 2 else "together",
                }
            )
            if (attraction, angle) == (1.0, 0.0):
                degrees = np.rad2deg(_circle()) - 180
                turned = [np.maximum(np.roll(side, POINTS // 2), 1e-6) for side in (p, q)]
                said = ("one modality", "two modalities")[modalities - 1]
                drawn.append(Series(said + ", a", degrees, turned[0], "line"))
                drawn.append(Series(said + ", b", degrees, turned[1], "dashes"))
    chart = Chart(
        "Densities that descend the large-batch loss",
        "degrees on the circle",
        "share of the density (0 is drawn as 0.000001)",
        drawn,
        log_y=True,
    )
    return rows, {"densities": chart}, []


def _circle() -> np.ndarray:
    return 2 * np.pi * np.arange(POINTS) / POINTS


def _densities(
    attraction: float, angle: float, coupled: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where two densities come to rest that start uniform but for 1 % of noise."""
    at = _circle()
    kernel = np.exp((np.cos(at[:, None] - at) - 1) / KERNEL)
    pull = [-attraction * np.cos(at - angle / 2), -attraction * np.cos(at + angle / 2)]
    sides: list[Any] = list(1 + 0.01 * stream("lab.vectors", seed, 90).normal(size=(2, POINTS)))
    steps, rate = DESCENT
    for _ in range(steps):
        sides = [side / side.sum() for side in sides]
        spread = [kernel @ side for side in sides]
        for own, other in ((0, 1), (1, 0)):
            near = other if coupled else own
            slope = pull[own] + np.log(spread[near]) + kernel @ (sides[near] / spread[own])
            sides[own] = sides[own] * np.exp(-rate * (slope - slope.min()))
    return sides[0] / sides[0].sum(), sides[1] / sides[1].sum()
