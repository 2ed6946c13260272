"""Give trained towers a gap: the same model with an offset that further training may remove."""

from __future__ import annotations

import math

import torch
from model import TwoTowers
from torch import Tensor, nn


@torch.no_grad()
def centred(centre: nn.BatchNorm1d, layer: nn.Linear, features: Tensor, old: Tensor) -> Tensor:
    """Standardise ``features`` (n, w) before ``layer`` without changing what comes out of it.

    ``old`` is the weight of a last layer without bias that read the features themselves. Returns
    the rows (n, DIM).
    """
    mean, variance = features.mean(0), features.var(0)
    centre.running_mean.copy_(mean)
    centre.running_var.copy_(variance)
    layer.weight.copy_(old * (variance + centre.eps).sqrt())
    layer.bias.copy_(old @ mean)
    return features @ old.T


@torch.no_grad()
def warm_start(
    model: TwoTowers, state: dict[str, Tensor], pictures: Tensor, texts: Tensor, offset: float
) -> None:
    """Load towers trained without centring or bias, and move their means apart.

    u is the direction in which the rows of both modalities vary least (theory: an offset decays
    through the variance along it). Images move by +c u and texts by -c u, c being ``offset``
    times the root mean square distance of a modality's rows from their mean. The logit scale is
    raised so that the part of the logits that tells pairs apart starts as it was.
    """
    model.load_state_dict(state, strict=False)
    model.eval()
    image, text = model.image, model.text
    seen = torch.cat([image.features(part.float()) for part in pictures.split(256)])
    read = text.features(texts)
    x = centred(image.centre, image.proj, seen, state["image.proj.weight"])
    y = centred(text.centre, text.proj, read, state["text.proj.weight"])
    spread = [(rows - rows.mean(0)).square().sum(1).mean().sqrt() for rows in (x, y)]
    covariance = x.T.cov() / spread[0] ** 2 + y.T.cov() / spread[1] ** 2
    u = torch.linalg.eigh(covariance).eigenvectors[:, 0]
    image.proj.bias += offset * spread[0] * u
    text.proj.bias -= offset * spread[1] * u
    model.log_scale += math.log(1 + offset**2)
    model.train()
