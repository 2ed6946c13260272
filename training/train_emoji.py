"""Train one two-tower emoji model on two CPU cores, and keep its curve.

    python training/train_emoji.py RECIPE [--epochs N] [--seed 0]

Reads only what ``training/fetch.py`` wrote. Trains on the Google drawings and the English names
and tags of the training emoji; the held-out emoji and all Twitter drawings are never seen. Writes
the weights into ``.cache/emoji`` (input of ``training/export.py``) and the curve into
``training/curves/RECIPE.json``. ``recipes.py`` says what each recipe does.
"""

from __future__ import annotations

import argparse
import copy
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
from measure import figures
from model import TwoTowers
from recipes import RECIPES, Recipe
from torch import Tensor
from torch.nn import functional as F
from warm import warm_start

from isthmus.encoders.emoji_pixels import pixels
from isthmus.encoders.emoji_text import TABLE, tokenize
from isthmus.encoders.emoji_world import EmojiWorld, load_world

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "emoji"
CURVES = ROOT / "training" / "curves"


def loss_of(recipe: Recipe, model: TwoTowers, x: Tensor, y: Tensor) -> Tensor:
    """Symmetric cross-entropy over the batch, or the sigmoid loss over all its pairs."""
    logits = model.log_scale.exp() * F.normalize(x) @ F.normalize(y).T
    if recipe.loss == "sigmoid":
        signs = 2 * torch.eye(len(x)) - 1
        return -F.logsigmoid(signs * (logits + model.logit_bias)).sum() / len(x)
    matches = torch.arange(len(x))
    return (F.cross_entropy(logits, matches) + F.cross_entropy(logits.T, matches)) / 2


def groups(recipe: Recipe, model: TwoTowers) -> list[dict[str, Any]]:
    """Weights with decay, biases and norms without, temperature with its own rate."""
    frozen = {id(p) for p in model.text.parameters()} if recipe.freeze_text else set()
    named = [(n, p) for n, p in model.named_parameters() if id(p) not in frozen]
    scalars = ("log_scale", "logit_bias")
    return [
        {
            "params": [p for n, p in named if p.dim() > 1 and n not in scalars],
            "lr": recipe.lr,
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for n, p in named if p.dim() == 1], "lr": recipe.lr, "weight_decay": 0.0},
        {
            "params": [p for n, p in named if n in scalars],
            "lr": recipe.scale_lr,
            "weight_decay": 0.0,
        },
    ]


@torch.no_grad()
def rows_of(tower: torch.nn.Module, inputs: Tensor) -> np.ndarray:
    return np.concatenate([tower(part).numpy() for part in inputs.split(256)])


def evaluate(model: TwoTowers, world: EmojiWorld, data: dict[str, Tensor]) -> dict[str, Any]:
    model.eval()
    out = figures(
        world,
        rows_of(model.image, data["google"].float()),
        rows_of(model.image, data["twitter"].float()),
        rows_of(model.text, data["names"]),
        rows_of(model.text, data["tagged"]),
        rows_of(model.text, data["categories"]),
    )
    model.train()
    return out


@torch.no_grad()
def average_into(kept: TwoTowers, model: TwoTowers, share: float) -> None:
    """Move ``kept`` towards ``model``: weights, and the running statistics of the batch norms."""
    new = model.state_dict()
    for name, old in kept.state_dict().items():
        if old.is_floating_point():
            old.mul_(share).add_(new[name], alpha=1 - share)


def point(epoch: float, loss: float, model: TwoTowers, found: dict[str, Any]) -> dict[str, Any]:
    """One line of a curve."""
    return {
        "epoch": epoch,
        "loss": round(loss, 4),
        "logit_scale": round(float(model.log_scale.detach().exp()), 3),
        "logit_bias": round(float(model.logit_bias.detach()), 3),
        "gap": found["google_gap"],
        "gap_twitter": found["twitter_gap"],
        "r1_train": found["google_train"]["image_to_text"]["r1"],
        "r1_held_out": found["google_held_out"]["image_to_text"]["r1"],
        "r1_twitter": found["twitter_all"]["image_to_text"]["r1"],
        "r5_twitter": found["twitter_all"]["image_to_text"]["r5"],
    }


def train(name: str, recipe: Recipe, seed: int, threads: int, stop: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    world = load_world()
    data = {d: torch.from_numpy(pixels(world.pictures(d))) for d in ("google", "twitter")}
    data["names"] = torch.from_numpy(tokenize(world.texts()))
    data["tagged"] = torch.from_numpy(tokenize(world.texts_with_tags()))
    data["categories"] = torch.from_numpy(tokenize(world.category_texts()))
    mine = np.where(world.train)[0]
    flips = torch.tensor(
        [augment.may_flip(n, world.categories[c]) for n, c in zip(world.names, world.category_of)]
    )
    model = TwoTowers(
        TABLE, recipe.scale, recipe.logit_bias, recipe.offset, recipe.centre, recipe.dropout
    )
    if recipe.start is not None:
        state = torch.load(CACHE / f"{recipe.start}.pt", weights_only=True)
        if recipe.centre == RECIPES[recipe.start].centre:
            model.load_state_dict(state)
        else:
            warm_start(model, state, data["google"][mine], data["names"][mine], recipe.offset)
    model.image.to(memory_format=torch.channels_last)
    kept = copy.deepcopy(model) if recipe.average else model
    optimizer = torch.optim.AdamW(groups(recipe, model), betas=(0.9, 0.98))
    rates = [g["lr"] for g in optimizer.param_groups]
    steps_an_epoch = len(mine) // recipe.batch
    total, warm, step = recipe.epochs * steps_an_epoch, 30, 0
    started = time.monotonic()
    curve = [point(0, float("nan"), model, evaluate(model, world, data))]
    curve[0]["loss"] = None
    print(curve[0], flush=True)
    for epoch in range(1, stop + 1):
        rng.shuffle(order := mine.tolist())
        losses = []
        for k in range(steps_an_epoch):
            factor = min(1, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / total))
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate * factor
            batch = order[k * recipe.batch : (k + 1) * recipe.batch]
            images = augment.drawings(data["google"][batch], flips[batch])
            texts = [augment.caption(world.names[i], world.tags[i], rng) for i in batch]
            x = model.image(images.contiguous(memory_format=torch.channels_last))
            y = model.text(torch.from_numpy(tokenize(texts)))
            loss = loss_of(recipe, model, x, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.log_scale.clamp_(max=math.log(recipe.max_scale))
            if recipe.average:
                average_into(kept, model, recipe.average)
            losses.append(float(loss.detach()))
            step += 1
        if epoch in (1, 2, 4) or epoch % 5 == 0 or epoch == stop:
            found = evaluate(kept, world, data)
            curve.append(point(epoch, float(np.mean(losses)), kept, found))
            print(int(time.monotonic() - started), "s", curve[-1], flush=True)
            CACHE.mkdir(parents=True, exist_ok=True)
            torch.save(kept.state_dict(), CACHE / f"{name}.pt")
    record = {"recipe": asdict(recipe), "seed": seed, "figures": found, "curve": curve}
    record["stopped_after"] = stop if stop < recipe.epochs else None
    CURVES.mkdir(exist_ok=True)
    text = json.dumps(record, indent=1)
    (CURVES / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stop-after", type=int, help="end early, on the same schedule")
    parser.add_argument("--name", default=None, help="name of the outputs; default the recipe's")
    given = parser.parse_args()
    recipe = RECIPES[given.recipe]
    if given.epochs:
        recipe = recipe.with_epochs(given.epochs)
    stop = given.stop_after or recipe.epochs
    train(given.name or given.recipe, recipe, given.seed, given.threads, stop)


if __name__ == "__main__":
    main()
