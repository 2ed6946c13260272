"""Print what became of the offset of the ``gap`` run: at its start (seed 0) and in its weights.

    python training/offset.py

Reads the weights that ``train_emoji.py gap`` left in ``.cache/emoji``.
"""

from __future__ import annotations

import numpy as np
import torch
from measure import unit
from model import TwoTowers
from recipes import RECIPES
from torch import Tensor
from train_emoji import CACHE, rows_of

from isthmus.encoders.emoji_pixels import pixels
from isthmus.encoders.emoji_text import TABLE, tokenize
from isthmus.encoders.emoji_world import load_world


def show(label: str, model: TwoTowers, u: np.ndarray, pictures: Tensor, names: Tensor) -> None:
    """Bias and mean along u, distance from the mean; the gap and its direction."""
    sides = (
        ("pictures", model.image.proj, rows_of(model.image, pictures)),
        ("names", model.text.proj, rows_of(model.text, names)),
    )
    g = unit(sides[0][2]).mean(0) - unit(sides[1][2]).mean(0)
    length = np.linalg.norm(g)
    print(f"{label}: gap {length:.3f}, of which along u {abs(g @ u) / length:.3f}")
    for side, layer, rows in sides:
        spread = np.linalg.norm(rows - rows.mean(0), axis=1).mean()
        share = (unit(rows) @ (g / length)).var() / unit(rows).var(0).sum()
        bias = layer.bias.detach().numpy() @ u
        print(f"  {side}: bias along u {bias:+.2f}, mean along u {rows.mean(0) @ u:+.2f},", end="")
        print(f" distance from the mean {spread:.1f}, variance share along the gap {share:.4f}")


def main() -> None:
    torch.manual_seed(0)
    recipe = RECIPES["gap-60"]
    model = TwoTowers(TABLE, recipe.scale, 0.0, recipe.offset, recipe.centre, recipe.dropout)
    u = model.image.proj.bias.detach().numpy().copy() / recipe.offset
    world = load_world()
    pictures = torch.from_numpy(pixels(world.pictures("google"))).float()
    names = torch.from_numpy(tokenize(world.texts()))
    model.train()
    with torch.no_grad():  # one pass sets the running statistics of the batch norms
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                norm.momentum = None
        rows_of(model.image, pictures)
        rows_of(model.text, names)
    model.eval()
    show("start", model, u, pictures, names)
    model.load_state_dict(torch.load(CACHE / "gap.pt", weights_only=True))
    show("end", model, u, pictures, names)


if __name__ == "__main__":
    main()
