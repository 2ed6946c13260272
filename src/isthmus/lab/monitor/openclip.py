"""Runs of open_clip, read beside the training: its ``results.jsonl`` and its checkpoints.

Nothing of the launcher is touched: point it at the run's ``checkpoints`` folder, while the run
writes or after it. ``results.jsonl`` has held-out loss and recall per epoch, ``epoch_K.pt`` the
logit scale and bias, and, with a function that makes rows of a checkpoint, the gap itself.

    readings = read_run("logs/my-run/checkpoints", rows=checkpoint_rows("ViT-B-32", images, tokens))
    for finding in diagnose(readings):
        print(finding.text)

To watch the training itself, ``watch.Watch(model)`` knows what open_clip's models return.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import CorruptFile, FileError
from isthmus.lab.monitor import Monitor
from isthmus.lab.monitor.watch import torch

RECALLS = ("image_to_text_R@1", "text_to_image_R@1")
Rows = Callable[[Mapping[str, Any]], "tuple[Any, Any]"]


def read_run(folder: str | os.PathLike[str], *, rows: Rows | None = None) -> list[dict[str, Any]]:
    """One reading per epoch that left a line or a checkpoint, oldest first, for ``diagnose``.

    Args:
        folder: of ``results.jsonl`` and ``epoch_K.pt``. rows: makes both towers' rows (n, d) of a
            checkpoint's weights; without it readings have no gap.

    Raises:
        FileError: no such folder, or nothing of a run in it. CorruptFile: a line that is no JSON,
            or a checkpoint that holds other than tensors and plain values (nothing is unpickled).
    """
    place = Path(folder)
    found = _results(place / "results.jsonl")
    for path in place.glob("epoch_*.pt"):
        number = re.fullmatch(r"epoch_(\d+)", path.stem)
        if number is None:  # epoch_latest is a copy of one of the others
            continue
        reading = found.setdefault(int(number[1]), {})
        reading |= {k: v for k, v in _checkpoint(path, rows).items() if reading.get(k) is None}
    if not found:
        raise FileError(
            "no-such-file", f"'{place}' holds neither results.jsonl nor epoch_K.pt of open_clip"
        )
    return [{"step": epoch, **found[epoch]} for epoch in sorted(found)]


def _results(path: Path) -> dict[int, dict[str, Any]]:
    """Epoch -> held-out loss and recall; a line that is still being written is left out."""
    if not path.is_file():
        return {}
    found = {}
    *lines, last = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate([*lines, last], 1):
        try:
            said = json.loads(line) if line.strip() else {}
        except ValueError as error:
            if number == len(lines) + 1:
                continue
            raise CorruptFile("damaged-file", f"line {number} of '{path}' is no JSON") from error
        if "epoch" not in said:
            continue
        recalls = [said[name] for name in RECALLS if name in said]
        found[int(said["epoch"])] = {
            "loss": said.get("clip_val_loss"),
            "held_out_recall": sum(recalls) / len(recalls) if recalls else None,
            "held_out_rows": said.get("num_samples"),
        }
    return found


def _checkpoint(path: Path, rows: Rows | None) -> dict[str, Any]:
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        weights = {k.removeprefix("module."): v for k, v in whole["state_dict"].items()}
    except Exception as error:
        raise CorruptFile(
            "damaged-file", f"'{path}' is no checkpoint of open_clip that can be read safely"
        ) from error
    log_scale, bias = weights.get("logit_scale"), weights.get("logit_bias")
    said: dict[str, Any] = {
        "scale": None if log_scale is None else math.exp(float(log_scale)),
        "bias": None if bias is None else float(bias),
    }
    if rows is None:
        return said
    monitor = Monitor(every=1)
    monitor.update(*rows(weights), **said)
    return {k: v for k, v in monitor.read().items() if v is not None}


def checkpoint_rows(model: str, images: Any, tokens: Any) -> Rows:
    """A ``rows`` for :func:`read_run`: open_clip's model of that name, on one batch of pairs.

    Args:
        images: (n, 3, h, w) preprocessed. tokens: (n, length) of the model's tokenizer.
    """
    import open_clip

    network = open_clip.create_model(model).eval()

    def rows(weights: Mapping[str, Any]) -> tuple[Any, Any]:
        network.load_state_dict(weights)
        with torch.no_grad():
            return network.encode_image(images), network.encode_text(tokens)

    return rows
