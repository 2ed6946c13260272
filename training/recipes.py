"""What each training run does; every field that is not named keeps its default."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """``scale`` is the logit scale at the start, ``scale_lr`` the learning rate of its log.

    ``start`` names a finished run to go on from (``warm.py``); ``offset`` is then relative to the
    spread of the rows, otherwise it is the length of the offset.
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

    def with_epochs(self, epochs: int) -> Recipe:
        return replace(self, epochs=epochs)


RECIPES: dict[str, Recipe] = {
    "contrastive": Recipe(),
    "sigmoid": Recipe(loss="sigmoid", scale=10.0, logit_bias=-10.0),
    "offset-only": Recipe(scale=50.0, offset=4.0),
    "centred-hot": Recipe(epochs=60, scale=50.0, offset=6.0, centre=True),
    "centred": Recipe(epochs=60, scale=30.0, offset=8.0, centre=True),
    "gap": Recipe(epochs=25, lr=1e-3, scale_lr=1e-3, offset=0.7, centre=True, start="contrastive"),
}
