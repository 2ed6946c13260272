"""Train and measure the small emoji models of the referee; every finished run is kept as data.

    python training/referee.py [RECIPE ...] [--seeds 0 1 2]

A run takes about half a minute on one core. One that was stopped goes on from its last checkpoint
(every ten epochs) and gives what it would have given; one that is finished is left alone.
Checkpoints and rows go to ``.cache/referee``, figures to ``src/isthmus/lab/referee_runs``.
What is measured and what is done with it was fixed beforehand: docs/referee-plan.md.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import augment
import numpy as np
import torch
from model import TextTower, conv
from referee_measure import measured
from referee_recipes import BATCH, EPOCHS, RECIPES, SEEDS, Recipe
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.encoders.emoji_pixels import pixels
from isthmus.encoders.emoji_text import TABLE, tokenize
from isthmus.encoders.emoji_world import EmojiWorld, load_world
from isthmus.lab import losses

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "referee"
RUNS = ROOT / "src" / "isthmus" / "lab" / "referee_runs"
WIDTHS = (32, 64, 128)
DIM = 128
CURVE_EVERY, KEEP_EVERY, WARM = 5, 10, 30


class Pictures(nn.Module):
    """(b, 3, 32, 32) float in [0, 255] -> (b, DIM), not normalised; three convolutions."""

    def __init__(self, bias: bool, centre: bool) -> None:
        super().__init__()
        sizes = zip((3, *WIDTHS), WIDTHS, (5, 3, 3))
        steps = [nn.Sequential(conv(a, b, 2, side), nn.ReLU()) for a, b, side in sizes]
        self.blocks = nn.Sequential(*steps)
        self.centre = nn.BatchNorm1d(WIDTHS[-1], affine=False) if centre else nn.Identity()
        self.drop = nn.Dropout(0.1)
        self.proj = nn.Linear(WIDTHS[-1], DIM, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks((127.5 - x) / 64.0)
        return self.proj(self.drop(self.centre(x.mean((2, 3)) + x.amax((2, 3)) * 0.5)))


class Pair(nn.Module):
    """Both towers, the logs of the logit scales of both directions, and the sigmoid's bias."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        biased = recipe.offset > 0
        self.image = Pictures(biased, recipe.centre)
        self.text = TextTower(TABLE, biased, recipe.centre, 0.1, width=WIDTHS[-1])
        if recipe.shared:
            self.text.proj = self.image.proj
        start = torch.tensor(math.log(recipe.scale))
        self.log_scale = nn.Parameter(start.clone(), requires_grad=recipe.learn_scale)
        self.log_scale_back = nn.Parameter(start.clone(), requires_grad=recipe.learn_scale)
        self.logit_bias = nn.Parameter(torch.tensor(recipe.logit_bias))
        if biased:  # +c u and -c u, and weights that start orthogonal to u, as in model.py
            u = F.normalize(torch.randn(DIM), dim=0)
            with torch.no_grad():
                for tower, sign in ((self.image, 1.0), (self.text, -1.0)):
                    tower.proj.weight -= torch.outer(u, u @ tower.proj.weight)
                    tower.proj.bias.copy_(sign * recipe.offset * u)


def loss_of(recipe: Recipe, model: Pair, x: Tensor, y: Tensor) -> Tensor:
    scale = model.log_scale.exp()
    if recipe.loss == "sigmoid":
        return losses.sigmoid(x, y, scale, model.logit_bias)
    if recipe.extra == "whitened":  # own temperatures, whitened rows, and covariances alike
        white = losses.whitened(x, y)
        plain = losses.infonce(*white, scale, model.log_scale_back.exp())
        return plain + recipe.weight * losses.coral(*white)
    plain = losses.infonce(x, y, scale)
    if recipe.extra is None:
        return plain
    return plain + recipe.weight * getattr(losses, recipe.extra)(x, y)


def optimizer_of(recipe: Recipe, model: Pair) -> torch.optim.Optimizer:
    scalars = (model.log_scale, model.log_scale_back, model.logit_bias)
    others = [p for p in model.parameters() if not any(p is s for s in scalars)]
    parts = (
        ([p for p in others if p.dim() > 1], recipe.lr, recipe.weight_decay),
        ([p for p in others if p.dim() == 1], recipe.lr, 0.0),
        (list(scalars), 2e-3, recipe.scale_decay),
    )
    groups = [{"params": p, "lr": lr, "weight_decay": decay, "rate": lr} for p, lr, decay in parts]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9)
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


class Data:
    """The emoji world as tensors; read once for all runs."""

    def __init__(self) -> None:
        world = self.world = load_world()
        self.google, self.twitter = (
            torch.from_numpy(pixels(world.pictures(d))) for d in ("google", "twitter")
        )
        self.flips = torch.tensor(
            [
                augment.may_flip(n, world.categories[c])
                for n, c in zip(world.names, world.category_of)
            ]
        )
        self.mine = np.where(world.train)[0]
        self.texts = {
            "names": torch.from_numpy(tokenize(world.texts())),
            "tagged": torch.from_numpy(tokenize(world.texts_with_tags())),
            "categories": torch.from_numpy(tokenize(world.category_texts())),
        }

    @torch.no_grad()
    def rows(self, model: Pair) -> dict[str, np.ndarray]:
        """Rows of everything that is measured, in evaluation mode."""
        model.eval()
        found = {d: _rows(model.image, getattr(self, d).float()) for d in ("google", "twitter")}
        found |= {name: _rows(model.text, ids) for name, ids in self.texts.items()}
        model.train()
        return found


def _rows(tower: nn.Module, inputs: Tensor) -> np.ndarray:
    return np.concatenate([tower(part).numpy() for part in inputs.split(256)])


def captions_of(recipe: Recipe, world: EmojiWorld, mine: np.ndarray, seed: int) -> np.ndarray:
    """Whose caption each emoji is trained with: its own, or for a share of them another's."""
    owner = np.arange(len(world))
    rng = np.random.default_rng([seed, 77])
    wrong = rng.choice(mine, round(recipe.mismatched * len(mine)), replace=False)
    owner[wrong] = np.roll(wrong, 1)
    return owner


def point(epoch: int, loss: float | None, model: Pair, rows: dict[str, np.ndarray]) -> dict:
    """One line of a curve: gap on the training emoji's Google drawings and names, by all rows."""
    x, y = (rows[n] / np.linalg.norm(rows[n], axis=1, keepdims=True) for n in ("google", "names"))
    own = (x * y).sum(1)
    return {
        "epoch": epoch,
        "loss": None if loss is None else round(loss, 4),
        "scale": round(float(model.log_scale.detach().exp()), 3),
        "gap": round(float(np.linalg.norm(x.mean(0) - y.mean(0))), 4),
        "matched_cosine": round(float(own.mean()), 4),
    }


def train(name: str, seed: int, data: Data, epochs: int = EPOCHS) -> dict[str, Any]:
    """One run, or the rest of one that was stopped: its curve, and the rows at its end."""
    recipe, kept = RECIPES[name], CACHE / f"{name}-{seed}.pt"
    torch.manual_seed(seed)
    model = Pair(recipe)
    model.image.to(memory_format=torch.channels_last)
    optimizer, rng = optimizer_of(recipe, model), random.Random(seed)
    owner = captions_of(recipe, data.world, data.mine, seed)
    curve, first, seconds = [point(0, None, model, data.rows(model))], 1, 0.0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch"])
        rng.setstate(_tuples(json.loads(state["python"])))
        curve, first, seconds = json.loads(state["curve"]), state["epoch"] + 1, state["seconds"]
    steps = len(data.mine) // BATCH
    order = data.mine.tolist()
    for epoch in range(first, epochs + 1):
        began, found = time.process_time(), []
        order.sort()
        rng.shuffle(order)
        for k in range(steps):
            step = (epoch - 1) * steps + k
            factor = min(1, (step + 1) / WARM) * (1 + math.cos(math.pi * step / epochs / steps)) / 2
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * factor
            batch = order[k * BATCH : (k + 1) * BATCH]
            images = augment.drawings(data.google[batch], data.flips[batch])
            names = [
                augment.caption(data.world.names[i], data.world.tags[i], rng) for i in owner[batch]
            ]
            x = model.image(images.contiguous(memory_format=torch.channels_last))
            y = model.text(torch.from_numpy(tokenize(names)))
            loss = loss_of(recipe, model, x, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.bound_scale(model.log_scale)
            found.append(float(loss.detach()))
        seconds += time.process_time() - began
        if epoch % CURVE_EVERY == 0 or epoch == epochs:
            rows = data.rows(model)
            curve.append(point(epoch, float(np.mean(found)), model, rows))
        if epoch % KEEP_EVERY == 0 and epoch < epochs:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "torch": torch.get_rng_state(),
                "python": json.dumps(rng.getstate()),
                "curve": json.dumps(curve),
                "epoch": epoch,
                "seconds": seconds,
            }
            torch.save(state, kept.with_suffix(".tmp"))
            kept.with_suffix(".tmp").replace(kept)
    np.savez(CACHE / f"{name}-{seed}.npz", **rows)
    return {"epochs": epochs, "seconds": round(seconds, 1), "curve": curve, "rows": rows}


def _tuples(state: list) -> tuple:
    return state[0], tuple(state[1]), state[2]


def run(name: str, seed: int, data: Data) -> Path:
    """Train and measure one run, unless its figures are there."""
    out = RUNS / f"{name}-{seed}.json"
    if out.exists():
        return out
    for folder in (CACHE, RUNS):
        folder.mkdir(parents=True, exist_ok=True)
    found = train(name, seed, data)
    rows = found.pop("rows")
    record = {"recipe": name, "seed": seed, "options": asdict(RECIPES[name]), **found}
    finite = all(np.isfinite(found).all() for found in rows.values())
    start = name in ("infonce", "offset")  # the models that the plan closes afterwards
    record |= measured(rows, data.world, start) if finite else {"diverged": True}
    out.with_suffix(".tmp").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".tmp").replace(out)
    (CACHE / f"{name}-{seed}.pt").unlink(missing_ok=True)
    print(name, seed, found["seconds"], "s", found["curve"][-1], flush=True)
    print("  ", record.get("metrics"), record.get("outcomes"), flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = Data()
    for seed in given.seeds:  # every recipe once before any a second time
        for name in given.recipes or RECIPES:
            run(name, seed, data)


if __name__ == "__main__":
    main()
