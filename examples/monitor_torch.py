"""Train two small towers on made-up pairs with the monitor beside them.

    python examples/monitor_torch.py

Needs torch (pip install 'isthmus[torch]'). Takes a few seconds on one core.
"""

from __future__ import annotations

import math

import torch

from isthmus.lab.losses import bound_scale, gap_penalty, infonce
from isthmus.lab.monitor.watch import Watch


class Towers(torch.nn.Module):
    """Two linear towers and a learned logit scale."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = torch.nn.Linear(32, 64), torch.nn.Linear(32, 64)
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"image_features": self.image(images), "text_features": self.text(texts)}


def main(penalty: float = 0.0, steps: int = 400) -> Watch:
    """Train, print a reading every hundred steps, and what the monitor finds at the end."""
    torch.manual_seed(0)
    model = Towers()
    watch = Watch(model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(1, steps + 1):
        what = torch.randn(128, 32)
        images, texts = what + 0.3 * torch.randn(128, 32) + 2, what + 0.3 * torch.randn(128, 32) - 2
        rows = model(images, texts)
        x, y = rows["image_features"], rows["text_features"]
        loss = infonce(x, y, model.logit_scale.exp()) + penalty * gap_penalty(x, y)
        optimizer.zero_grad()
        loss.backward()
        watch.step(loss)
        optimizer.step()
        bound_scale(model.logit_scale)
        if step % 50 == 0:
            numbers = watch.read(step=step)
            shown = ("gap", "matched_cosine", "recall", "scale", "loss")
            print(step, {name: round(numbers[name], 3) for name in shown})
    for finding in watch.monitor.diagnose():
        print(f"{finding.code}: {finding.text}")
    return watch


if __name__ == "__main__":
    print("InfoNCE alone")
    main()
    print("with a gap penalty")
    main(penalty=1.0)
