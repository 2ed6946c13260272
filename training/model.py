"""The two towers: a small residual convolutional net and a bag of hashed n-grams."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIM = 128
WIDTHS = (64, 128, 224)


def conv(a: int, b: int, stride: int = 1, side: int = 3) -> nn.Sequential:
    filters = nn.Conv2d(a, b, side, stride, side // 2, bias=False)
    return nn.Sequential(filters, nn.BatchNorm2d(b))


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; halves the side."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.first, self.second = conv(a, b, 2), conv(b, b)
        self.short = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(a, b, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.short(x))


class ImageTower(nn.Module):
    """(b, 3, 32, 32) float in [0, 255] -> (b, DIM), not normalised."""

    def __init__(self, bias: bool, centre: bool, dropout: float) -> None:
        super().__init__()
        self.stem = conv(3, WIDTHS[0], stride=2, side=5)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in pairwise(WIDTHS)))
        self.centre = nn.BatchNorm1d(WIDTHS[-1], affine=False) if centre else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.proj = nn.Linear(WIDTHS[-1], DIM, bias=bias)

    def features(self, x: Tensor) -> Tensor:
        x = (127.5 - x) / 64.0  # white is negative and constant, ink is positive
        x = self.blocks(F.relu(self.stem(x)))
        return x.mean((2, 3)) + x.amax((2, 3)) * 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.drop(self.centre(self.features(x))))


class TextTower(nn.Module):
    """(b, L) int64 table rows, 0 for padding -> (b, DIM), not normalised."""

    def __init__(
        self, table: int, bias: bool, centre: bool, dropout: float, width: int = 128
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(table, width, padding_idx=0)
        nn.init.normal_(self.table.weight, std=1.0)
        with torch.no_grad():
            self.table.weight[0].zero_()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.centre = nn.BatchNorm1d(width, affine=False) if centre else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.proj = nn.Linear(width, DIM, bias=bias)

    def features(self, ids: Tensor) -> Tensor:
        count = (ids > 0).sum(1, keepdim=True).clamp(min=1).float()
        x = self.norm(self.table(ids).sum(1) / count.sqrt())
        return x + self.down(self.drop(F.relu(self.up(x))))

    def forward(self, ids: Tensor) -> Tensor:
        return self.proj(self.drop(self.centre(self.features(ids))))


class TwoTowers(nn.Module):
    """Both towers, the log of the logit scale, and the bias that only the sigmoid loss uses.

    ``offset`` c puts +c u (images) and -c u (texts) into the biases of the last layers at the
    start, u a random unit vector that the last layers' weights start orthogonal to. Both biases
    and weights stay free: training can remove the offset. ``centre`` standardises the features
    before the last layers (batch norm without gain), so that the weights cannot act as a bias.
    """

    def __init__(
        self,
        table: int,
        scale: float,
        logit_bias: float,
        offset: float,
        centre: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.image = ImageTower(offset > 0, centre, dropout)
        self.text = TextTower(table, offset > 0, centre, dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.logit_bias = nn.Parameter(torch.tensor(float(logit_bias)))
        if offset > 0:
            u = F.normalize(torch.randn(DIM), dim=0)
            with torch.no_grad():
                for tower, sign in ((self.image, 1.0), (self.text, -1.0)):
                    weight = tower.proj.weight
                    weight -= torch.outer(u, u @ weight)
                    tower.proj.bias.copy_(sign * offset * u)
