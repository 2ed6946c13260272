"""Losses that keep the gap in view, and schedules of the temperature (torch).

Each function takes two batches of rows, (b, d) tensors of any norm whose rows i belong together,
normalises them, and returns a scalar that can be summed with others:

    loss = infonce(x, y, scale) + 0.5 * gap_penalty(x, y)

Gradients flow through everything. Formulas, sources and what each term does to a gap are in
``docs/losses.md``. Nothing here gathers batches over ranks: gather rows first, as for any loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.core.checks import one_of
from isthmus.errors import OptionError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

SCHEDULES = ("constant", "linear", "cosine", "geometric")


def unit(rows: Tensor) -> Tensor:
    """Rows (b, d) divided by their norms."""
    from torch.nn.functional import normalize

    return normalize(rows, dim=1)


def pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both batches normalised. Raises :class:`ShapeError` where rows cannot belong together."""
    if x.ndim != 2 or x.shape != y.shape or len(x) < 2:
        raise ShapeError(
            "unequal-batches",
            f"a loss got batches of shapes {tuple(x.shape)} and {tuple(y.shape)}; "
            "it takes two of one shape (b, d) with b at least 2",
        )
    return unit(x), unit(y)


def infonce(
    x: Tensor, y: Tensor, scale: Tensor | float, scale_back: Tensor | float | None = None
) -> Tensor:
    """Mean of the cross-entropies of both directions, logits ``scale · cos``.

    ``scale_back`` is the scale of the direction y to x, where each modality has its own
    temperature. Source: Radford et al. 2021; own temperatures: e5-omni (arXiv 2601.03666).
    """
    import torch
    from torch.nn.functional import cross_entropy

    a, b = pair(x, y)
    cosines = a @ b.T
    right = torch.arange(len(a), device=a.device)
    forth = cross_entropy(scale * cosines, right)
    return (
        forth + cross_entropy((scale if scale_back is None else scale_back) * cosines.T, right)
    ) / 2


def sigmoid(x: Tensor, y: Tensor, scale: Tensor | float, bias: Tensor | float) -> Tensor:
    """-Σ log σ(±(scale · cos + bias)) / b over all pairs of the batch, + for the matched.

    Source: Zhai et al. 2023 (SigLIP).
    """
    import torch
    from torch.nn.functional import logsigmoid

    a, b = pair(x, y)
    signs = 2 * torch.eye(len(a), dtype=a.dtype, device=a.device) - 1
    return -logsigmoid(signs * (scale * (a @ b.T) + bias)).sum() / len(a)


def gap_vector(a: Tensor, b: Tensor) -> Tensor:
    """Mean of b minus mean of a, (d,)."""
    return b.mean(0) - a.mean(0)


def gap_penalty(x: Tensor, y: Tensor) -> Tensor:
    """‖g‖², the squared distance of the batch means of unit rows: a linear-kernel MMD².

    A batch mean scatters, so its expectation is ‖g‖² + (tr Σx + tr Σy - 2 tr Σxy)/b: with small
    batches it also pulls pairs together. Source: Liang et al. 2022 for g; Gretton et al. 2012.
    """
    return gap_vector(*pair(x, y)).square().sum()


def alignment(x: Tensor, y: Tensor) -> Tensor:
    """Mean ‖x - y‖² of pairs. Source: Wang and Isola 2020, exponent 2."""
    a, b = pair(x, y)
    return (a - b).square().sum(1).mean()


def _log_mean_kernel(squares: Tensor, t: float) -> Tensor:
    return (-t * squares.clamp(min=0)).flatten().logsumexp(0) - math.log(squares.numel())


def _apart(rows: Tensor) -> Tensor:
    """Squared distances of different rows, each pair once."""
    import torch

    i, j = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    squares = rows.square().sum(1)
    return squares[i] + squares[j] - 2 * (rows @ rows.T)[i, j]


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    """log mean exp(-t ‖x_i - x_j‖²), i ≠ j, of one batch (b, d). Source: Wang and Isola 2020."""
    return _log_mean_kernel(_apart(pair(x, x)[0]), t)


def cross_uniformity(x: Tensor, y: Tensor, t: float = 2.0) -> Tensor:
    """The same over pairs (x_i, y_j), i ≠ j, of two modalities. Source: Fahim et al. 2024."""
    import torch

    a, b = pair(x, y)
    different = ~torch.eye(len(a), dtype=torch.bool, device=a.device)
    return _log_mean_kernel((2 - 2 * (a @ b.T))[different], t)


def align_uniform(x: Tensor, y: Tensor, t: float = 2.0, cross: float = 1.0) -> Tensor:
    """``alignment`` + mean ``uniformity`` of both sides + ``cross`` · ``cross_uniformity``.

    Source: Fahim et al. 2024 (CLIP loss + these three); cross = 0 is Wang and Isola's pair.
    """
    spread = (uniformity(x, t) + uniformity(y, t)) / 2
    return alignment(x, y) + spread + cross * cross_uniformity(x, y, t)


def centroid_uniformity(x: Tensor, y: Tensor, t: float = 2.0) -> Tensor:
    """``alignment`` of pairs + log (1/b) Σ_{i≠j} exp(-t ‖μ_i - μ_j‖²), μ_i the middle of pair i.

    The middle is not normalised. Source: Grassucci et al., ICLR 2026 (ModGap).
    """
    a, b = pair(x, y)
    kernel = _log_mean_kernel(_apart((a + b) / 2), t)
    return (a - b).square().sum(1).mean() + kernel + math.log(len(a) - 1)


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred.T @ centred / len(rows)


def coral(x: Tensor, y: Tensor) -> Tensor:
    """‖Σx - Σy‖²_F / 4d² of unit rows, population covariances. Source: Sun and Saenko 2016."""
    a, b = pair(x, y)
    return (_covariance(a) - _covariance(b)).square().sum() / (4 * a.shape[1] ** 2)


def _inverse_root(matrix: Tensor) -> Tensor:
    """M^-½ of a positive definite (d, d), with a gradient that ties do not break.

    The derivative through ``eigh`` divides by differences of eigenvalues, which shrinking makes
    equal wherever rows have no variance. That of the root itself has no such poles: in the
    eigenbasis it is -1/(√λi √λj (√λi + √λj)) (Daleckii and Krein).
    """
    import torch

    class Root(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, matrix: Tensor) -> Tensor:
            values, vectors = torch.linalg.eigh(matrix)
            ctx.save_for_backward(values.sqrt(), vectors)
            return vectors * values.rsqrt() @ vectors.T

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            roots, vectors = ctx.saved_tensors
            inner = vectors.T @ (gradient + gradient.T) @ vectors / 2
            pairs = roots[:, None] * roots[None, :] * (roots[:, None] + roots[None, :])
            return -vectors @ (inner / pairs) @ vectors.T

    found: Tensor = Root.apply(matrix)
    return found


def whitened(x: Tensor, y: Tensor, shrink: float = 0.1) -> tuple[Tensor, Tensor]:
    """Both batches through one whitening: centred by the pooled mean, times Σ^-½.

    Σ is the pooled covariance of the 2b unit rows, shrunk by ``shrink`` (over 0, at most 1)
    towards the sphere, so that few rows or flat directions do not blow up. One map for both
    modalities keeps their gap visible to the loss instead of hiding it. Source: the batch
    whitening of e5-omni (arXiv 2601.03666), in a form of ours.

    Raises:
        OptionError: shrink out of range.
    """
    import torch

    if not 0 < shrink <= 1:
        raise OptionError("bad-option", f"shrink must lie over 0 and at most at 1, got {shrink}")
    a, b = pair(x, y)
    both = torch.cat([a, b])
    covariance = _covariance(both)
    eye = torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
    level = covariance.trace() / len(covariance)
    whiten = _inverse_root((1 - shrink) * covariance + shrink * level * eye)
    middle = both.mean(0)
    return (a - middle) @ whiten, (b - middle) @ whiten


def variance_along_gap(x: Tensor, y: Tensor) -> Tensor:
    """Share of both sides' variance that lies along the gap: ĝᵀ(Σx + Σy)ĝ / tr(Σx + Σy).

    By (D7) of ``docs/losses.md`` the gap closes only along directions that carry variance, and by
    the paper's Theorem 3.5 only a gap without variance along it is closable for free. As a penalty
    this keeps the gap orthogonal: training neither closes it nor writes meaning into it. Source:
    derived here, after Assumption 3.3 of Chowers et al. (arXiv 2603.29080).
    """
    a, b = pair(x, y)
    gap = gap_vector(a, b)
    both = _covariance(a) + _covariance(b)
    return gap @ both @ gap / (gap.square().sum() * both.trace()).clamp(min=1e-12)


def bound_scale(log_scale: Tensor, low: float = 1.0, high: float = 100.0) -> None:
    """Clamp the log of a logit scale into [log low, log high], in place, without gradient.

    Call it after the optimiser's step. CLIP's bound is ``high`` = 100 (Radford et al. 2021). At
    the bound the scale is constant, and with it the length of the gap's orthogonal part (D4).

    Raises:
        OptionError: the bounds are not 0 < low <= high.
    """
    import torch

    if not 0 < low <= high:
        raise OptionError("bad-option", f"bounds must be 0 < low <= high, got {low} and {high}")
    with torch.no_grad():
        log_scale.clamp_(math.log(low), math.log(high))


@dataclass(frozen=True)
class ScaleSchedule:
    """A logit scale that is set, not learned: ``schedule(step)`` from ``start`` to ``end``.

    ``kind``: ``constant`` (start), ``linear`` and ``cosine`` in the scale, ``geometric`` in its
    log. After ``steps`` it stays at ``end``. A low scale (high temperature) at the end closes a
    gap, a high one freezes it: Liang et al. 2022; Yaras et al. 2024; (D4), (D6).

    Raises:
        OptionError: an unknown kind, scales that are not positive, or fewer than 1 step.

    >>> [round(ScaleSchedule("geometric", 100.0, 1.0, 10)(step), 3) for step in (0, 5, 10, 20)]
    [100.0, 10.0, 1.0, 1.0]
    """

    kind: str
    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        one_of(self.kind, SCHEDULES, "schedule")
        if not (self.start > 0 and self.end > 0 and self.steps >= 1):
            raise OptionError(
                "bad-option",
                f"a schedule takes positive scales and at least 1 step, got {self.start}, "
                f"{self.end} and {self.steps}",
            )

    def __call__(self, step: int) -> float:
        """The logit scale at a step, counted from 0."""
        done = min(max(step / self.steps, 0.0), 1.0)
        if self.kind == "constant":
            return self.start
        if self.kind == "geometric":
            return float(self.start ** (1 - done) * self.end**done)
        share = done if self.kind == "linear" else (1 - math.cos(math.pi * done)) / 2
        return self.start + share * (self.end - self.start)
