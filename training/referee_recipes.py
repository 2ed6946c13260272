"""The recipes of the referee (docs/referee-plan.md): what each run changes, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Fields that are not named keep their default.

    ``loss``: ``infonce`` or ``sigmoid``. ``extra``: name of the term that is added, ``weight``
    times. ``scale`` is the logit scale at the start; ``learn_scale`` whether it is trained,
    ``scale_decay`` the weight decay on its log. ``offset``, ``centre``: as in ``model.py``.
    ``mismatched``: share of captions that go to a wrong picture, the same ones all the time.
    ``shared``: both towers have one last layer.
    """

    loss: str = "infonce"
    extra: str | None = None
    weight: float = 0.0
    scale: float = 1 / 0.07
    learn_scale: bool = True
    scale_decay: float = 0.0
    logit_bias: float = 0.0
    offset: float = 0.0
    centre: bool = False
    mismatched: float = 0.0
    shared: bool = False
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.05


OFFSET = {"offset": 8.0, "centre": True, "scale": 30.0}

RECIPES: dict[str, Recipe] = {
    "infonce": Recipe(),
    "offset": Recipe(**OFFSET),
    "gap-penalty": Recipe(extra="gap_penalty", weight=1.0),
    "offset-penalty": Recipe(**OFFSET, extra="gap_penalty", weight=1.0),
    "sigmoid": Recipe(loss="sigmoid", scale=10.0, logit_bias=-10.0),
    "infonce-cold": Recipe(scale=50.0, learn_scale=False),
    "infonce-hot": Recipe(scale=7.0, learn_scale=False),
    "align-uniform": Recipe(extra="align_uniform", weight=0.5),
    "centroid-uniform": Recipe(extra="centroid_uniformity", weight=0.5),
    "whitened": Recipe(extra="whitened", weight=1.0),
    "offset-orthogonal": Recipe(**OFFSET, extra="variance_along_gap", weight=5.0),
    "mismatched": Recipe(mismatched=0.2),
    "shared": Recipe(shared=True),
    "sgd": Recipe(optimizer="sgd", lr=0.2, weight_decay=5e-4),
    "scale-decay": Recipe(scale_decay=5.0),
}
SEEDS = (0, 1, 2)
EPOCHS = 60
BATCH = 128
