"""What each training run does; every field that is not named keeps its default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """``scale`` is the logit scale at the start, ``scale_lr`` the learning rate of its log.

    ``start`` names a finished run to go on from, with a new cycle of the learning rate. If that
    run had no offset and this one has, the offset is put in now (``warm.py``) and is relative to
    the spread of the rows; otherwise ``offset`` is its length at the very beginning.
    ``average`` is the share of the old value that a running mean of the weights keeps at each
    step; the mean is what is measured and saved.
    """

    loss: str = "contrastive"
    epochs: int = 70
    batch: int = 108
    lr: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.1
    scale: float = 1 / 0.07
    scale_lr: float = 2e-3
    max_scale: float = 100.0
    logit_bias: float = 0.0
    offset: float = 0.0
    centre: bool = False
    freeze_text: bool = False
    start: str | None = None
    average: float = 0.0

    def with_epochs(self, epochs: int) -> Recipe:
        return replace(self, epochs=epochs)


LONGER: dict[str, Any] = {"epochs": 20, "batch": 216, "lr": 1e-3, "average": 0.97}

RECIPES: dict[str, Recipe] = {
    "contrastive": Recipe(**LONGER, start="contrastive-70"),
    "contrastive-70": Recipe(),
    "sigmoid": Recipe(loss="sigmoid", scale=10.0, logit_bias=-10.0),
    "offset-only": Recipe(scale=50.0, offset=4.0),
    "centred-hot": Recipe(epochs=60, scale=50.0, offset=6.0, centre=True),
    "gap": Recipe(**LONGER, offset=8.0, centre=True, start="gap-80"),
    "gap-80": Recipe(**LONGER, offset=8.0, centre=True, start="gap-60"),
    "gap-60": Recipe(epochs=60, scale=30.0, offset=8.0, centre=True),
    "warm": Recipe(
        epochs=25, lr=1e-3, scale_lr=1e-3, offset=0.7, centre=True, start="contrastive-70"
    ),
}
