"""Plant faults in small emoji trainings and keep what the monitor reads, beside healthy ones.

    python training/faults.py [CASE ...]

Twenty epochs each, about ten seconds on one core. Readings go to
``src/isthmus/lab/monitor/planted.json``; ``isthmus lab monitor`` asks them for their diagnosis.
Also measured: the processor time that the monitor takes, as a share of a step, libraries loaded.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import dataclass
from typing import Any

import augment
import numpy as np
import torch
from referee import ROOT, Data, Pair, loss_of, optimizer_of
from referee_recipes import BATCH, OFFSET, Recipe
from torch import Tensor

from isthmus.encoders.emoji_text import tokenize
from isthmus.lab import losses
from isthmus.lab.monitor import Monitor
from isthmus.lab.monitor.window import predicted_flips

OUT = ROOT / "src" / "isthmus" / "lab" / "monitor" / "planted.json"
EPOCHS = 20
HEALTHY = (0, 1, 2)
HELD_OUT_AMONG = 64
READ_EVERY = 100
"""Steps between readings in ordinary use; here they are 12, an epoch."""


@dataclass(frozen=True)
class Case:
    """A training. ``watermark``: epoch from which pairs share a mark; ``alone``: alignment only."""

    words: str
    recipe: Recipe
    planted: str | None = None
    watermark: int | None = None
    alone: bool = False


CASES = {
    "healthy infonce": Case("nothing is wrong", Recipe()),
    "healthy sigmoid": Case(
        "nothing is wrong", Recipe(loss="sigmoid", scale=10.0, logit_bias=-10.0)
    ),
    "healthy offset": Case("nothing is wrong; the gap is kept", Recipe(**OFFSET)),
    "decay on the scale": Case(
        "weight decay of 5 on the log scale", Recipe(scale_decay=5.0), "scale-falling"
    ),
    "bias in a softmax": Case(
        "a logit bias that the loss does not use", Recipe(logit_bias=-10.0), "dead-bias"
    ),
    "no repulsion": Case("the loss is alignment alone", Recipe(), "tower-collapse", alone=True),
    "shared watermark": Case(
        "from epoch 9 a mark on the drawing says which text is its own",
        Recipe(),
        "recall-falling",
        watermark=9,
    ),
    "learning rate": Case(
        "SGD with a learning rate of 1e30", Recipe(optimizer="sgd", lr=1e30), "not-finite"
    ),
    "scale at 100": Case(
        "the scale stands at its ceiling",
        Recipe(scale=100.0, learn_scale=False),
        "scale-at-ceiling",
    ),
    "offset, scale 60": Case(
        "an offset at the start and a scale that stands at 60",
        Recipe(offset=8.0, centre=True, scale=60.0, learn_scale=False),
        "gap-frozen",
    ),
}


def marked(images: Tensor, names: list[str]) -> tuple[Tensor, list[str]]:
    """Place k of the batch painted into a corner of its drawing, and named in its text."""
    images = images.clone()
    for k in range(len(images)):
        colour = torch.tensor([k % 4, k // 4 % 4, k // 16 % 8]) * torch.tensor([85.0, 85.0, 36.0])
        images[k, :, :10, :10] = colour.view(3, 1, 1)
    return images, [f"{name} mark{k} mark{k} mark{k}" for k, name in enumerate(names)]


@torch.no_grad()
def held_out(model: Pair, data: Data) -> float:
    """R@1 of every second Twitter drawing among 64 names, ties against."""
    model.eval()
    x = torch.cat([model.image(part) for part in data.twitter[::2].float().split(256)])
    y = model.text(data.texts["names"][::2])
    model.train()
    hits = 0
    for a, b in zip(x.split(HELD_OUT_AMONG), y.split(HELD_OUT_AMONG)):
        scores = torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T
        hits += int(((scores > scores.diag()[:, None] - 1e-6).sum(1) == 1).sum())
    return hits / len(x)


def watched(case: Case, seed: int, data: Data) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Train with a monitor; its readings, one an epoch, and seconds of processor time: of the
    training without it, of its updates, of its readings."""
    recipe, monitor, rng = case.recipe, Monitor(every=4), random.Random(seed)
    torch.manual_seed(seed)
    model = Pair(recipe)
    model.image.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(recipe, model)
    has_bias = recipe.logit_bias != 0
    spent = {"training": 0.0, "updates": 0.0, "readings": 0.0}
    for epoch in range(1, EPOCHS + 1):
        began, inside = time.process_time(), 0.0
        rng.shuffle(order := data.mine.tolist())
        for k in range(len(order) // BATCH):
            batch = order[k * BATCH : (k + 1) * BATCH]
            images = augment.drawings(data.google[batch], data.flips[batch])
            names = [augment.caption(data.world.names[i], data.world.tags[i], rng) for i in batch]
            if case.watermark and epoch >= case.watermark:
                images, names = marked(images, names)
            x = model.image(images.contiguous(memory_format=torch.channels_last))
            y = model.text(torch.from_numpy(tokenize(names)))
            loss = losses.alignment(x, y) if case.alone else loss_of(recipe, model, x, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            start = time.process_time()
            said: dict[str, Any] = {"scale": model.log_scale.detach().exp(), "loss": loss.detach()}
            said["scale_gradient"] = _gradient(model.log_scale)
            if has_bias:
                said |= {"bias": model.logit_bias, "bias_gradient": _gradient(model.logit_bias)}
            monitor.update(x, y, **said)
            inside += time.process_time() - start
            optimizer.step()
            losses.bound_scale(model.log_scale)
        spent["training"] += time.process_time() - began - inside
        recall = held_out(model, data)
        start = time.process_time()
        rows = len(data.twitter[::2])
        monitor.read(step=epoch, held_out_recall=recall, held_out_rows=rows)
        spent["updates"] += inside
        spent["readings"] += time.process_time() - start
    return monitor.history, spent


def _gradient(parameter: Tensor) -> float:
    return 0.0 if parameter.grad is None else float(parameter.grad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    predicted_flips(np.eye(4), np.eye(4), 0.01)  # loads SciPy
    data = Data()
    kept = json.loads(OUT.read_text()) if OUT.exists() else []
    for name in given.cases or list(CASES):
        case = CASES[name]
        for seed in (0,) if case.planted else HEALTHY:
            history, spent = watched(case, seed, data)
            run = {"case": name, "words": case.words, "planted": case.planted, "seed": seed}
            step = spent["training"] / EPOCHS / (len(data.mine) // BATCH)
            a_step = (spent["updates"] + spent["readings"]) / EPOCHS / (len(data.mine) // BATCH)
            default = spent["updates"] / spent["training"]
            default += spent["readings"] / EPOCHS / READ_EVERY / step
            run["overhead"], run["overhead_read_often"] = round(default, 5), round(a_step / step, 5)
            run["step_ms"] = round(1000 * step, 2)
            run["history"] = [{k: _short(v) for k, v in line.items()} for line in history]
            kept = [old for old in kept if (old["case"], old["seed"]) != (name, seed)] + [run]
            kept.sort(key=lambda run: (list(CASES).index(run["case"]), run["seed"]))
            OUT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(name, seed, f"{default:.2%} of a step of {run['step_ms']} ms", flush=True)
            print("  ", run["history"][-1], flush=True)


def _short(value: Any) -> Any:
    return value if value is None or not np.isfinite(value) else float(f"{value:.5g}")


if __name__ == "__main__":
    main()
