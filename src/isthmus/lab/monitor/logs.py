"""Where numbers go: TensorBoard, Weights & Biases, a file, or any function of a dict."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

Log = Callable[[dict[str, float]], None]
PREFIX = "gap/"


def plain_numbers(numbers: Mapping[str, Any], prefix: str = PREFIX) -> dict[str, float]:
    """Numbers as loggers want them: no None, floats, under one prefix; ``step`` is left out."""
    return {
        prefix + name: float(value)
        for name, value in numbers.items()
        if value is not None and name != "step"
    }


def to_tensorboard(writer: Any) -> Callable[[Mapping[str, Any]], None]:
    """A log for a ``SummaryWriter`` of ``torch.utils.tensorboard``, at each reading's ``step``."""

    def log(numbers: Mapping[str, Any]) -> None:
        for name, value in plain_numbers(numbers).items():
            writer.add_scalar(name, value, int(numbers.get("step") or 0))

    return log


def to_wandb(run: Any) -> Callable[[Mapping[str, Any]], None]:
    """A log for a run of ``wandb.init(mode="offline")``, or online."""
    return lambda numbers: run.log(plain_numbers(numbers), step=numbers.get("step"))


def to_jsonl(path: str | os.PathLike[str]) -> Callable[[Mapping[str, Any]], None]:
    """A log that adds a line to a file."""

    def log(numbers: Mapping[str, Any]) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(dict(numbers)) + "\n")

    return log
