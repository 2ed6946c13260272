"""Augmentation of a batch of drawings, and of their captions; everything from one generator."""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(n: int, low: float, high: float) -> Tensor:
    return torch.rand(n) * (high - low) + low


def move(ink: Tensor, flip_ok: Tensor) -> Tensor:
    """Rotate by up to 15 degrees, scale by .75 to 1.25 (sides apart), shift by up to 12 %, flip."""
    n = len(ink)
    angle = uniform(n, -0.26, 0.26)
    grow = uniform(n, 0.75, 1.2)
    sx, sy = grow * uniform(n, 0.88, 1.14), grow * uniform(n, 0.88, 1.14)
    sx = torch.where(flip_ok & (torch.rand(n) < 0.5), -sx, sx)
    shear = uniform(n, -0.12, 0.12)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [
            torch.stack([cos / sx, -sin / sx + shear, uniform(n, -0.12, 0.12)], 1),
            torch.stack([sin / sy, cos / sy, uniform(n, -0.12, 0.12)], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(ink.shape), align_corners=False)
    return F.grid_sample(ink, grid, align_corners=False)


def recolour(ink: Tensor) -> Tensor:
    """Contrast and colour of the ink only: a random 3 x 3 mix near the identity, and a gamma.

    ``ink`` is (255 - pixel) / 255, so white paper stays white whatever the mix.
    """
    n = len(ink)
    gray = ink.mean(1, keepdim=True)
    saturation = uniform(n, 0.3, 1.4).view(n, 1, 1, 1)
    ink = gray + (ink - gray) * saturation
    mix = torch.eye(3) + torch.randn(n, 3, 3) * 0.12
    ink = torch.einsum("nij,njhw->nihw", mix, ink)
    ink = ink.clamp(0, 1) ** uniform(n, 0.6, 1.6).view(n, 1, 1, 1)
    return ink * uniform(n, 0.75, 1.15).view(n, 1, 1, 1)


def soften(ink: Tensor) -> Tensor:
    """Blur a third of the batch with a 3 x 3 binomial kernel, sharpen another third."""
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = torch.outer(kernel, kernel) / 16
    blurred = F.conv2d(ink, kernel.expand(3, 1, 3, 3), padding=1, groups=3)
    amount = torch.tensor([1.0, 0.0, -0.6])[torch.randint(3, (len(ink),))].view(-1, 1, 1, 1)
    return ink + (blurred - ink) * amount


def cut(ink: Tensor) -> Tensor:
    """Rub out one rectangle (up to 12 pixels a side) in half of the pictures."""
    n, _, height, width = ink.shape
    y, x = torch.randint(height, (n, 1)), torch.randint(width, (n, 1))
    h, w = torch.randint(2, 7, (n, 1)), torch.randint(2, 7, (n, 1))
    rows = (torch.arange(height) - y).abs() < h
    columns = (torch.arange(width) - x).abs() < w
    hole = rows[:, None, :, None] & columns[:, None, None, :] & (torch.rand(n, 1, 1, 1) < 0.5)
    return ink.masked_fill(hole, 0.0)


def drawings(batch: Tensor, flip_ok: Tensor) -> Tensor:
    """(b, 3, h, w) uint8 -> augmented float of the same shape in [0, 255]."""
    ink = 1 - batch.float() / 255
    ink = cut(soften(recolour(move(ink, flip_ok)))).clamp(0, 1)
    return 255 * (1 - ink)


def caption(name: str, tags: tuple[str, ...], rng: random.Random) -> str:
    """Half the time the name alone; else a random part of the tags, nearly always with the name."""
    if not tags or rng.random() < 0.5:
        return name
    some = rng.sample(tags, rng.randint(1, min(len(tags), 6)))
    if rng.random() < 0.15:
        return ", ".join(some)
    return f"{name}: {', '.join(some)}"


def may_flip(name: str, category: str) -> bool:
    """Whether a mirrored drawing keeps its name (no sides, letters, clocks, symbols, flags)."""
    sided = ("left", "right", "o’clock", "thirty", "book", "calendar", "chart", "keyboard")
    return category not in ("symbols", "flags") and not any(word in name for word in sided)
